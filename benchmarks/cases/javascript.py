"""The JavaScript client in Chromium: messages as fast as they come, and tasks that are too long."""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.results import Figure, Outcome, VoidError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

    from benchmarks.bench import Bench
    from benchmarks.processes import Server

CLIENT = Path(__file__).parents[2] / "clients" / "javascript" / "dist" / "tidewire.js"
CHANNEL = "bench"
LEAST = 20_000
"""Messages a second."""
RATE = 22_000
"""Messages published a second: a bit more than must be handled."""
BATCH = 100
SECONDS = 8
QUICK_SECONDS = 3
PATIENCE = 60.0
PAGE = (
    b"<!DOCTYPE html><meta charset=utf-8><title>Benchmark</title><script src=/client.js></script>"
)
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")

START = """
const [url, channel, transport] = arguments;
window.seen = {count: 0, wrong: 0, first: 0, last: 0, tasks: []};
new PerformanceObserver((list) => {
  for (const {startTime, duration} of list.getEntries()) seen.tasks.push([startTime, duration]);
}).observe({type: "longtask"});
window.client = tidewire.connect(url, {transports: [transport]});
client.on("gap", () => seen.wrong++);
client.on("error", () => seen.wrong++);
let expected;
const {ready} = client.subscribe(channel, ({seq}) => {
  seen.last = performance.now();
  seen.first ||= seen.last;
  if (expected !== undefined && seq !== expected) seen.wrong++;
  expected = seq + 1;
  seen.count++;
});
return ready;
"""

BLOCK = """
setTimeout(() => {
  const end = performance.now() + 80;
  while (performance.now() < end);
  seen.blocked = true;
});
"""


def run(bench: Bench) -> Outcome:
    """Each transport in a page of its own, one after the other."""
    if not CLIENT.is_file():
        raise VoidError("the client is not built: run `npm run build` in clients/javascript")
    outcome = Outcome()
    with bench.tidewire() as server, _browser() as browser, _page() as page:
        for transport in ("websocket", "sse"):
            bench.say(f"{transport}, {RATE} messages/s")
            seen = _measure(browser, page, server, transport, bench.rounds(SECONDS, QUICK_SECONDS))
            outcome.details[transport] = seen
            if seen["wrong"] or seen["count"] != seen["published"]:
                outcome.faults.append(
                    f"{transport}: {seen['count']} of {seen['published']} messages, "
                    f"{seen['wrong']} of them wrong"
                )
            longest = max((duration for _, duration in seen["tasks"]), default=0)
            outcome.figures += [
                Figure(
                    f"{transport}: messages handled",
                    1_000 * seen["count"] / (seen["last"] - seen["first"]),
                    "messages/s",
                    LEAST,
                    ">=",
                    f"{seen['count']} messages, published {BATCH} together",
                ),
                Figure(
                    f"{transport}: tasks over 50 ms",
                    len(seen["tasks"]),
                    "",
                    0,
                    basis=f"the longest {longest:.0f} ms" if longest else "",
                ),
            ]
    return outcome


def _measure(
    browser: Chrome, page: str, server: Server, transport: str, seconds: int
) -> dict[str, Any]:
    """What the page saw while so many messages were published."""
    browser.get(page)
    browser.execute_script(START, server.url, CHANNEL, transport)
    # What has been compiled by then is not counted, as in a page that has been there for a while.
    warm = _publish(server, 1)
    _wait(browser, warm)
    browser.execute_script(BLOCK)
    _wait(browser, warm, "seen.blocked && seen.tasks.length ? seen.count : 0")
    if not browser.execute_script("return seen.tasks.some(([, duration]) => duration >= 80)"):
        raise VoidError("the browser does not tell of long tasks")
    browser.execute_script("Object.assign(seen, {count: 0, first: 0, tasks: []})")
    published = _publish(server, seconds)
    _wait(browser, published)
    seen: dict[str, Any] = browser.execute_script("return {...seen}")
    browser.execute_script("return client.close()")
    return seen | {"published": published}


def _publish(server: Server, seconds: int) -> int:
    """Publish batches at an even pace; how many messages that were."""
    message = {"channel": CHANNEL, "data": "x" * 100}
    body = json.dumps({"messages": [message] * BATCH})
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    batches = RATE * seconds // BATCH
    begin = time.monotonic()
    for number in range(batches):
        connection.request("POST", "/publish", body)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise VoidError(f"a publish was answered {answer.status}")
        time.sleep(max(0.0, begin + (number + 1) * BATCH / RATE - time.monotonic()))
    connection.close()
    return batches * BATCH


def _wait(browser: Chrome, count: int, have: str = "seen.count") -> None:
    """Wait until so many have come; what is missing then shows in the figures."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and browser.execute_script(f"return {have}") < count:
        time.sleep(0.2)


@contextmanager
def _browser() -> Iterator[Chrome]:
    from selenium import webdriver  # not of the group `bench`
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in FLAGS:
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield browser
    finally:
        browser.quit()


@contextmanager
def _page() -> Iterator[str]:
    """The address of a page with the client."""
    script = CLIENT.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = script if self.path == "/client.js" else PAGE
            kind = "text/javascript" if content is script else "text/html"
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
