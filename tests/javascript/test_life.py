"""What happens to a page: no network for a while, out of sight, frozen, loaded anew."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.checker import check_received, from_envelope
from tests.javascript.matrix import SETTINGS, TRANSPORTS
from tests.javascript.pages import Rig
from tests.javascript.publishing import Publisher

if TYPE_CHECKING:
    from selenium import webdriver

    from tests.javascript.background import Background
    from tests.server_process import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.faults]

HIDDEN_INTERVAL = 30_000
"""Ms between the short polls of a page that nobody sees."""
CLIMB_AFTER = 45_000
"""Ms after which a client has looked for a better transport, where there is none."""
SOONEST = 1_000
"""Ms between attempts that events of the page set off."""
RETRY = 4_000
"""Ms after which a stream has come back that was told when, and heeds no event before."""
SLOWLY = 0.1
"""Of the clocks of clients that wait while the test gives them their network back."""
LONG = SOONEST + 500
"""Ms that a back-off has still to go then, at least: for what is more than SOONEST we have 5 s."""


def emulate(rig: Rig, *, offline: bool) -> None:
    """Take the network away from the page, or give it back."""
    rig.select()
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    rig.browser.execute_cdp_cmd("Network.enable", {})
    rig.browser.execute_cdp_cmd(
        "Network.emulateNetworkConditions", {"offline": offline, **conditions}
    )


def left(rig: Rig) -> float:
    """For how many ms of their clocks all clients are going to wait; 0 if one does not wait."""
    left: float = rig.run(
        """
        return Math.min(...[...rig.clients.values()].map(({states, environment}) => {
          const {status, at, retryIn} = states.at(-1);
          return status === "waiting" ? at + retryIn - environment.now() : 0;
        }));
        """
    )
    return left


def test_offline_and_online(rig: Rig, background: Background, server: ServerProcess) -> None:
    """What was published meanwhile is there, and nobody has waited for a back-off to end."""
    publisher = Publisher(server.url)
    ways = {name: background.way(server) for name in TRANSPORTS}
    for name, transports in TRANSPORTS.items():
        # Back-offs take the longest of the span that they may choose from.
        options = {"random": 0.999, "speed": SLOWLY, "transports": transports}
        rig.start(name, url=ways[name].url, **options)
    for name in TRANSPORTS:
        rig.wait_until_live(name)
    background.do(publisher.publish, 10)
    for name in TRANSPORTS:
        rig.check(name, publisher.published)

    emulate(rig, offline=True)
    for way in ways.values():
        background.do(way.reset)  # what is open already is not cut by the browser
    # A long poll that is cut goes over another connection at once; so this is the answer to that.
    background.do(publisher.publish, 10)
    rig.wait_for(lambda: left(rig) > 0, "everybody waits")
    for name in TRANSPORTS:
        rig.skip(name, RETRY)
    rig.wait_for(lambda: left(rig) > LONG, "everybody waits for long")
    background.do(publisher.publish, 10)
    emulate(rig, offline=False)
    for name in TRANSPORTS:
        rig.skip(name, SOONEST)
    for name in TRANSPORTS:
        *_, waiting, connecting, live = rig.check(name, publisher.published)["states"]
        assert [s["status"] for s in (waiting, connecting, live)] == [
            "waiting",
            "connecting",
            "live",
        ]
        assert connecting["at"] - waiting["at"] < waiting["retryIn"]


def test_a_hidden_page_polls_every_30_s(
    rig: Rig, browser: webdriver.Chrome, background: Background, server: ServerProcess
) -> None:
    publisher = Publisher(server.url)
    rig.start("it", url=server.url, transports=["poll"])
    rig.wait_until_live("it")
    background.do(publisher.publish, 2)
    rig.check("it", publisher.published)
    # A client that has no more to look for waits for nothing but its polls: what is left of another
    # wait can be any number, that of a hidden page included.
    rig.skip("it", CLIMB_AFTER)
    waits = "return rig.waits('it')"
    rig.run(waits)
    told = 1_000 * SETTINGS["poll_interval"]
    rig.wait_for(lambda: told in rig.run(waits), "the interval that the server tells")
    assert HIDDEN_INTERVAL not in rig.run(waits)

    browser.minimize_window()
    rig.wait_for(lambda: rig.run("return document.hidden"), "out of sight")
    rig.wait_for(lambda: HIDDEN_INTERVAL in rig.run(waits), "a long wait")
    began = rig.run("return performance.now()")
    background.do(publisher.publish, 2)

    browser.set_window_rect(0, 0, 800, 600)
    rig.wait_for(lambda: not rig.run("return document.hidden"), "in sight")
    rig.check("it", publisher.published)
    assert rig.run("return performance.now()") - began < HIDDEN_INTERVAL
    assert HIDDEN_INTERVAL not in rig.run(waits)


def test_a_frozen_page(rig: Rig, background: Background, server: ServerProcess) -> None:
    """Its connections are cut while it can do nothing; then it goes on where it was."""
    publisher = Publisher(server.url)
    way = background.way(server)
    rig.start("websocket", url=way.url, transports=["websocket"])
    rig.start("sse", url=way.url, transports=["sse"])
    for name in ("websocket", "sse"):
        rig.wait_until_live(name)
    with background.publishing(publisher):
        rig.wait_for(lambda: len(publisher.published) > 20, "some messages")
        rig.browser.execute_cdp_cmd("Page.setWebLifecycleState", {"state": "frozen"})
        background.do(way.reset)
        background.do(publisher.publish, 100)
        rig.browser.execute_cdp_cmd("Page.setWebLifecycleState", {"state": "active"})
        have = len(publisher.published)
        rig.wait_for(lambda: len(publisher.published) > have + 20, "some more messages")
    for name in ("websocket", "sse"):
        rig.check(name, publisher.published)


def test_a_reload_goes_on(rig: Rig, background: Background, server: ServerProcess) -> None:
    """What the page and those that it was before have got, taken together, is everything."""
    publisher = Publisher(server.url)
    names = ("websocket", "sse", "longpoll", "poll")

    def start() -> None:
        for name in names:
            options = {"transports": [name], "persist": name, "journal": name}
            rig.start(name, url=server.url, **options)

    def enough(count: int) -> bool:
        return len(publisher.published) > count

    rig.run("localStorage.clear()")
    start()
    for name in names:
        rig.wait_until_live(name)
    with background.publishing(publisher):
        rig.wait_for(lambda: all(map(rig.newest, names)), "something for each page to go on from")
        for reloads in range(1, 6):
            rig.wait_for(partial(enough, 20 * reloads), "some messages")
            rig.load()
            start()
    last = publisher.published[-1].cursor
    rig.wait_for(lambda: all(rig.newest(name) == last for name in names), "the last one")
    for name in names:
        got = rig.run("return rig.noted(arguments[0])", name)
        check_received(publisher.published, [from_envelope(message) for message in got])
        assert 0 < len(rig.seen(name)["got"]) < len(got)
