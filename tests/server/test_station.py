"""The line between a supervisor and a worker, both ends, over a real socket."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.waiting import until
from tidewire.model import EngineUnavailable, Unavailable
from tidewire.server import place as place_module
from tidewire.server.line import (
    Ask,
    Everything,
    Failed,
    Family,
    Leave,
    Leaving,
    Message,
    Ping,
    Pong,
    Ready,
    Sample,
    Stop,
    Tell,
    Told,
)
from tidewire.server.listening import StartError
from tidewire.server.place import Place
from tidewire.server.station import Station

if TYPE_CHECKING:
    from collections.abc import Iterator

FAMILIES = [Family("x", "What x is.", "gauge", [Sample("x", {}, 1)])]
LARGE = [Family("x", "y" * 1_000_000, "gauge", [])]


class Ends:
    """Both ends; what the worker was told about its end is in ``ends``."""

    def __init__(self) -> None:
        ours, self._theirs = socket.socketpair()
        self._listener = socket.socket()
        self.station = Station(1, 0, ours)
        self.place = Place(1, self._listener, self._theirs)
        self.ends: list[bool] = []
        self.families = FAMILIES
        self._heard: list[Message] = []

    async def take(self) -> None:
        """The worker serves."""
        await self.place.take(lambda: self.families, self.ends.append)
        assert await self.heard() == Ready()

    async def heard(self) -> Message:
        """What the supervisor hears next."""

        def has_heard() -> bool:
            self.station.flush()
            self._heard += self.station.receive() or []
            return bool(self._heard)

        await until(has_heard)
        return self._heard.pop(0)

    def close(self) -> None:
        self.station.close()
        self._listener.close()
        self._theirs.close()


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    monkeypatch.setattr(place_module, "ASK_SECONDS", 60)  # a machine may halt for seconds
    with closing(Ends()) as ends:
        yield ends


async def test_a_worker_tells_its_metrics_when_it_is_asked(ends: Ends) -> None:
    await ends.take()
    ends.station.say(Tell(7))
    assert await ends.heard() == Told(7, FAMILIES)
    await ends.place.give_up()
    assert await ends.heard() == Told(0, FAMILIES)
    assert ends.station.receive() is None
    assert ends.ends == []


async def test_a_worker_whose_loop_runs_answers_a_ping(ends: Ends) -> None:
    await ends.take()
    ends.station.say(Ping())
    assert await ends.heard() == Pong()
    await ends.place.give_up()


@pytest.mark.parametrize(("message", "replaced"), [(Leave(), True), (Stop(), False)])
async def test_a_worker_is_told_to_end(ends: Ends, message: Message, replaced: bool) -> None:
    await ends.take()
    ends.station.say(message)
    await until(lambda: ends.ends == [replaced])
    await ends.place.give_up()


async def test_a_worker_that_somebody_else_ends_says_so(ends: Ends) -> None:
    await ends.take()
    ends.place.leave()
    assert await ends.heard() == Leaving()
    assert ends.ends == [True]
    await ends.place.give_up()


async def test_a_worker_ends_when_its_supervisor_is_gone(ends: Ends) -> None:
    await ends.take()
    ends.station.close()
    await until(lambda: ends.ends == [True])
    await ends.place.give_up()


async def test_large_messages_take_more_than_one_turn(ends: Ends) -> None:
    await ends.take()
    ends.families = LARGE
    ends.station.say(Tell(1))
    assert await ends.heard() == Told(1, LARGE)
    asking = asyncio.create_task(ends.place.everything())
    assert await ends.heard() == Ask(1)
    everything = Everything(1, {"1": LARGE}, [], [], 0)
    ends.station.say(everything)
    assert ends.station.has_more

    def is_done() -> bool:
        ends.station.flush()
        return asking.done()

    await until(is_done)
    assert asking.result() == everything
    ends.families = FAMILIES
    await ends.place.give_up()


async def test_however_many_ask_one_question_is_on_its_way(ends: Ends) -> None:
    await ends.take()
    first = asyncio.create_task(ends.place.everything())
    assert await ends.heard() == Ask(1)
    others = [asyncio.create_task(ends.place.everything()) for _ in range(10)]
    await asyncio.sleep(0)
    assert ends.station.receive() == []
    ends.station.say(Everything(1, {}, [], [], 1))
    assert (await first).restarts == 1
    assert await ends.heard() == Ask(2)
    ends.station.say(Everything(2, {}, [], [], 2))
    assert {everything.restarts for everything in await asyncio.gather(*others)} == {2}
    assert ends.station.receive() == []
    await ends.place.give_up()


async def test_a_supervisor_that_hangs(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_module, "ASK_SECONDS", 0.01)
    await ends.take()
    with pytest.raises(Unavailable, match="the supervisor does not answer"):
        await ends.place.everything()
    ends.station.say(Everything(1, {}, [], [], 0))  # too late
    assert await ends.heard() == Ask(1)
    ends.station.say(Tell(1))
    assert await ends.heard() == Told(1, FAMILIES)
    await ends.place.give_up()


async def test_a_worker_that_cannot_start_says_why(ends: Ends) -> None:
    error = StartError("no")
    ends.place.fail(error)
    error.__cause__ = EngineUnavailable("no")
    ends.place.fail(error)
    assert await ends.heard() == Failed("no", log=False)
    assert await ends.heard() == Failed("no", log=True)
