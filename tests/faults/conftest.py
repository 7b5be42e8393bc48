"""Fixtures of the fault runs, and their report at the end of the session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.report import Report

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

REPORT = pytest.StashKey[Report]()


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    """Takes what a run has found, for the table at the end of the session."""
    return request.config.stash.setdefault(REPORT, Report())


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Print the table if there was any run."""
    report = config.stash.get(REPORT, None)
    if report is not None and report.rows:
        terminalreporter.section("faults injected, and what they cost")
        for line in report.lines():
            terminalreporter.write_line(line)
