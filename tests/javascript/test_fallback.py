"""Which transport a client in Chromium takes, remembers, and comes back to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.javascript import ways
from tests.javascript.publishing import Publisher

if TYPE_CHECKING:
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
SPEED = 8
"""Of the climbing clients' clocks: they try a better transport after 30 to 45 s."""


def test_the_best_that_gets_through_is_taken_and_remembered(
    rig: Rig, background: Background, server: ServerProcess
) -> None:
    """The obstacles stay; a page that is loaded anew begins with what got through."""
    publisher = Publisher(server.url)
    kept = {kind.__name__: background.way(server, kind, armed=True) for kind, _ in OBSTACLES}
    for kind, _ in OBSTACLES:
        rig.start(kind.__name__, url=kept[kind.__name__].url)
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
    for kind, _ in OBSTACLES:
        rig.start(kind.__name__, url=kept[kind.__name__].url)
    for kind, transport in OBSTACLES:
        rig.wait_until_live(kind.__name__, transport)
    assert {name: way.injected.total() for name, way in kept.items()} == injected
    background.do(publisher.publish, 10)
    for kind, _ in OBSTACLES:
        rig.check(kind.__name__, publisher.published)


def test_it_climbs_back_and_loses_nothing(
    rig: Rig, background: Background, server: ServerProcess
) -> None:
    """The better transport takes over from the one in use, with no moment in between."""
    publisher = Publisher(server.url)
    climbers = {f"{worse} to {better}": (kind, worse, better) for kind, worse, better in CLIMBS}
    kept = {name: background.way(server, c[0], armed=True) for name, c in climbers.items()}
    for name, (_, worse, better) in climbers.items():
        options = {"transports": [better, worse]}
        rig.start(name, url=kept[name].url, speed=SPEED, **options)
    for name, (_, worse, _) in climbers.items():
        rig.wait_until_live(name, worse)
    with background.publishing(publisher):
        for way in kept.values():
            background.do(way.heal)
        for name, (_, _, better) in climbers.items():
            rig.wait_until_live(name, better)
        have = len(publisher.published)
        rig.wait_for(lambda: len(publisher.published) > have + 20, "some more messages")
    for name, (_, worse, better) in climbers.items():
        seen = rig.check(name, publisher.published)
        states = [(state["status"], state.get("transport")) for state in seen["states"]]
        assert states == [("connecting", None), ("live", worse), ("live", better)], name
