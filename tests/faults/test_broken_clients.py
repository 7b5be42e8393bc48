"""A client that breaks the rules is found out: so the matrix can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.checker import BrokenPromiseError
from tests.faults.clients import Subscriber
from tests.faults.lanes import HEALS_WITHIN, SETTINGS, Outcome, Run
from tests.faults.model import EVERYBODY

if TYPE_CHECKING:
    from tests.acceptance.checker import Envelope
    from tests.conftest import StartServer

pytestmark = pytest.mark.faults

LANES = ("ws", "sse", "longpoll", "poll")


class WithoutCursor(Subscriber):
    """Starts anew with what is published from now on."""

    def start(self) -> dict[str, str]:
        """Where the next connection starts."""
        return {"since": "now"}


class WithOldCursor(Subscriber):
    """Remembers only every fourth cursor."""

    def take(self, envelope: Envelope) -> None:
        """Note an envelope."""
        cursor = self.cursor
        super().take(envelope)
        if len(self.view.messages) % 4:
            self.cursor = cursor


async def run(
    start: StartServer,
    fault: str,
    *,
    kind: type[Subscriber] = Subscriber,
    keys: bool = True,
    heals_within: float = HEALS_WITHIN,
) -> Outcome:
    """A run with broken clients."""
    servers = [start(**SETTINGS)]
    run = Run(
        servers, fault, seed="broken", lanes=LANES, kind=kind, keys=keys, heals_within=heals_within
    )
    return await run.perform()


async def test_a_subscriber_without_a_cursor_loses_messages(start: StartServer) -> None:
    outcome = await run(start, "cut", kind=WithoutCursor, heals_within=1)  # they never do
    for lane in LANES:
        verdict = outcome.verdicts[lane]
        assert verdict.lost > 0, lane
        assert verdict.duplicated == 0, lane
        with pytest.raises(BrokenPromiseError, match=r"\(a\) lost"):
            verdict.check()
    outcome.verdicts[EVERYBODY].check()


async def test_a_subscriber_with_an_old_cursor_gets_messages_twice(start: StartServer) -> None:
    outcome = await run(start, "cut", kind=WithOldCursor)
    for lane in LANES:
        verdict = outcome.verdicts[lane]
        assert verdict.duplicated > 0, lane
        assert verdict.lost == 0, lane
        with pytest.raises(BrokenPromiseError, match=r"\(b\) received twice"):
            verdict.check()


async def test_a_publisher_without_keys_publishes_twice(start: StartServer) -> None:
    outcome = await run(start, "no answer", keys=False)
    with pytest.raises(BrokenPromiseError, match=r"\(f\) published once, there twice"):
        outcome.verdicts[EVERYBODY].check()
    assert [outcome.verdicts[lane].lost for lane in LANES] == [0, 0, 0, 0]
