"""Every fault on every transport and engine: nothing is lost, nothing comes twice.

The subscribers of one fault run at the same time, and each is a test. With memory and SQLite they
have one server; with Redis two, and each of their connections goes to another than the last one.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from tests.faults.engines import ENGINES, REDIS, engine_url
from tests.faults.lanes import FAULTS_EACH, LANES, SETTINGS, Outcome, Run
from tests.faults.model import EVERYBODY
from tests.faults.proxy import FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import StartServer
    from tests.faults.report import Report

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]


@pytest.fixture(
    scope="module", params=list(itertools.product(FAULTS, [*ENGINES, REDIS])), ids="-".join
)
def outcome(
    request: pytest.FixtureRequest,
    start_shared: StartServer,
    tmp_path_factory: pytest.TempPathFactory,
    redis_log: Callable[[], str],
    report: Report,
) -> Outcome:
    """What one fault did to all clients of one engine."""
    fault, engine = request.param
    url = redis_log() if engine == REDIS else engine_url(engine, tmp_path_factory.mktemp("log"))
    servers = [start_shared(engine=url, **SETTINGS) for _ in range(2 if engine == REDIS else 1)]
    outcome = asyncio.run(Run(servers, fault, seed=fault).perform())
    for server in servers:
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
