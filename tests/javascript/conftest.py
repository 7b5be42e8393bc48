"""One Chromium and one build of the client for all tests of this directory."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.console.browser import start_browser
from tests.javascript.background import Background
from tests.javascript.matrix import BROKEN, SETTINGS
from tests.javascript.pages import Pages, Rig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium import webdriver

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

CLIENT = Path(__file__).parents[2] / "clients" / "javascript"


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One Chromium; its first window stays empty, and each test opens its own."""
    browser = start_browser(tmp_path_factory.mktemp("profile"))
    browser.set_script_timeout(60)
    yield browser
    browser.quit()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """Where the page comes from, with the client as it is now."""
    built = tmp_path_factory.mktemp("client")
    subprocess.run(
        ["node", "scripts/build.mjs", str(built)], cwd=CLIENT, check=True, capture_output=True
    )
    pages = Pages(built, BROKEN)
    yield pages
    pages.close()


@pytest.fixture
def rig(browser: webdriver.Chrome, pages: Pages) -> Iterator[Rig]:
    """The page in a window of the test's own."""
    rig = Rig.opened(browser, pages.url)
    yield rig
    if rig.window in browser.window_handles:
        rig.run("return rig.close()")
        rig.close()


@pytest.fixture
def background() -> Iterator[Background]:
    """Where ways and publishers are at work."""
    background = Background()
    yield background
    background.close()


@pytest.fixture
def server(start: StartServer) -> ServerProcess:
    """A server of the test's own, so that all in its channel is the test's."""
    return start(**SETTINGS)
