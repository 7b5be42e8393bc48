"""Every attack of the threat table, carried out against a running server with honest clients.

Whatever is done, they lose nothing, get nothing twice and all in order; the server says that it is
alive, counts what it refuses, and has neither grown nor kept a connection when it is over. How long
messages took is a matter of the machine: ``python -m benchmarks --case attacks`` measures it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.attacks.siege import Siege
from tests.attacks.table import ATTACKS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.attacks


GROWTH = 64 << 20
"""Bytes by which the server may have grown after all of it: caches, and what malloc keeps."""


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """One server for all attacks: what one of them leaves behind would meet the next."""
    with Siege(tmp_path_factory.mktemp("siege")) as siege:
        siege.settle()
        yield siege


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(siege: Siege, name: str) -> None:
    attack = ATTACKS[name]
    report = siege.under(attack)
    siege.heal(report)
    if faults := report.faults(attack):
        pytest.fail("\n".join([report.seen, *faults]), pytrace=False)


def test_all_of_it_has_left_little(siege: Siege) -> None:
    assert siege.memory() < siege.settled + GROWTH
