"""The page in which clients run, the little server that it comes from, and the hand on both."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from selenium.common.exceptions import WebDriverException

from tests.acceptance.checker import check_received, from_envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from selenium import webdriver

    from tests.acceptance.checker import Message

CHANNEL = "news"
PAGE = Path(__file__).parent / "page"
PATIENCE = 60.0
"""Seconds until what must happen in a page must have happened, on a loaded machine."""

TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the client's code, to have a client that is wrong."""

    file: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        """The module with the change, which must fit in one place."""
        assert text.count(self.old) == 1, f"{self.file} has changed: adapt the test"
        return text.replace(self.old, self.new)


class Pages:
    """Serves the page, the client's modules at ``/client``, and broken ones at ``/broken/NAME``."""

    def __init__(self, built: Path, broken: Mapping[str, tuple[Change, ...]]) -> None:
        self._built = built
        self._broken = broken
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """The page's address; it is not that of any Tidewire server."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()

    def file(self, path: str) -> tuple[str, str] | None:
        """Type and text of what is at a path."""
        part, _, name = path.removeprefix("/").partition("/")
        changes: tuple[Change, ...] = ()
        if part == "client":
            file = self._built / name
        elif part == "broken":
            variant, _, name = name.partition("/")
            changes = self._broken[variant]
            file = self._built / name
        else:
            file = PAGE / (part or "index.html")
        if not file.is_file():
            return None
        text = file.read_text("utf-8")
        for change in changes:
            if change.file == name:
                text = change.applied(text)
        return TYPES[file.suffix], text


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, pages: Pages, *arguments: Any) -> None:
        self._pages = pages
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Answer with a file."""
        found = self._pages.file(self.path.partition("?")[0])
        content = found[1].encode() if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", found[0] if found else "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Rig:
    """The page in one window of the browser."""

    def __init__(self, browser: webdriver.Chrome, url: str, window: str | None = None) -> None:
        self.browser = browser
        self.url = url
        self.window = window or browser.current_window_handle

    @classmethod
    def opened(cls, browser: webdriver.Chrome, url: str) -> Self:
        """The page in a new window, which is in front."""
        browser.switch_to.new_window("window")
        rig = cls(browser, url)
        rig.load()
        # A server of another test may have had the port of one of this test's.
        rig.run("localStorage.clear()")
        return rig

    def load(self) -> None:
        """Load the page, or load it anew."""
        self.select()
        self.browser.get(self.url)
        self.wait_for(lambda: self.run("return !!window.rig"), "the page")

    def select(self) -> None:
        """Have the driver talk to this window; this does not bring it to the front."""
        if self.browser.current_window_handle != self.window:
            self.browser.switch_to.window(self.window)

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script in the page."""
        self.select()
        return self.browser.execute_script(script, *arguments)

    def start(self, name: str, **spec: object) -> None:
        """Start a client: see ``Rig.start`` of the page. It need not be live when this returns."""
        self.run("return rig.start(arguments[0])", {"name": name, "channel": CHANNEL, **spec})

    def skip(self, name: str, ms: float) -> None:
        """Set a client's clock forward: what was to be done meanwhile it does now."""
        self.run("rig.skip(...arguments)", name, ms)

    def state(self, name: str) -> dict[str, Any]:
        """The state of a client."""
        state: dict[str, Any] = self.run("return rig.state(arguments[0])", name)
        return state

    def seen(self, name: str) -> dict[str, Any]:
        """All that a client has seen."""
        seen: dict[str, Any] = self.run("return rig.seen(arguments[0])", name)
        return seen

    def newest(self, name: str) -> str | None:
        """The id of the message that a client got last."""
        newest: str | None = self.run("return rig.clients.get(arguments[0]).got.at(-1)?.id", name)
        return newest

    def check(self, name: str, published: Sequence[Message]) -> dict[str, Any]:
        """Wait for the last message; check that a client saw all, each once, and nothing else."""
        self.wait_for(lambda: self.newest(name) == published[-1].cursor, f"{name} has the last")
        seen = self.seen(name)
        check_received(published, [from_envelope(message) for message in seen["got"]])
        assert seen["gaps"] == []
        assert seen["errors"] == []
        return seen

    def wait_for(self, holds: Callable[[], object], what: str) -> None:
        """Return as soon as ``holds()`` is true; fail after PATIENCE seconds, saying ``what``."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f"never: {what}; {self.summary()}"
            time.sleep(0.03)

    def wait_until_live(self, name: str, transport: str | None = None) -> None:
        """Wait until a client has a connection: over that transport, if one is given."""

        def holds() -> bool:
            state = self.state(name)
            return state["status"] == "live" and transport in (None, state["transport"])

        self.wait_for(holds, f"{name} live over {transport or 'any transport'}")

    def summary(self) -> str:
        """What the clients say of themselves."""
        summary: str = self.run(
            """
            return JSON.stringify([...rig.clients].map(
              ([name, {client, got, gaps, errors, states}]) =>
                [name, client.state, got.length, gaps, errors, states.slice(-6)]));
            """
        )
        return summary

    def crash(self) -> None:
        """Kill the process that has the page; the window stays, and can only be closed."""
        self.select()
        with pytest.raises(WebDriverException, match="tab crashed"):
            self.browser.execute_cdp_cmd("Page.crash", {})

    def close(self) -> None:
        """Close the window."""
        self.select()
        self.browser.close()
        self.browser.switch_to.window(self.browser.window_handles[0])
