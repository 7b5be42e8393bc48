"""Flags that several commands share, those of the settings among them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from tidewire.cli.terminal import UNUSABLE, fail
from tidewire.settings import Loaded, Settings, SettingsError, load
from tidewire.settings.describe import flag_name, unit, value_type
from tidewire.settings.document import to_toml
from tidewire.settings.fields import SECTIONS
from tidewire.settings.sources import CONFIG_VARIABLE, URL_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic.fields import FieldInfo

_DEFAULTS = Settings()


def _address(text: str) -> str:
    # Not at the top: the client's libraries take longer to import than the rest of a command.
    from tidewire.client import ServerAddress

    try:
        ServerAddress.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar=URL_VARIABLE,
        callback=_address,
        metavar="URL",
        help="Address of the server, with its path prefix if it has one.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but what has failed.")]
MessagesOnly = Annotated[
    bool,
    typer.Option("--messages-only", help="Print messages, but no ready, gap and close envelopes."),
]
URL_DEFAULT = f"http://{_DEFAULTS.host}:{_DEFAULTS.port}"


def settings_or_exit(config: Path | None, flags: Mapping[str, object]) -> Loaded:
    """The settings from all sources; if they do not hold, say why and exit."""
    try:
        return load(flags, config=config)
    except SettingsError as error:
        if len(error.problems) == 1:
            fail(error.problems[0], UNUSABLE)
        lines = "\n".join(f"  {problem}" for problem in error.problems)
        fail(f"{len(error.problems)} things are wrong with the settings:\n{lines}", UNUSABLE)


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* a flag for every setting, and ``--config``.

    It is called with its own parameters, with ``config`` (a path or ``None``) and with ``flags``:
    the settings that were given, by name and as text. They are checked with those of all other
    sources, by the same rules and in the same words.
    """
    own = [
        parameter
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.name not in ("config", "flags")
    ]
    names = [name for section in SECTIONS for name in section.model_fields]

    def with_settings(**given: Any) -> None:
        flags = {name: given.pop(name) for name in names}
        command(flags=flags, **given)

    parameters = [
        *own,
        _parameter(
            "config",
            Path | None,
            typer.Option(
                "--config",
                metavar="FILE",
                show_default=False,
                help=f"File with settings instead of tidewire.toml (also {CONFIG_VARIABLE}).",
            ),
        ),
    ]
    for section in SECTIONS:
        for name, info in section.model_fields.items():
            parameters.append(_flag(name, info, panel=section.__doc__ or ""))
    with_settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_settings.__annotations__ = {}
    with_settings.__name__ = command.__name__
    with_settings.__doc__ = command.__doc__
    return with_settings


def _flag(name: str, info: FieldInfo, *, panel: str) -> inspect.Parameter:
    kind = value_type(info)
    flag = flag_name(name)
    default = info.get_default(call_default_factory=True)
    if kind is bool:
        shown = flag if default else flag.replace("--", "--no-", 1)
        flag = f"{flag}/{flag.replace('--', '--no-', 1)}"
    else:
        shown = default if isinstance(default, str) else to_toml(default)
    note = f" Default: {shown}." if shown not in ("", "[]", "{}") else ""
    text = info.description or ""
    option = typer.Option(
        flag,
        metavar=None if kind is bool else _metavar(kind, info),
        show_default=False,
        rich_help_panel=panel,
        help=f"{text[:1].upper()}{text[1:]}.{note}",
    )
    return _parameter(name, bool | None if kind is bool else str | None, option)


def _metavar(kind: Any, info: FieldInfo) -> str:
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    if kind in (int, float):
        return unit(info).upper() or "N"
    if get_origin(kind) is tuple:
        return "LIST"
    return "JSON" if get_origin(kind) is dict else "TEXT"


def _parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )
