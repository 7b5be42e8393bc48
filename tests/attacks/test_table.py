"""The threat table of the documentation, and that of the tests, have the same attacks."""

from __future__ import annotations

import re

import pytest

from tests.attacks.attack import Attack
from tests.attacks.child import ROOT
from tests.attacks.report import log_faults
from tests.attacks.siege import CONFIG
from tests.attacks.table import ATTACKS
from tidewire.settings import Settings

PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
ROWS = re.findall(r"^\| `(\w+)`: (.+?) \| (.+?) \| (.+?) \| (.*?) \| (.+) \|$", PAGE, re.MULTILINE)


def module_of(attack: Attack) -> str:
    """Where its function is."""
    return attack.carry_out.__module__.replace(".", "/") + ".py"


def test_each_attack_has_a_row_and_each_row_an_attack() -> None:
    names = [name for name, *_ in ROWS]
    assert sorted(names) == sorted(ATTACKS)


@pytest.mark.parametrize("row", ROWS, ids=[name for name, *_ in ROWS])
def test_a_row_says_what_the_attack_does(row: tuple[str, ...]) -> None:
    name, how, does, _, _, shown = row
    attack = ATTACKS[name]
    assert how + "." == attack.how
    assert does.lower().startswith(attack.expects.lower())
    assert all(f"`{reason}`" in does for reason in attack.counts)
    assert f"`{module_of(attack)}::{name}`" in shown


@pytest.mark.parametrize("row", ROWS, ids=[name for name, *_ in ROWS])
def test_a_limit_is_a_setting(row: tuple[str, ...]) -> None:
    named = re.findall(r"`([a-z_]{6,})`", row[3])
    assert set(named) <= Settings.model_fields.keys()


def test_the_page_names_the_file_that_is_attacked() -> None:
    assert f"../deploy/{CONFIG.name}" in PAGE


def test_a_log_is_looked_at() -> None:
    assert log_faults('{"event": "refused"}\n{"event": "stopped"}') == []
    assert log_faults('{"event": "refused"}\nforged')
    assert log_faults('{"event": "refused\x1b[2J"}')
    assert log_faults('Traceback (most recent call last)\n{"event": "refused"}')
