"""Clients of Server-Sent Events that are not Tidewire's own, each made to say what it hears."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import httpx
import httpx_sse
import sseclient

from tests.console.browser import start_browser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

NODE = Path(__file__).parent / "node"
PATIENCE = 30.0
"""Seconds within which what must be heard is heard."""


class Heard(NamedTuple):
    """One event as a client hands it out; ``how`` names what it was given to."""

    type: str
    data: str
    id: str
    how: str


class Listener(Protocol):
    """One client."""

    def listening(self, url: str, names: Sequence[str]) -> AbstractContextManager[Iterator[Heard]]:
        """Connect, and yield what is heard; ``names`` are of the events to listen for."""

    def quit(self) -> None:
        """End what it runs in."""


class NodeProgram:
    """A driver in ``tests/conformance/node``: JSON lines in are commands, those out are events."""

    def __init__(self, program: str, *arguments: str) -> None:
        # What npm writes when it is done.
        assert (NODE / "node_modules" / ".package-lock.json").exists(), (
            "the Node clients are not installed: run `make test`, or `npm ci` in "
            "tests/conformance/node"
        )
        self._process = subprocess.Popen(
            ["node", program, *arguments],
            cwd=NODE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                self._lines.put(line)

    def say(self, **command: object) -> None:
        """Give it a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def next(self) -> dict[str, Any]:
        """What it says next."""
        answer: dict[str, Any] = json.loads(self._lines.get(timeout=PATIENCE))
        return answer

    def close(self) -> list[dict[str, Any]]:
        """Close what is open; returns what was said until then and not asked for."""
        self.say()
        return list(iter(self.next, {"closed": True}))

    def quit(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)


class NodeListener(NodeProgram):
    """A client that runs in Node."""

    @contextlib.contextmanager
    def listening(self, url: str, names: Sequence[str]) -> Iterator[Iterator[Heard]]:
        self.say(url=url, names=list(names))
        try:
            yield (Heard(**self.next()) for _ in iter(int, 1))
        finally:
            self.close()


class Chromium:
    """The ``EventSource`` of a browser, on a page of the server's own."""

    LISTENING = (NODE / "listening.mjs").read_text().replace("export ", "")
    OPEN = """
        const [url, names] = arguments;
        window.heard = [];
        window.source = listening(EventSource, url, names, (event) => {
          heard.push(event);
          window.wake?.();
        });
    """
    TAKE = """
        const done = arguments[0];
        window.wake = () => { window.wake = null; done(heard.splice(0)); };
        if (heard.length) wake();
    """

    def __init__(self, profile: Path) -> None:
        self.browser = start_browser(profile)
        self.browser.set_script_timeout(PATIENCE)

    @contextlib.contextmanager
    def listening(self, url: str, names: Sequence[str]) -> Iterator[Iterator[Heard]]:
        page = str(httpx.URL(url).join("/healthz"))
        if self.browser.current_url != page:
            self.browser.get(page)
        self.browser.execute_script(self.LISTENING + self.OPEN, url, list(names))
        try:
            yield self._heard()
        finally:
            self.browser.execute_script("source.close()")

    def _heard(self) -> Iterator[Heard]:
        while True:
            for event in self.browser.execute_async_script(self.TAKE):
                yield Heard(**event)

    def quit(self) -> None:
        self.browser.quit()


class PythonListener:
    """A package that reads what ``httpx`` receives."""

    def __init__(self) -> None:
        self._http = httpx.Client(timeout=PATIENCE, trust_env=False)

    def quit(self) -> None:
        self._http.close()


class HttpxSse(PythonListener):
    """The package ``httpx-sse``."""

    @contextlib.contextmanager
    def listening(self, url: str, names: Sequence[str]) -> Iterator[Iterator[Heard]]:
        with httpx_sse.connect_sse(self._http, "GET", url) as source:
            yield (Heard(sse.event, sse.data, sse.id, "iteration") for sse in source.iter_sse())


class SseClientPy(PythonListener):
    """The package ``sseclient-py``."""

    @contextlib.contextmanager
    def listening(self, url: str, names: Sequence[str]) -> Iterator[Iterator[Heard]]:
        with self._http.stream("GET", url) as answer:
            events = sseclient.SSEClient(answer.iter_bytes()).events()
            yield (Heard(event.event, event.data, event.id or "", "iteration") for event in events)


BROWSER = "chromium"
NODE_LISTENERS = {
    "eventsource 5": ("eventsource.mjs", "eventsource5"),
    "eventsource 4": ("eventsource.mjs", "eventsource4"),
    "fetch-event-source": ("fetch_event_source.mjs",),
}
PYTHON_LISTENERS: dict[str, Callable[[], Listener]] = {
    "httpx-sse": HttpxSse,
    "sseclient-py": SseClientPy,
}


def start_listener(name: str, directory: Path) -> Listener:
    """Start one of the clients named above."""
    if name == BROWSER:
        return Chromium(directory)
    if name in NODE_LISTENERS:
        return NodeListener(*NODE_LISTENERS[name])
    return PYTHON_LISTENERS[name]()
