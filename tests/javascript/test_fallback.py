"""Which transport a client in Chromium takes, remembers, and comes back to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.javascript import ways
from tests.javascript.matrix import SETTINGS
from tests.javascript.publishing import Publisher

if TYPE_CHECKING:
    from tests.conftest import StartServer
    from tests.faults.proxy import Fault
    from tests.javascript.background import Background
    from tests.javascript.pages import Rig
    from tests.server_process import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.faults]

OBSTACLES: list[tuple[type[Fault], str]] = [
    (ways.Blocked, "sse"),
    (ways.Forbidden, "sse"),
    (ways.BadGateway, "sse"),
    (ways.Mute, "sse"),
    (ways.PollsOnly, "longpoll"),
    (ways.ShortRequestsOnly, "poll"),
]
CLIMBS: list[tuple[type[Fault], str, str]] = [
    (ways.Mute, "sse", "websocket"),
    (ways.Mute, "eventsource", "websocket"),
    (ways.Mute, "longpoll", "websocket"),
    (ways.Mute, "poll", "websocket"),
    (ways.Buffering, "longpoll", "sse"),
    (ways.Buffering, "poll", "sse"),
]
HEAD_START = 1_500
"""Ms until the next transport is tried beside one that has not answered."""
CLIMB_AFTER = 45_000
"""Ms after which a better transport has been tried again."""
SLOWLY = 0.2
"""Of clients' clocks: a transport that gets through has 7.5 s, on whatever machine, until the next
one is tried beside it."""
QUIET = {"sse_heartbeat": 120, "ping_interval": 120}
"""A server whose silence is no sign, though clocks are set forward."""


def test_the_best_that_gets_through_is_taken_and_remembered(
    rig: Rig, background: Background, server: ServerProcess
) -> None:
    """The obstacles stay; a page that is loaded anew begins with what got through."""
    publisher = Publisher(server.url)
    kept = {kind.__name__: background.way(server, kind, armed=True) for kind, _ in OBSTACLES}

    def start() -> None:
        for name, way in kept.items():
            # Back-offs, which only the last one comes to, take the shortest of their span.
            shortest = {"random": 0.01} if name == "ShortRequestsOnly" else {}
            rig.start(name, url=way.url, speed=SLOWLY, **shortest)

    start()
    rig.wait_for(lambda: kept["Mute"].injected, "a socket that is mute")
    rig.skip("Mute", HEAD_START)
    for kind, transport in OBSTACLES:
        rig.wait_until_live(kind.__name__, transport)
    with background.publishing(publisher):
        rig.wait_for(lambda: len(publisher.published) > 40, "some messages")
    for kind, transport in OBSTACLES:
        seen = rig.check(kind.__name__, publisher.published)
        lives = [state["transport"] for state in seen["states"] if state["status"] == "live"]
        # That long requests do not get through shows only when there has been one, or two.
        before = ["longpoll", "longpoll"] if transport == "poll" else []
        assert lives == [*before, transport]

    injected = {name: way.injected.total() for name, way in kept.items()}
    rig.run("return rig.close()")
    rig.load()
    publisher.published.clear()
    start()
    for kind, transport in OBSTACLES:
        rig.wait_until_live(kind.__name__, transport)
    assert {name: way.injected.total() for name, way in kept.items()} == injected
    background.do(publisher.publish, 10)
    for kind, _ in OBSTACLES:
        rig.check(kind.__name__, publisher.published)


def test_it_climbs_back_and_loses_nothing(
    rig: Rig, background: Background, start: StartServer
) -> None:
    """The better transport takes over from the one in use, with no moment in between."""
    server = start(**{**SETTINGS, **QUIET})
    publisher = Publisher(server.url)
    climbers = {f"{worse} to {better}": (kind, worse, better) for kind, worse, better in CLIMBS}
    kept = {name: background.way(server, c[0], armed=True) for name, c in climbers.items()}
    for name, (_, worse, better) in climbers.items():
        options = {"transports": [better, worse]}
        rig.start(name, url=kept[name].url, **options)
    for name, (_, worse, _) in climbers.items():
        rig.wait_until_live(name, worse)
    with background.publishing(publisher):
        for way in kept.values():
            background.do(way.heal)
        for name, (_, _, better) in climbers.items():
            rig.skip(name, CLIMB_AFTER)
            rig.wait_until_live(name, better)
        have = len(publisher.published)
        rig.wait_for(lambda: len(publisher.published) > have + 20, "some more messages")
    for name, (_, worse, better) in climbers.items():
        seen = rig.check(name, publisher.published)
        states = [(state["status"], state.get("transport")) for state in seen["states"]]
        assert states == [("connecting", None), ("live", worse), ("live", better)], name
