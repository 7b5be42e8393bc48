"""What the page may do in a browser, and how it shows who uses it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from selenium.webdriver.common.by import By

from tests.acceptance.credentials import KEY, SECRET, token
from tests.certificates import Authority
from tests.console.browser import TRANSPORTS, ConsolePage, start_browser
from tidewire.console import static_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium import webdriver

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

ROOM = {"room:*": ["subscribe", "publish", "history"]}
VIOLATIONS = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}`);
});
"""

# Headers


@pytest.mark.parametrize("path", static_files())
def test_every_file_has_safe_headers(path: str) -> None:
    lines = static_files()[path].headers.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    directives = headers["Content-Security-Policy"].split(";")
    policy = {name: values for name, *values in map(str.split, directives)}
    assert policy == {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "connect-src": ["'self'"],
        "img-src": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    # The client is for pages of other origins, too.
    allowed = "cross-origin" if path == "/client.js" else "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == allowed
    assert "camera=()" in headers["Permissions-Policy"]


def test_they_come_with_304_too(start: StartServer) -> None:
    server = start()
    first = httpx.get(f"{server.url}/")
    again = httpx.get(f"{server.url}/", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code) == (200, 304)
    for name in ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy"):
        assert first.headers[name] == again.headers[name]


def test_there_is_nothing_to_forbid_in_the_page() -> None:
    """No script, style or handler within it."""
    page = static_files()["/"].body.decode()
    scripts = re.findall(r"<script[^>]*>", page)
    assert scripts
    assert all(re.search(r' src="(console/|client\.js")', script) for script in scripts)
    for inline in ("<style", " style=", " onclick=", " onload=", "javascript:"):
        assert inline not in page


# In the browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A Chromium that writes down what a page's policy has blocked, and takes any certificate."""
    browser = start_browser(tmp_path_factory.mktemp("profile"), "--ignore-certificate-errors")
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": VIOLATIONS})
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def guarded(start_shared: StartServer) -> ServerProcess:
    """A server that wants to know who asks."""
    return start_shared(
        api_key=KEY, token_secret=SECRET, poll_interval=0.2, access_log=True, log_format="json"
    )


@pytest.fixture
def page(browser: webdriver.Chrome, guarded: ServerProcess) -> ConsolePage:
    """Its page in a tab that knows nothing."""
    browser.get("about:blank")
    browser.get(f"{guarded.url}/healthz")
    browser.execute_script("sessionStorage.clear()")
    page = ConsolePage(browser, f"{guarded.url}/#room:1")
    page.wait_for(lambda: asked(page), "it asks who one is")
    page.complaints()
    return page


def fresh(browser: webdriver.Chrome, server: ServerProcess) -> ConsolePage:
    """The page in a tab that has shown nothing of it before."""
    browser.get("about:blank")
    browser.get_log("browser")  # type: ignore[no-untyped-call]
    return ConsolePage(browser, f"{server.url}/#room:1")


def asked(page: ConsolePage) -> bool:
    """Whether the page asks who uses it."""
    return page.browser.find_element(By.ID, "identity").is_displayed()


def show(page: ConsolePage, credential: str) -> None:
    """Paste a token or a key, and send it off."""
    page.browser.find_element(By.ID, "credential").send_keys(credential)
    page.click("#identity-form button")


def publish(server: ServerProcess, channel: str, text: str) -> str:
    """Publish one message; its id."""
    message = {"channel": channel, "data": text}
    answer = httpx.post(f"{server.url}/publish", json=message, headers={"X-API-Key": KEY})
    return str(answer.raise_for_status().json()["id"])


def assert_all_see(page: ConsolePage, id: str) -> None:
    """The message comes to be the newest over all four."""
    for transport in TRANSPORTS:
        page.wait_for(lambda name=transport: page.ids(name)[-1:] == [id], f"{transport} has it")  # type: ignore[misc]


def troubles(page: ConsolePage) -> list[str]:
    """What the browser complains of, but for refusals of the server."""
    refusals = ("status of 401", "status of 403")
    return [said for said in page.complaints() if not any(r in said for r in refusals)]


def violations(page: ConsolePage) -> Any:
    """What the policy has blocked."""
    return page.browser.execute_script("return window.violations")


@pytest.mark.browser
def test_the_policy_blocks_nothing_of_ours(browser: webdriver.Chrome, start: StartServer) -> None:
    server = start(poll_interval=0.2)
    page = fresh(browser, server)
    page.wait_for_state("live")
    message = {"symbol": "TIDE", "price": 1.5, "change": 0.5}
    httpx.post(f"{server.url}/publish", json={"channel": "room:1", "data": message})
    page.wait_for(lambda: page.verdict() == ("yes", 1), "all four have it")
    page.toggle("sse")
    page.wait_for_state("cut", "sse")
    page.click("#restore-all")
    page.click("#theme")
    page.wait_for_state("live")
    assert violations(page) == []
    assert page.complaints() == []
    assert not asked(page)
    assert not page.browser.find_element(By.ID, "forget").is_displayed()


@pytest.mark.browser
def test_and_blocks_what_is_not(browser: webdriver.Chrome, start: StartServer) -> None:
    server = start()
    other = start()
    page = fresh(browser, server)
    page.wait_for_state("live")
    done = browser.execute_async_script(
        """
        const [other, done] = arguments;
        const tried = [];
        const note = (name) => (error) => tried.push(`${name}: ${error ? "blocked" : "done"}`);
        try { document.body.innerHTML = "<b>x</b>"; note("html")(); } catch (e) { note("html")(e); }
        try { setTimeout("1"); note("eval")(); } catch (e) { note("eval")(e); }
        try { new WebSocket(other.replace("http", "ws") + "/ws"); } catch (e) { note("socket")(e); }
        const image = new Image();
        image.src = other + "/console/favicon.svg";
        fetch(other + "/healthz").then(() => note("fetch")(), note("fetch"))
          .then(() => image.decode()).catch(note("image")).then(() => done(tried));
        """,
        other.url,
    )
    assert {"html: blocked", "fetch: blocked", "image: blocked"} <= set(done)
    blocked = " ".join(violations(page))
    for directive in ("require-trusted-types-for", "connect-src", "img-src"):
        assert directive in blocked
    assert "ws://" in blocked


@pytest.mark.browser
def test_over_tls(browser: webdriver.Chrome, start: StartServer, tmp_path: Path) -> None:
    """``connect-src 'self'`` has the WebSocket in it, wss included."""
    server = start(**Authority(tmp_path).issue().settings, poll_interval=0.2)
    page = fresh(browser, server)
    page.wait_for_state("live")
    httpx.post(f"{server.url}/publish", json={"channel": "room:1", "data": 1}, verify=False)
    page.wait_for(lambda: page.verdict() == ("yes", 1), "all four have it")
    assert violations(page) == []
    assert page.complaints() == []


# Who uses it


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["token", "key"])
def test_who_shows_one_gets_in(page: ConsolePage, guarded: ServerProcess, kind: str) -> None:
    show(page, KEY if kind == "key" else f" Bearer {token('42', ROOM)} ")
    page.wait_for_state("live")
    assert not asked(page)
    assert_all_see(page, publish(guarded, "room:1", kind))
    page.browser.find_element(By.ID, "text").send_keys("from the page")
    page.click(".publish button")
    status = page.browser.find_element(By.ID, "status")
    page.wait_for(lambda: status.text.startswith("Published to room:1"), "it is published")
    assert troubles(page) == []
    assert violations(page) == []


@pytest.mark.browser
def test_it_stays_in_the_tab(page: ConsolePage, guarded: ServerProcess) -> None:
    """Neither in an address, nor anywhere that outlives the tab; a reload keeps it."""
    show(page, KEY)
    page.wait_for_state("live")
    page.browser.refresh()
    page.wait_for_state("live")
    assert_all_see(page, publish(guarded, "room:1", "after the reload"))
    kept: Any = page.browser.execute_script(
        """
        return {
          session: {...sessionStorage}, local: JSON.stringify({...localStorage}),
          cookie: document.cookie, page: document.documentElement.outerHTML + location.href,
          asked: performance.getEntriesByType("resource").map(({ name }) => name).join(" "),
        };
        """
    )
    assert list(kept["session"].values()) == [KEY]
    for place in ("local", "cookie", "page", "asked"):
        assert KEY not in kept[place]
    assert KEY not in guarded.log()
    # The page polls on: of the line that is being written there may be a half.
    written = guarded.log().rpartition("\n")[0].splitlines()
    lines = [json.loads(line) for line in written if line.startswith("{")]
    targets = [line.get("target", "") for line in lines]
    assert any(target.startswith("/ws?") and "ticket=***" in target for target in targets)


@pytest.mark.browser
def test_it_is_forgotten(page: ConsolePage) -> None:
    show(page, KEY)
    page.wait_for_state("live")
    page.click("#forget")
    page.wait_for(lambda: asked(page), "it asks again")
    assert page.browser.execute_script("return sessionStorage.length") == 0
    assert not page.browser.find_element(By.ID, "forget").is_displayed()


@pytest.mark.browser
def test_a_token_that_is_not_good(page: ConsolePage) -> None:
    show(page, "nonsense")
    why = page.browser.find_element(By.ID, "identity-why")
    page.wait_for(lambda: asked(page) and "401" in why.text, "it says why not")
    show(page, token("42", {"other:*": ["subscribe"]}))
    page.wait_for(lambda: asked(page) and "may not subscribe to 'room:1'" in why.text, "it says so")
    show(page, token("42", ROOM))
    page.wait_for_state("live")


@pytest.mark.browser
def test_a_token_that_ends_while_it_is_used(page: ConsolePage, guarded: ServerProcess) -> None:
    """Another one goes on where that ended, and nothing is lost between."""
    show(page, token("42", ROOM, lasts=6))
    page.wait_for_state("stopped")
    assert asked(page)
    between = publish(guarded, "room:1", "between")
    show(page, token("42", ROOM))
    assert_all_see(page, between)
    for figures in page.snapshot().values():
        assert (figures["gaps"], figures["duplicates"]) == ("0", "0")
    page.wait_for_state("live")
    assert not asked(page)


@pytest.mark.browser
def test_a_stream_that_breaks_comes_back_with_a_new_ticket(
    page: ConsolePage, start: StartServer, browser: webdriver.Chrome
) -> None:
    server = start(api_key=KEY, poll_interval=0.2, engine="sqlite:///log.db")
    page = fresh(browser, server)
    page.wait_for(lambda: asked(page), "it asks who one is")
    show(page, KEY)
    page.wait_for_state("live")
    server.kill()
    again = start(api_key=KEY, poll_interval=0.2, engine="sqlite:///log.db", port=server.port)
    assert_all_see(page, publish(again, "room:1", "after the crash"))


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 390, 768, 1440])
def test_the_question_fits_the_window(page: ConsolePage, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        wide = page.browser.execute_script(
            """
            const width = document.documentElement.clientWidth;
            return [document.documentElement.scrollWidth - width,
              ...[...document.querySelectorAll("#identity *")]
                .filter((node) => node.getBoundingClientRect().right > width + 0.5)
                .map((node) => node.outerHTML.slice(0, 80))];
            """
        )
        assert len(wide) == 1, wide
        assert wide[0] <= 0
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
