"""The console page in a real Chromium, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.console.browser import TRANSPORTS, ConsolePage, start_browser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium import webdriver

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One Chromium for the tests of this file."""
    browser = start_browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def server(start_shared: StartServer) -> ServerProcess:
    """A server whose pollers come often, so that the tests need not wait for them."""
    return start_shared(poll_interval=0.2)


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    """A channel of the test's own."""
    name: str = request.node.name
    return "test:" + name.translate({ord("["): ":", ord("]"): None})


def publish(server: ServerProcess, channel: str, count: int, **more: object) -> list[str]:
    """Publish so many messages, one request each, and return their ids."""
    ids = []
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        for number in range(count):
            message = {"channel": channel, "data": f"message {number}", **more}
            answer = client.post("/publish", json=message)
            answer.raise_for_status()
            ids.append(answer.json()["id"])
    return ids


def open_page(browser: webdriver.Chrome, server: ServerProcess, channel: str) -> ConsolePage:
    """Open the page on the channel and wait until all four are live."""
    browser.get("about:blank")  # a change of the fragment alone would not load the page anew
    page = ConsolePage(browser, f"{server.url}/#{quote(channel, safe='')}")
    page.complaints()
    page.wait_for_state("live")
    return page


def assert_all_saw(page: ConsolePage, ids: list[str]) -> None:
    """All four panels come to show exactly these messages, in this order, and nothing is amiss."""
    for transport in TRANSPORTS:
        page.wait_for(lambda name=transport: page.ids(name) == ids, f"{transport} shows {ids}")  # type: ignore[misc]
    page.wait_for(lambda: page.verdict() == ("yes", len(ids)), "the headline says yes")
    for numbers in page.snapshot().values():
        assert (numbers["gaps"], numbers["duplicates"]) == ("0", "0")
        assert numbers["received"] == str(len(ids))
        assert numbers["id"] == ids[-1]


def test_messages_appear_over_all_four(
    browser: webdriver.Chrome, server: ServerProcess, channel: str
) -> None:
    """What is published shows in every panel, once and in order, and the console stays silent."""
    page = open_page(browser, server, channel)
    assert page.verdict() == ("waiting", 0)
    ids = publish(server, channel, 10)
    assert_all_saw(page, ids)
    numbers = page.snapshot()
    assert numbers["websocket"]["requests"] == "1"
    assert numbers["sse"]["requests"] == "1"
    assert int(numbers["longpoll"]["requests"]) >= 2
    assert int(numbers["shortpoll"]["requests"]) >= 2
    assert all(figures["median"].endswith(("ms", " s")) for figures in numbers.values())
    assert page.complaints() == []


def test_a_short_poll_that_finds_nothing_gets_304(
    browser: webdriver.Chrome, server: ServerProcess, channel: str
) -> None:
    """A quiet channel costs short polling answers without a body."""
    page = open_page(browser, server, channel)
    page.wait_for(lambda: "× 304" in page.shown("shortpoll", "unchanged"), "a 304 was counted")
    before = page.shown("shortpoll", "bytes")
    polls = int(page.shown("shortpoll", "requests"))
    page.wait_for(lambda: int(page.shown("shortpoll", "requests")) >= polls + 3, "three more polls")
    assert page.shown("shortpoll", "bytes") == before
    assert page.complaints() == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_cut_transport_recovers_what_it_missed(
    browser: webdriver.Chrome, server: ServerProcess, channel: str, transport: str
) -> None:
    """While one is cut the others go on; restored, it brings back exactly what it missed."""
    page = open_page(browser, server, channel)
    before = publish(server, channel, 3)
    assert_all_saw(page, before)

    page.toggle(transport)
    page.wait_for_state("cut", transport)
    missed = publish(server, channel, 7)
    for other in set(TRANSPORTS) - {transport}:
        page.wait_for(lambda name=other: page.ids(name) == before + missed, f"{other} goes on")  # type: ignore[misc]
    assert page.ids(transport) == before
    page.wait_for(lambda: "7 messages" in page.shown(transport, "note"), "it says what waits")
    assert page.verdict() == ("yes", 3)

    page.toggle(transport)
    page.wait_for_state("live", transport)
    after = publish(server, channel, 2)
    assert_all_saw(page, before + missed + after)
    assert page.shown(transport, "recovered") == "7"
    assert page.recovered_ids(transport) == missed
    assert page.complaints() == []


def test_cut_all_and_restore_all(
    browser: webdriver.Chrome, server: ServerProcess, channel: str
) -> None:
    """All four cut at once and restored at once come back with the same list."""
    page = open_page(browser, server, channel)
    before = publish(server, channel, 2)
    assert_all_saw(page, before)
    page.click("#cut-all")
    page.wait_for_state("cut")
    missed = publish(server, channel, 5)
    page.click("#restore-all")
    page.wait_for_state("live")
    assert_all_saw(page, before + missed)
    assert {figures["recovered"] for figures in page.snapshot().values()} == {"5"}
    assert page.complaints() == []


def test_publishing_from_the_page(
    browser: webdriver.Chrome, server: ServerProcess, channel: str
) -> None:
    """What a person types arrives over all four, text as text and an object as JSON."""
    page = open_page(browser, server, channel)
    box = browser.find_element(By.ID, "text")
    status = browser.find_element(By.ID, "status")
    box.send_keys("héllo <b>tide</b>", Keys.ENTER)
    page.wait_for(lambda: status.text == f"Published to {channel} as seq 1.", "the first is out")
    box.send_keys('{"symbol": "T", "price": 12.5, "change": 0.5}', Keys.ENTER)
    page.wait_for(lambda: status.text == f"Published to {channel} as seq 2.", "the second is out")
    for transport in TRANSPORTS:
        page.wait_for(lambda name=transport: len(page.ids(name)) == 2, f"{transport} has both")  # type: ignore[misc]
        rows = browser.find_elements(
            By.CSS_SELECTOR, f'[data-transport="{transport}"] [data-part=list] li'
        )
        assert [row.text.split("\n")[1] for row in rows[:2]] == ["T 12.50", "héllo <b>tide</b>"]
    assert page.complaints() == []


def test_named_events_reach_the_eventsource(
    browser: webdriver.Chrome, server: ServerProcess, channel: str
) -> None:
    """A native EventSource hears only names it listens for: the page learns them on the way."""
    page = open_page(browser, server, channel)
    first = publish(server, channel, 1, event="headline")
    page.wait_for(lambda: page.ids("sse") == first, "the first named event")
    assert_all_saw(page, first + publish(server, channel, 3, event="headline"))
    assert page.complaints() == []


@pytest.mark.parametrize("ending", ["kill", "terminate"])
def test_it_comes_back_after_a_restart_of_the_server(
    browser: webdriver.Chrome, start: StartServer, channel: str, ending: str
) -> None:
    """All four outlive a server, killed or drained: they reconnect and miss nothing."""
    server = start(engine="sqlite:///log.db", poll_interval=0.2)
    page = open_page(browser, server, channel)
    before = publish(server, channel, 5)
    assert_all_saw(page, before)
    getattr(server, ending)()
    server.wait()
    page.wait_for_state("connecting")
    server = start(engine="sqlite:///log.db", port=server.port, poll_interval=0.2)
    after = publish(server, channel, 5)
    page.wait_for_state("live")
    assert_all_saw(page, before + after)


def test_a_backlog_fills_the_page_at_once(
    browser: webdriver.Chrome, server: ServerProcess, channel: str
) -> None:
    """A page that comes late starts with the newest messages, and measures no delay on them."""
    ids = publish(server, channel, 1)
    assert_all_saw(open_page(browser, server, channel), ids)
    ids += publish(server, channel, 29)
    page = open_page(browser, server, channel)
    assert_all_saw(page, ids[-12:])
    assert {figures["median"] for figures in page.snapshot().values()} == {"–"}
    assert {figures["recovered"] for figures in page.snapshot().values()} == {"–"}


def test_it_works_below_a_path_prefix(
    browser: webdriver.Chrome, start: StartServer, channel: str
) -> None:
    """Everything that the page loads and calls is relative to where it stands."""
    server = start(path_prefix="/real/time", poll_interval=0.2)
    page = ConsolePage(browser, f"{server.url}/real/time/#{quote(channel, safe='')}")
    page.wait_for_state("live")
    browser.find_element(By.ID, "text").send_keys("hello", Keys.ENTER)
    page.wait_for(lambda: page.verdict() == ("yes", 1), "all four saw it")
    assert page.complaints() == []


def test_another_channel_starts_from_a_clean_sheet(
    browser: webdriver.Chrome, server: ServerProcess, channel: str
) -> None:
    """Choosing a channel, by name or by button, follows that one and no other."""
    page = open_page(browser, server, channel)
    assert_all_saw(page, publish(server, channel, 2))
    box = browser.find_element(By.ID, "other")
    box.clear()
    box.send_keys(f"{channel}:second", Keys.ENTER)
    page.wait_for(lambda: page.verdict() == ("waiting", 0), "a clean sheet")
    page.wait_for_state("live")
    publish(server, channel, 2)
    assert_all_saw(page, publish(server, f"{channel}:second", 3))
    assert page.complaints() == []


def test_leaving_and_coming_back(
    browser: webdriver.Chrome, server: ServerProcess, channel: str
) -> None:
    """A page that is left lets go of its connections; on the way back it takes them up again."""
    page = open_page(browser, server, channel)
    ids = publish(server, channel, 2)
    assert_all_saw(page, ids)
    for _ in range(4):
        browser.get("about:blank")
        ids += publish(server, channel, 1)
        browser.back()
        page.wait_for_state("live")
        assert_all_saw(page, ids)
    assert page.complaints() == []


def test_a_hidden_page_lets_go_and_catches_up(
    browser: webdriver.Chrome, server: ServerProcess, channel: str
) -> None:
    """A page that nobody sees keeps no connection from the ones in sight, and loses nothing."""
    page = open_page(browser, server, channel)
    before = publish(server, channel, 2)
    assert_all_saw(page, before)
    held = server.connections()
    size = browser.get_window_size()
    browser.minimize_window()
    page.wait_for(lambda: server.connections() <= held - 2, "it lets go")
    missed = publish(server, channel, 3)
    browser.set_window_size(size["width"], size["height"])
    assert_all_saw(page, before + missed)
    assert {figures["recovered"] for figures in page.snapshot().values()} == {"3"}
    assert page.complaints() == []


def test_nothing_moves_while_messages_flow(
    browser: webdriver.Chrome, server: ServerProcess, channel: str
) -> None:
    """The browser itself finds nothing that shifts while the lists fill."""
    page = open_page(browser, server, channel)
    ids = publish(server, channel, 10)
    assert_all_saw(page, ids)
    browser.execute_script(
        """
        window.shifts = [];
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) {
            window.shifts.push(entry.sources.map(({ node }) => node?.textContent ?? "?"));
          }
        }).observe({ type: "layout-shift" });
        """
    )
    assert_all_saw(page, ids + publish(server, channel, 30))
    assert browser.execute_script("return window.shifts") == []


@pytest.mark.parametrize("width", [360, 390, 768, 1024, 1440, 2560])
def test_it_fits_the_window(
    browser: webdriver.Chrome, server: ServerProcess, channel: str, width: int
) -> None:
    """Nothing is wider than the window, on a phone or on a desk, whatever is published."""
    publish(server, channel, 1, data="unbroken" * 200)
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page = open_page(browser, server, channel)
        page.wait_for(lambda: "unbroken" in browser.page_source, "the long message shows")
        wide = browser.execute_script(
            """
            const width = document.documentElement.clientWidth;
            return [document.documentElement.scrollWidth - width,
              ...[...document.querySelectorAll("header *, main *")]
                .filter((node) => node.checkVisibility() && !node.closest(".hidden")
                  && node.getBoundingClientRect().right > width + 0.5
                  && !node.closest(".list li, .stage-main"))
                .map((node) => node.outerHTML.slice(0, 80))];
            """
        )
        assert wide == [0]
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_theme_is_kept(browser: webdriver.Chrome, server: ServerProcess, channel: str) -> None:
    """The toggle changes the page at once, and a reload remembers it."""
    page = open_page(browser, server, channel)

    def background() -> str:
        return browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")

    before = background()
    page.click("#theme")
    changed = background()
    assert changed != before
    browser.refresh()
    assert background() == changed
    page.click("#theme")
    assert background() == before
