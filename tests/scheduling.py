"""Which tests run beside which when several workers run them: hooks for ``tests/conftest.py``.

Most tests wait most of their time, so ``make test`` has more workers than there are processors
(pytest-xdist). The tests of one file stay with one worker and in their order, as they share servers
and browsers. Files that would disturb each other stay together as well. What takes long comes
first, so that all workers end at about the same time.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

TOGETHER = (
    # All of them build, or read, clients/javascript/dist.
    ("tests/clients/test_bindings.py", "tests/clients/test_javascript.py"),
    # One browser, and one build of the client, for all of them.
    (
        "tests/javascript/test_fallback.py",
        "tests/javascript/test_life.py",
        "tests/javascript/test_matrix.py",
        "tests/javascript/test_tabs.py",
    ),
    # Thousands of connections, or as many messages as the machine can do.
    (
        "tests/acceptance/test_catch_up.py",
        "tests/acceptance/test_crowd.py",
        "tests/acceptance/test_lobby.py",
        "tests/attacks/test_attacks.py",
        "tests/faults/test_redis_storm.py",
    ),
)
"""Files that one worker runs, one after the other."""

LONG = {
    "tests/acceptance/test_presence.py": 210,
    "tests/acceptance/test_acknowledging.py": 205,
    "tests/faults/test_matrix.py": 165,
    "tests/attacks/test_attacks.py": 115,
    "tests/acceptance/test_fleet.py": 105,
    "tests/acceptance/test_catch_up.py": 105,
    "tests/acceptance/test_consumers.py": 95,
    "tests/faults/test_consumers.py": 90,
    "tests/cli/test_credentials.py": 80,
    "tests/faults/test_kills.py": 80,
    "tests/acceptance/test_workers.py": 70,
    "tests/clients/test_javascript.py": 65,
    "tests/console/test_page.py": 65,
    "tests/client/test_live_credentials.py": 60,
    "tests/acceptance/test_flow.py": 50,
    "tests/faults/test_redis_failover.py": 45,
    "tests/javascript/test_tabs.py": 45,
    "tests/javascript/test_matrix.py": 45,
    "tests/hub/test_interleavings.py": 40,
    "tests/conformance/test_openapi.py": 35,
    "tests/cli/test_sub.py": 35,
    "tests/cli/test_consumers.py": 35,
    "tests/console/test_safety.py": 35,
    "tests/cli/test_pub.py": 30,
    "tests/faults/test_redis_storm.py": 30,
    "tests/faults/test_behaviours.py": 30,
    "tests/acceptance/test_crowd.py": 30,
    "tests/javascript/test_life.py": 25,
    "tests/javascript/test_fallback.py": 25,
    "tests/acceptance/test_uploads.py": 25,
    "tests/acceptance/test_limits.py": 25,
    "tests/log/test_redis_groups.py": 25,
    "tests/clients/test_bindings.py": 25,
    "tests/cli/test_upload.py": 20,
    "tests/acceptance/test_two_servers.py": 20,
}
"""Seconds that files take on a busy machine, of those that take long. Only their order matters."""


def unit_of(nodeid: str) -> str:
    """What a test stays together with: a file, or the first one of :data:`TOGETHER`."""
    file = nodeid.partition("::")[0]
    return next((files[0] for files in TOGETHER if file in files), file)


def seconds_of(unit: str) -> int:
    """About how long a unit takes; 0 if that is not much."""
    files = next((files for files in TOGETHER if unit in files), (unit,))
    return sum(LONG.get(file, 0) for file in files)


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out the units in their order to whoever has nothing left to do."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """Take the place of ``--dist loadfile``; what else is wished for stays."""
    if config.option.dist != "loadfile":
        return None
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have workers put first what takes long; in one process all stays in its order.

    Raises:
        pytest.UsageError: if tests have the same id: of those a worker would run only the first.
    """
    for item in items:
        if item.parent and not item.nodeid.endswith(item.name):  # one that schemathesis has made
            item._id = item.parent.id.child(item.name)
    ids = Counter(item.nodeid for item in items)
    if len(ids) < len(items):
        raise pytest.UsageError(f"tests with the same id: {[id for id in ids if ids[id] > 1]}")
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: -seconds_of(unit_of(item.nodeid)))
