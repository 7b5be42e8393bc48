"""How many processors may be used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tidewire.server import processors

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of cgroups, in which this process is in ``one/two``; eight processors."""
    root = tmp_path / "cgroup"
    (root / "one" / "two").mkdir(parents=True)
    own = tmp_path / "own"
    own.write_text("0::/one/two\n")
    monkeypatch.setattr(processors, "_GROUPS", root)
    monkeypatch.setattr(processors, "_OWN_GROUP", own)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    return root


def test_those_that_the_process_may_run_on(groups: Path) -> None:
    assert processors.usable_processors() == 8
    (groups / "one" / "cpu.max").write_text("max 100000\n")
    assert processors.usable_processors() == 8


@pytest.mark.parametrize(
    ("quota", "count"), [("150000 100000", 2), ("20000 100000", 1), ("900000 100000", 8)]
)
def test_a_quota(groups: Path, quota: str, count: int) -> None:
    (groups / "one" / "two" / "cpu.max").write_text(quota)
    assert processors.usable_processors() == count


def test_the_tightest_quota_counts(groups: Path) -> None:
    (groups / "one" / "two" / "cpu.max").write_text("500000 100000")
    (groups / "one" / "cpu.max").write_text("300000 100000")
    assert processors.usable_processors() == 3


def test_a_system_without_groups(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "_OWN_GROUP", groups / "nothing")
    assert processors.usable_processors() == 8
    monkeypatch.delattr(os, "sched_getaffinity")
    assert processors.usable_processors() == 16
