"""The settings written down: a commented ``tidewire.toml``, the effective one, a Markdown table.

All three are made from the fields, so none of them can say something that is not so.
Run as a program (``python -m tidewire.settings.document docs/configuration.md``) it puts the
current table between the marks in that file.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tidewire.settings.describe import allowed, presentable
from tidewire.settings.fields import SECTIONS, Settings
from tidewire.settings.namespace import NamespaceSettings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from tidewire.settings.sources import Loaded

TABLE_START = "<!-- settings: start -->"
TABLE_END = "<!-- settings: end -->"
_WIDTH = 80
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def default_file() -> str:
    """A ``tidewire.toml`` that says of every setting what it is, what it takes, and its default."""
    lines = [
        "# Tidewire's settings, all at their defaults.",
        "#",
        "# Flags come first (--poll-interval 5), then variables (TIDEWIRE_POLL_INTERVAL=5), then",
        "# this file (poll_interval = 5), which is read as tidewire.toml in the working directory,",
        "# or from where --config or TIDEWIRE_CONFIG says.",
    ]
    for section in SECTIONS:
        lines += ["", "", _heading(section.__doc__ or "")]
        for name, info in section.model_fields.items():
            if name != "namespaces":
                lines += ["", *_comment(info), f"{name} = {to_toml(info.default)}"]
    info = Settings.model_fields["namespaces"]
    # Last, because every key below the head of a table belongs to that table.
    lines += ["", "", _heading("Namespaces"), "", *_comment(info), "#"]
    for name, own in NamespaceSettings.model_fields.items():
        lines.append(f"#   {name}: {own.description}; {allowed(own)}")
    lines += ["#", "# [namespaces.chat]", "# history_size = 100", "", "[namespaces]", ""]
    return "\n".join(lines)


def effective_file(loaded: Loaded) -> str:
    """The settings as they hold now, each with where it came from; a valid ``tidewire.toml``."""
    rows: list[tuple[str, str]] = []
    for name, info in Settings.model_fields.items():
        if name != "namespaces":
            value = to_toml(presentable(info, getattr(loaded.settings, name)))
            rows.append((f"{name} = {value}", str(loaded.origins[name])))
    width = max(len(row) for row, _ in rows)
    lines = [f"{row:<{width}}  # {_one_line(origin)}" for row, origin in rows]
    origin = _one_line(str(loaded.origins["namespaces"]))
    for name, namespace in loaded.settings.namespaces.items():
        key = name if _BARE_KEY.fullmatch(name) else to_toml(name)
        lines += ["", f"[namespaces.{key}]  # {origin}"]
        lines += [
            f"{field} = {to_toml(value)}"
            for field, value in namespace.model_dump(exclude_none=True).items()
        ]
    return "\n".join(lines) + "\n"


def table() -> str:
    """Every setting as a Markdown table, section by section."""
    return "\n".join(_table_lines()) + "\n"


def _table_lines() -> Iterator[str]:
    for section in SECTIONS:
        yield f"\n### {section.__doc__}\n"
        yield "| setting | what it is | takes | default |"
        yield "| --- | --- | --- | --- |"
        for name, info in section.model_fields.items():
            yield _row(name, info)
    yield "\n### One namespace (`[namespaces.NAME]`)\n"
    yield "| setting | what it is | takes | default |"
    yield "| --- | --- | --- | --- |"
    for name, info in NamespaceSettings.model_fields.items():
        yield _row(name, info)


def _row(name: str, info: FieldInfo) -> str:
    default = info.get_default(call_default_factory=True)
    shown = "as for all" if default is None else f"`{to_toml(default)}`"
    return f"| `{name}` | {info.description} | {allowed(info)} | {shown} |"


def to_toml(value: object) -> str:
    """One value as TOML, for the types that settings have."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's; only DEL may stand in a JSON string and not in a TOML one.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return f"{value:.0f}" if float(value).is_integer() else repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(to_toml, value))}]"
    if isinstance(value, Mapping) and not value:
        return "{}"
    raise TypeError(f"{type(value).__name__} is not the type of a setting")


def _heading(text: str) -> str:
    return f"# {f'— {text} ':—<{_WIDTH - 2}}"


def _comment(info: FieldInfo) -> Iterable[str]:
    what = info.description or ""
    return textwrap.wrap(
        f"{what[:1].upper()}{what[1:]}. Takes {allowed(info)}.",
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
    )


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)


def put_table(text: str) -> str:
    """A document's text, with the current table between its two marks.

    Raises:
        ValueError: if a mark is missing.
    """
    start = text.index(TABLE_START) + len(TABLE_START)
    return f"{text[:start]}\n{table()}\n{text[text.index(TABLE_END) :]}"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        document = Path(argument)
        document.write_text(put_table(document.read_text("utf-8")), "utf-8")
