"""The React hook and the Vue composable, in real applications in a real Chromium."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.console.browser import start_browser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium import webdriver

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

CLIENT = Path(__file__).parents[2] / "clients" / "javascript"
PATIENCE = 30.0
"""Seconds until something that must show must have shown, on a loaded machine."""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser = start_browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.quit()


def bundled(name: str) -> str:
    """The application with all that it imports, in one script."""
    subprocess.run(["npm", "run", "--silent", "build"], cwd=CLIENT, check=True)
    return subprocess.run(
        [
            "node_modules/.bin/esbuild",
            f"test/bindings/{name}.mjs",
            "--bundle",
            "--format=iife",
            '--define:process.env.NODE_ENV="production"',
        ],
        cwd=CLIENT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def publish(server: ServerProcess, channel: str, *values: object) -> None:
    messages = [{"channel": channel, "data": value} for value in values]
    answer = httpx.post(f"{server.url}/publish", json={"messages": messages}, trust_env=False)
    answer.raise_for_status()


@pytest.mark.parametrize("name", ["react", "vue"])
def test_a_component(browser: webdriver.Chrome, start: StartServer, name: str) -> None:
    """It shows the past and what comes, changes its channel, is told of refusals, and lets go."""
    server = start()

    def shows(text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while (shown := browser.execute_script("return document.body.textContent")) != text:
            assert time.monotonic() < deadline, f"{text!r} never shows, but {shown!r}"
            time.sleep(0.02)

    publish(server, "a", 1, 2, 3)
    browser.get(f"{server.url}/healthz")
    browser.execute_script(bundled(name))
    shows("a live: 2,3")
    publish(server, "a", 4, 5)
    shows("a live: 3,4,5")
    publish(server, "b", 6)
    browser.execute_script("app.show('b')")
    shows("b live: 6")
    publish(server, "a", "no more")
    publish(server, "b", 7)
    shows("b live: 6,7")
    browser.execute_script("app.show('not a channel')")
    shows("not a channel invalid_channel: ")
    browser.execute_script("app.show('a')")
    shows("a live: 5,no more")
    browser.execute_script("app.show('')")
    deadline = time.monotonic() + PATIENCE
    while browser.execute_script("return app.client.state.status") != "closed":
        assert time.monotonic() < deadline, "it does not let go"
        time.sleep(0.02)
