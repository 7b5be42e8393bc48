"""Which server a command talks to, and who asks: the flags that such commands share."""

from __future__ import annotations

import inspect
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from tidewire.cli.options import URL_DEFAULT, Url
from tidewire.cli.terminal import UNUSABLE, fail
from tidewire.settings.describe import variable_name
from tidewire.settings.sources import TOKEN_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidewire.client import ClientError, Credentials

KEY_VARIABLE = variable_name("api_key")
_PANEL = "Who you are"

_Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TEXT",
        show_default=False,
        rich_help_panel=_PANEL,
        help=f"A user's token (also {TOKEN_VARIABLE}).",
    ),
]
_TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        show_default=False,
        rich_help_panel=_PANEL,
        help="A file with the token; it is read again before that expires.",
    ),
]
_ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        metavar="TEXT",
        show_default=False,
        rich_help_panel=_PANEL,
        help=f"A back end's key (also {KEY_VARIABLE}).",
    ),
]
_ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        metavar="FILE",
        show_default=False,
        rich_help_panel=_PANEL,
        help="A file with the key.",
    ),
]


class Shown(NamedTuple):
    """What is shown of who asks: a *kind* of secret, the *text* of it, and where it is from."""

    kind: str
    text: str
    source: str
    file: Path | None = None

    def __repr__(self) -> str:
        return f"<{self.kind} of {self.source}>"


class Server:
    """The server, and what it is shown of who asks. ``url`` is for people, without a password."""

    def __init__(self, url: str, shown: Shown | None) -> None:
        from tidewire.client import ServerAddress

        self.address = ServerAddress.parse(url)
        self.url = self.address.url
        self._shown = shown

    def credentials(self) -> Credentials:
        """To be made once for a command. What cannot be sent ends the program."""
        from tidewire.client import Credentials

        shown = self._shown
        if shown is None:
            return Credentials()
        try:
            if shown.kind == "key":
                return Credentials(api_key=shown.text)
            checked = Credentials(token=shown.text)
        except ValueError:
            fail(
                f"the {shown.kind} of {shown.source} is none: it is visible ASCII characters "
                "without spaces",
                UNUSABLE,
            )
        return checked if shown.file is None else Credentials(get_token=partial(_again, shown))

    def reason(self, error: ClientError) -> str:
        """What is to be told of *error*: what happened, and what to do about it."""
        from tidewire.client import Forbidden, Unauthorized

        shown = self._shown
        if isinstance(error, Unauthorized) and shown is None:
            return (
                "this server asks who you are: give --token or --api-key "
                f"({TOKEN_VARIABLE}, {KEY_VARIABLE})"
            )
        if shown is not None and (
            isinstance(error, Unauthorized)
            or (isinstance(error, Forbidden) and error.code == "forbidden")
        ):
            return f"{error.reason}; the {shown.kind} came from {shown.source}"
        return error.reason


def takes_server(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* the flags that make its parameter ``server``."""
    flags = inspect.signature(_server, eval_str=True).parameters

    def with_server(**given: Any) -> None:
        command(server=_server(**{name: given.pop(name) for name in flags}), **given)

    own = inspect.signature(command, eval_str=True).parameters
    parameters = [one for name, one in own.items() if name != "server"] + list(flags.values())
    with_server.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    )
    with_server.__annotations__ = {}
    with_server.__name__ = command.__name__
    with_server.__doc__ = command.__doc__
    return with_server


def _server(
    *,
    url: Url = URL_DEFAULT,
    token: _Token = None,
    token_file: _TokenFile = None,
    api_key: _ApiKey = None,
    api_key_file: _ApiKeyFile = None,
) -> Server:
    given = [
        shown
        for shown in (
            None if token is None else Shown("token", token.strip(), "--token"),
            None if api_key is None else Shown("key", api_key.strip(), "--api-key"),
            None if token_file is None else _of_file("token", token_file),
            None if api_key_file is None else _of_file("key", api_key_file),
        )
        if shown is not None
    ]
    if len(given) > 1:
        raise typer.BadParameter(
            "give one of --token, --token-file, --api-key and --api-key-file: "
            "the server looks at one"
        )
    return Server(url, given[0] if given else _of_environment())


def _of_file(kind: str, path: Path) -> Shown:
    try:
        return Shown(kind, _read(path), str(path), path)
    except (OSError, ValueError) as error:
        fail(_unreadable(path, error), UNUSABLE)


def _unreadable(path: Path, error: OSError | ValueError) -> str:
    why = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "not text"
    return f"{path} cannot be read: {why}"


def _read(path: Path) -> str:
    return path.read_text("utf-8").strip()


def _again(shown: Shown) -> str:
    """What is in the file now; a pipe gives what it has once."""
    from tidewire.client import Interrupted

    assert shown.file is not None
    try:
        return _read(shown.file) or shown.text
    except (OSError, ValueError) as error:
        raise Interrupted(_unreadable(shown.file, error)) from error


def _of_environment() -> Shown | None:
    # A token first: whoever has both, one of them for a server that runs here too, is a user now.
    for kind, variable in (("token", TOKEN_VARIABLE), ("key", KEY_VARIABLE)):
        if text := os.environ.get(variable, "").strip():
            return Shown(kind, text, variable)
    return None
