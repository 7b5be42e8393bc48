"""Where settings come from: flags, then ``TIDEWIRE_*``, then ``tidewire.toml``, then defaults.

The first source that has a setting gives it whole: the namespaces of a file, for one, are not
merged with those of a flag. Nothing is ignored: a key or a ``TIDEWIRE_*`` variable that is no
setting is an error, because it is most often a slip of the pen that would go unnoticed.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_origin

from pydantic import ValidationError

from tidewire.settings.describe import (
    ENV_PREFIX,
    allowed,
    flag_name,
    is_secret,
    presentable,
    value_type,
    variable_name,
)
from tidewire.settings.fields import Settings
from tidewire.settings.namespace import NamespaceSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pydantic_core import ErrorDetails

DEFAULT_FILE = "tidewire.toml"
CONFIG_VARIABLE = "TIDEWIRE_CONFIG"
URL_VARIABLE = "TIDEWIRE_URL"
TOKEN_VARIABLE = "TIDEWIRE_TOKEN"  # noqa: S105  (a name)
# Read by the commands, not by the server.
_OTHER_VARIABLES = frozenset({CONFIG_VARIABLE, URL_VARIABLE, TOKEN_VARIABLE})

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_LONGEST_SHOWN = 80


class SettingsError(Exception):
    """The settings do not hold. ``problems`` has one sentence for each thing that is wrong."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a setting came from. ``name`` is the flag, the variable or the file's path."""

    source: Literal["flag", "variable", "file", "default"]
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.source


DEFAULT = Origin("default")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings that hold, and for each field where its value came from."""

    settings: Settings
    origins: Mapping[str, Origin]
    file: Path | None
    """The file that was read, if there was one."""


def load(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    config: Path | None = None,
    directory: Path | None = None,
) -> Loaded:
    """Read all sources and check everything before anything starts.

    Args:
        flags: values by field name, as text or of the field's type; ``None`` is *not given*.
        environ: the environment; by default that of the process.
        config: a file to read instead of the one that ``TIDEWIRE_CONFIG`` names, or else
            ``tidewire.toml`` in *directory*; unlike the last, it must exist.
        directory: by default the working directory.

    Raises:
        SettingsError: with every problem there is, not only the first.
    """
    environ = os.environ if environ is None else environ
    directory = Path.cwd() if directory is None else directory
    problems: list[str] = []
    values: dict[str, object] = {}
    origins: dict[str, Origin] = {}

    file = _file(config, environ, directory)
    if file is not None:
        for key, value in _read_file(file).items():
            if key in Settings.model_fields:
                values[key], origins[key] = value, Origin("file", str(file))
            else:
                problems.append(f'{file}: unknown key "{key}"{_near(key, Settings.model_fields)}')

    variables = {variable_name(field): field for field in Settings.model_fields}
    for name in sorted(environ):
        if name in variables and not _is_utf8(environ[name]):
            problems.append(f"{name}: not UTF-8")
        elif name in variables:
            field = variables[name]
            values[field] = _from_text(field, environ[name])
            origins[field] = Origin("variable", name)
        elif name.startswith(ENV_PREFIX) and name not in _OTHER_VARIABLES:
            known = {*variables, *_OTHER_VARIABLES}
            problems.append(f"{name}: unknown variable{_near(name, known, ENV_PREFIX)}")

    for field, given in (flags or {}).items():
        if isinstance(given, str) and not _is_utf8(given):
            problems.append(f"{flag_name(field)}: not UTF-8")
        elif given is not None:
            values[field] = _from_text(field, given) if isinstance(given, str) else given
            origins[field] = Origin("flag", flag_name(field))

    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [_problem(one, values, origins) for one in error.errors()]
        raise SettingsError(*problems) from None
    if problems:
        raise SettingsError(*problems)
    return Loaded(
        settings, {field: origins.get(field, DEFAULT) for field in Settings.model_fields}, file
    )


def _file(config: Path | None, environ: Mapping[str, str], directory: Path) -> Path | None:
    if config is not None:
        return directory / config
    if named := environ.get(CONFIG_VARIABLE):
        return directory / named
    usual = directory / DEFAULT_FILE
    return usual if usual.exists() else None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not TOML: {error}") from None


def _from_text(field: str, text: str) -> object:
    """The value that a flag's or a variable's text stands for.

    A text that stands for none is returned as it is: the check of the whole then refuses it in
    the same words as a wrong value from a file.
    """
    kind = value_type(Settings.model_fields[field])
    convert: Callable[[str], object] | None = None
    if kind is bool:
        lower = text.lower()
        return True if lower in _TRUE else False if lower in _FALSE else text
    if kind in (int, float):
        # int() and float() take "1_000" and " 7 " too; those are more likely slips.
        if not text.isascii() or "_" in text or text != text.strip():
            return text
        convert = kind
    elif get_origin(kind) is dict:
        convert = _from_json
    if convert is None:
        return text
    try:
        return convert(text)
    except (ValueError, RecursionError):
        return text


def _from_json(text: str) -> object:
    value = json.loads(text)
    if not _is_utf8(json.dumps(value, ensure_ascii=False)):
        raise ValueError("half of a character")  # as "\ud800" is
    return value


def _is_utf8(text: str) -> bool:
    """Whether *text* can be written; what was not UTF-8 in the environment cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _problem(
    error: ErrorDetails, values: Mapping[str, object], origins: Mapping[str, Origin]
) -> str:
    """One sentence: the key, the value, where it came from, and what is allowed."""
    location = [str(part) for part in error["loc"]]
    context = error.get("ctx", {})
    if not location:
        # A rule about several settings; it names the one to blame.
        field = str(context["key"])
        value = values.get(field, Settings.model_fields[field].default)
        return f"{field}: {_shown(value)}{_source(field, origins)}: {error['msg']}"
    field, value = location[0], error["input"]
    key = ".".join(part for part in location if part != "[key]")
    where = _source(field, origins)
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key{where}{_near(location[-1], NamespaceSettings.model_fields)}"
    if "[key]" in location:
        return f"{key}:{where} {context['error']}"
    reason = f" ({context['error']})" if "error" in context else ""
    if len(location) == 1:
        takes = allowed(Settings.model_fields[field])
    elif len(location) == 2:
        takes = f"a table of {', '.join(NamespaceSettings.model_fields)}"
    else:
        takes = allowed(NamespaceSettings.model_fields[location[2]])
    info = Settings.model_fields[field]
    shown = "what is set" if is_secret(info) else _shown(presentable(info, value))
    return f"{key}: {shown}{where} is not allowed{reason}; it takes {takes}"


def _source(field: str, origins: Mapping[str, Origin]) -> str:
    return f" (from {origins.get(field, DEFAULT)})"


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
    # Quoted, so that an empty value, spaces and control characters are seen.
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) else text


def _near(name: str, known: Collection[str], prefix: str = "") -> str:
    """What was probably meant, as the end of the sentence; all names have *prefix*."""
    by_form = {_form(option.removeprefix(prefix)): option for option in known}
    matches = difflib.get_close_matches(_form(name.removeprefix(prefix)), by_form, n=1, cutoff=0.7)
    if matches:
        return f"; did you mean {by_form[matches[0]]}?"
    return "; `tidewire config --defaults` shows every setting"


def _form(name: str) -> str:
    return name.lower().replace("-", "_")
