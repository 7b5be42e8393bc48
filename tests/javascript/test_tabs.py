"""Two windows of one origin share one connection, and outlive each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.acceptance.waiting import wait_until
from tests.javascript.pages import CHANNEL, Rig
from tests.javascript.publishing import Publisher

if TYPE_CHECKING:
    from selenium import webdriver

    from tests.javascript.background import Background
    from tests.javascript.pages import Pages
    from tests.server_process import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.faults]


def kinds(server: ServerProcess) -> list[str]:
    """The transport of each stream and held poll that the server has."""
    query = {"channel": CHANNEL}
    answer = httpx.get(f"{server.url}/connections", params=query, trust_env=False).json()
    return [connection["transport"] for connection in answer["connections"]]


@pytest.mark.parametrize(
    ("host", "transport", "end"),
    # A worker takes what it finds by itself; a tab takes what it is told to.
    [
        ("tab", "websocket", "close"),
        ("tab", "websocket", "crash"),
        ("tab", "longpoll", "close"),
        ("worker", "websocket", "close"),
        ("worker", "websocket", "crash"),
    ],
)
def test_tabs_share_one_connection_and_go_on_without_each_other(
    host: str,
    transport: str,
    end: str,
    browser: webdriver.Chrome,
    pages: Pages,
    background: Background,
    server: ServerProcess,
) -> None:
    """The first window, which has the connection if a tab has it, ends in the middle.

    When it crashes, a worker goes with it: Chromium has put it into the process of its first tab.
    """
    publisher = Publisher(server.url)
    share = {"name": f"{host} {transport} {end}"}
    if host == "worker":
        share["worker"] = "/client/tidewire.js"
    windows = [Rig.opened(browser, pages.url) for _ in range(3)]
    first, second, third = windows
    for window in windows:
        window.start("it", url=server.url, share=share, transports=[transport])
        window.wait_until_live("it", "tabs")
    background.do(publisher.publish, 20)
    for window in windows:
        seen = window.check("it", publisher.published)
        assert [state["status"] for state in seen["states"]] == ["connecting", "live"]
    first.wait_for(lambda: kinds(server) == [transport], "one connection, for all three")

    with background.publishing(publisher):
        have = len(publisher.published)
        first.wait_for(lambda: len(publisher.published) > have + 20, "some more messages")
        getattr(first, end)()
        have = len(publisher.published)
        second.wait_for(lambda: len(publisher.published) > have + 20, "some more messages")
    for window in (second, third):
        window.check("it", publisher.published)
    second.wait_for(lambda: kinds(server) == [transport], "one connection, for both")
    if end == "crash":
        first.close()  # which is a window without a page

    third.run("return rig.close()")
    third.close()
    background.do(publisher.publish, 5)
    second.check("it", publisher.published)
    second.close()
    wait_until(lambda: kinds(server) == [])
