"""Every fault on every transport and engine: nothing is lost, nothing comes twice.

The subscribers of one fault run at the same time on one server, and each is a test.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from tests.faults.engines import ENGINES, engine_url
from tests.faults.lanes import FAULTS_EACH, LANES, SETTINGS, Outcome, Run
from tests.faults.model import EVERYBODY
from tests.faults.proxy import FAULTS

if TYPE_CHECKING:
    from tests.conftest import StartServer
    from tests.faults.report import Report

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]


@pytest.fixture(scope="module", params=list(itertools.product(FAULTS, ENGINES)), ids="-".join)
def outcome(
    request: pytest.FixtureRequest,
    start_shared: StartServer,
    tmp_path_factory: pytest.TempPathFactory,
    report: Report,
) -> Outcome:
    """What one fault did to all clients of one engine."""
    fault, engine = request.param
    url = engine_url(engine, tmp_path_factory.mktemp("log"))
    server = start_shared(engine=url, **SETTINGS)
    outcome = asyncio.run(Run([server], fault, seed=fault).perform())
    server.terminate()
    assert server.wait() == 0
    report.add(f"{fault}, {engine}", outcome)
    return outcome


@pytest.mark.parametrize("who", [*LANES, EVERYBODY])
def test_nothing_is_lost_and_nothing_comes_twice(outcome: Outcome, who: str) -> None:
    least = 1 if who == EVERYBODY else FAULTS_EACH
    assert outcome.injected[who].total() >= least, "the network was too good"
    verdict = outcome.verdicts[who]
    verdict.check()
    assert (verdict.lost, verdict.duplicated) == (0, 0)
