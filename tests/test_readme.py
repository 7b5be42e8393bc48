"""The README's first minute, run as it stands: only the port is another."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.console.browser import ConsolePage, start_browser
from tests.server_process import READY

if TYPE_CHECKING:
    from collections.abc import Iterator

README = Path(__file__).parent.parent / "README.md"
DEFAULT = "127.0.0.1:8480"
PATIENCE = 30.0
"""Seconds within which a line that must come has come, on a loaded machine."""


def blocks(language: str) -> list[str]:
    """The README's pieces of code in this language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)


def the_block(language: str, word: str) -> str:
    """The one piece of code that has this word."""
    (found,) = [block for block in blocks(language) if word in block]
    return found


class Running:
    """A command of the README that goes on until it is stopped."""

    def __init__(self, command: list[str], place: Place) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=place.directory,
            env=place.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.seen: list[str] = []

    def line_with(self, pattern: str) -> str:
        """Read on until a line matches; fail if the command ends or takes too long."""
        assert self.process.stdout is not None
        alarm = threading.Timer(PATIENCE, self.kill)
        alarm.start()
        try:
            for line in self.process.stdout:
                self.seen.append(line)
                if re.search(pattern, line):
                    return line
        finally:
            alarm.cancel()
        raise AssertionError(f"no line with {pattern!r} in:\n{''.join(self.seen)}")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE)


class Place(NamedTuple):
    """Where the commands are run, and the address of the server they use."""

    directory: Path
    environment: dict[str, str]
    address: str = DEFAULT

    def script(self, code: str) -> list[str]:
        return ["bash", "-euo", "pipefail", "-c", code.replace(DEFAULT, self.address)]

    def run(self, code: str) -> str:
        """Run a shell block to its end; return its output."""
        done = subprocess.run(
            self.script(code),
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextlib.contextmanager
    def running(self, *command: str) -> Iterator[Running]:
        running = Running([*command], self)
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A directory with a server started as the README says, after ``pip install .``."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TIDEWIRE_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "TIDEWIRE_PORT": "0",
    }
    place = Place(tmp_path_factory.mktemp("readme"), environment)
    install, serve = the_block("sh", "pip install").splitlines()
    assert install == "pip install ."
    with place.running(*place.script(f"exec {serve}")) as server:
        listening = READY.match(server.line_with(READY.pattern))
        assert listening
        address = f"{listening[1]}:{listening[2]}"
        environment["TIDEWIRE_URL"] = f"http://{address}"
        yield place._replace(address=address)


def test_commands(place: Place) -> None:
    publish = the_block("sh", "tidewire pub")
    with place.running(*place.script(f"exec {the_block('sh', 'tidewire sub')}")) as subscriber:
        subscriber.line_with('"type":"ready"')
        shown = place.run(publish)
        assert '"hello"' in subscriber.line_with('"type":"message"')
    assert '"hello"' in shown  # by tidewire history


def test_curl(place: Place) -> None:
    with place.running(*place.script(f"exec {the_block('sh', '--no-buffer')}")) as stream:
        stream.line_with("^event: tidewire.ready$")
        shown = place.run(the_block("sh", "--json"))
        assert shown.count("it works") == 2  # by long polling and by short polling
        stream.line_with("^data: .*it works")


def test_a_consumer(place: Place) -> None:
    """It gets the message again until it has acknowledged it, and then no more."""
    read, acknowledge = the_block("sh", "/ack").splitlines()
    read = read.replace("since=start", "since=start&wait=1")
    place.run("tidewire pub jobs '\"work\"'")
    (message,) = json.loads(place.run(read))["messages"]
    (again,) = json.loads(place.run(read))["messages"]
    assert again == message | {"deliveries": 2}
    place.run(
        acknowledge.replace("curl ", "curl --fail ").replace("ID-OF-THE-MESSAGE", again["id"])
    )
    assert place.run(read) == ""


def test_on_the_open_internet(place: Place) -> None:
    """On every address, but a certificate that was made for this alone; and nobody gets in."""
    place.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 "
        "-subj /CN=localhost -keyout privkey.pem -out fullchain.pem 2> /dev/null"
    )
    secrets, serve = the_block("sh", "openssl rand").splitlines()
    assert "--host 0.0.0.0" in serve
    serve = serve.replace("0.0.0.0", "127.0.0.1")  # here nothing listens on others
    with place.running(*place.script(f"{secrets}\nexec {serve}")) as server:
        line = server.line_with("^tidewire listening on https://")
        address = line.split()[3]
        shown = place.run(f"curl --insecure --silent '{address}/poll?channels=news'")
        assert json.loads(shown)["code"] == "no_credentials"


def test_python(place: Place) -> None:
    place.run('tidewire pub news "for Python"')
    code = the_block("python", "websockets").replace(DEFAULT, place.address)
    with place.running(sys.executable, "-c", code) as client:
        client.line_with("'type': 'ready'")
        client.line_with("for Python")


@pytest.mark.browser
def test_browser(place: Place, tmp_path: Path) -> None:
    """Each snippet, in Chromium, on a page of the server's own origin."""
    place.run('tidewire pub news "for the browser"')
    browser = start_browser(tmp_path)
    try:
        page = ConsolePage(browser, f"http://{place.address}/")
        log = "window.logged = []; console.log = (...all) => logged.push(JSON.stringify(all))"
        browser.execute_script(log)

        def logged(text: str) -> bool:
            lines: list[str] = browser.execute_script("return window.logged")
            return any(text in line for line in lines)

        browser.execute_script(the_block("js", "EventSource").replace(DEFAULT, place.address))
        page.wait_for(lambda: logged("for the browser"), "EventSource logs the message")
        browser.execute_script(the_block("js", "WebSocket").replace(DEFAULT, place.address))
        page.wait_for(lambda: logged('"type":"ready"'), "the WebSocket is ready")
        page.wait_for(lambda: logged('"type":"ok"'), "the publish is answered")
        page.wait_for(lambda: logged('"data":"from a browser"'), "the message comes back")

        html = the_block("html", "client.js").replace(DEFAULT, place.address)
        (address,) = re.findall(r'<script src="([^"]+)">', html)
        (code,) = re.findall(r"<script>\n(.*)</script>", html, re.S)
        browser.get(f"http://{place.address}/healthz")  # the console takes in no scripts
        browser.execute_script(log)
        browser.execute_script(
            "document.head.append(Object.assign(document.createElement('script'), arguments[0]))",
            {"src": address},
        )
        page.wait_for(lambda: browser.execute_script("return !!window.tidewire"), "the client")
        browser.execute_script(code)
        page.wait_for(lambda: logged('"from the client"'), "the client has its own message")
    finally:
        browser.quit()


def test_install_and_demo_are_the_commands_shown() -> None:
    """The blocks that no test here runs are run by other means; no block goes unseen."""
    assert blocks("sh")[:2] == ["make demo\n", "pip install .\ntidewire serve\n"]
    assert len(blocks("sh")) == 8
    assert len(blocks("js")) == 2
    assert len(blocks("html")) == 1
    assert len(blocks("python")) == 1
