"""docs/cli.md knows every command, and no flag that there is not."""

from __future__ import annotations

import re
from pathlib import Path

import typer.main

from tidewire.cli.app import app

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
ROOT = typer.main.get_command(app)


def commands(group: object = ROOT, name: str = "") -> dict[str, set[str]]:
    """Every command by its name, such as ``keys add``, and its flags."""
    found: dict[str, set[str]] = {}
    for word, command in group.commands.items():  # type: ignore[attr-defined]
        full = f"{name} {word}".strip()
        if hasattr(command, "commands"):
            found |= commands(command, full)
        else:
            flags = {flag for one in command.params for flag in [*one.opts, *one.secondary_opts]}
            found[full] = flags | {"--help", "-h"}
    return found


COMMANDS = commands()


def test_every_command_is_in_the_table() -> None:
    table = PAGE[: PAGE.index("**Output.**")]
    listed = set(re.findall(r"^\| \[?`([a-z]+)`", table, re.MULTILINE))
    listed |= set(re.findall(r", `([a-z]+)`\]\(", table))
    assert listed | {"nack"} == {name.split()[0] for name in COMMANDS}


def test_every_flag_that_is_shown_exists() -> None:
    shown = 0
    for line in re.findall(r"\btidewire ([a-z]+[^\n`#|]*)", PAGE):
        words = line.split()
        name = " ".join(words[:2]) if words[0] == "keys" else words[0]
        if name not in COMMANDS:
            continue
        for flag in re.findall(r"(?<!\S)--?[a-z][a-z-]*", line):
            assert flag in COMMANDS[name], f"tidewire {line}"
            shown += 1
    assert shown > 30
