"""The table of all fault runs, at the end of a session: hooks, which ``tests/conftest.py`` loads.

With several workers (pytest-xdist) the runs are theirs, while the session that has started them
prints the table. It collects nothing, so it would never read a ``conftest.py`` of this folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.report import Report

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter
    from xdist.workermanage import WorkerController

REPORT = pytest.StashKey[Report]()
KEY = "faults"
"""Under which a worker hands over its rows."""


def report_of(config: pytest.Config) -> Report:
    """The report of this session, or of this worker."""
    return config.stash.setdefault(REPORT, Report())


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    """Takes what a run has found, for the table at the end of the session."""
    return report_of(request.config)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over the rows, if this is a worker."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[KEY] = report_of(session.config).plain()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: WorkerController) -> None:
    """Take the rows of a worker; one that has crashed leaves none."""
    report_of(node.config).take(getattr(node, "workeroutput", {}).get(KEY, []))


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Print the table if there was any run."""
    report = report_of(config)
    if report.rows:
        terminalreporter.section("faults injected, and what they cost")
        for line in report.lines():
            terminalreporter.write_line(line)
