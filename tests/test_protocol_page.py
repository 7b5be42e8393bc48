"""docs/protocol.md against the code: error codes, limits and examples."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tidewire.model import channel_names, parse_cursor
from tidewire.settings import Settings

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "protocol.md").read_text("utf-8")
UNITS = {"": 1, "s": 1, "KiB": 1 << 10, "MiB": 1 << 20, "levels": 1}


def section(title: str) -> str:
    """The text under a heading of the second level."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"no section {title}"
    return found[1]


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_every_error_code_is_listed() -> None:
    """The table has exactly the codes that the source can send."""
    source = "".join(path.read_text("utf-8") for path in (ROOT / "src" / "tidewire").rglob("*.py"))
    sent = set(re.findall(r"\bcode(?:: str)? ?= ?\"([a-z_0-9]+)\"", source))
    listed = set(re.findall(r"^\| \d+ \| `([a-z_0-9]+)` \|", section("Errors"), re.MULTILINE))
    assert listed == sent


def limits() -> list[tuple[str, float]]:
    """Each setting that the table of limits names, with the default it states."""
    found: list[tuple[str, float]] = []
    for row in section("Limits").splitlines():
        names = re.findall(r"\(`([a-z_]+)`\)", row)
        if names and row.startswith("|"):
            values = row.split("|")[2].split(", ")
            for name, value in zip(names, values, strict=True):
                number, _, unit = value.strip().replace("none", "0").partition(" ")
                found.append((name, float(number.replace(",", "")) * UNITS[unit]))
    return found


@pytest.mark.parametrize(("name", "value"), limits())
def test_limits_are_the_defaults(name: str, value: float) -> None:
    assert Settings.model_fields[name].default == value


def envelopes(value: Any) -> list[dict[str, Any]]:
    """The envelopes in a JSON value, at any depth."""
    if isinstance(value, list):
        return [found for item in value for found in envelopes(item)]
    if isinstance(value, dict):
        inner = [found for item in value.values() for found in envelopes(item)]
        return [value, *inner] if "type" in value else inner
    return []


def test_examples_are_well_formed() -> None:
    examples = [json.loads(block) for block in code_blocks("json")]
    shown = [found for example in examples for found in envelopes(example)]
    assert shown
    for envelope in shown:
        assert envelope["id"] == "…" or str(parse_cursor(envelope["id"])) == envelope["id"]
        assert channel_names(envelope["channel"], 1)
