"""A real Chromium on the console page, and what a person sees and does there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TRANSPORTS = ("websocket", "sse", "longpoll", "shortpoll")
PATIENCE = 30.0
"""Seconds until something that must happen on the page must have happened."""

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
)


def start_browser(profile: Path, *flags: str) -> webdriver.Chrome:
    """Start Chromium with a profile of its own, keeping all that the page's console says."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


class ConsolePage:
    """The page, one channel open."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        browser.get(url)

    def wait_for(self, holds: Callable[[], object], what: str) -> None:
        """Return as soon as ``holds()`` is true; fail after PATIENCE seconds, saying ``what``."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f"never: {what}; page: {self.snapshot()}"
            time.sleep(0.02)

    def snapshot(self) -> dict[str, dict[str, str]]:
        """State and numbers of each panel, as shown."""
        return self.browser.execute_script(  # type: ignore[no-any-return]
            """
            return Object.fromEntries([...document.querySelectorAll(".panel")].map((panel) => [
              panel.dataset.transport,
              Object.fromEntries([["state", panel.dataset.state],
                ...[...panel.querySelectorAll("dd[data-part], [data-part=note]")].map(
                  (part) => [part.dataset.part, part.textContent])]),
            ]));
            """
        )

    def shown(self, transport: str, part: str) -> str:
        """One figure of one panel."""
        return self.snapshot()[transport][part]

    def ids(self, transport: str) -> list[str]:
        """The ids in the list of one panel, oldest first."""
        return self.browser.execute_script(  # type: ignore[no-any-return]
            """
            return [...document.querySelectorAll(
              `[data-transport="${arguments[0]}"] [data-part=list] li`)]
              .map((row) => row.dataset.id).filter(Boolean).reverse();
            """,
            transport,
        )

    def recovered_ids(self, transport: str) -> list[str]:
        """The ids in one panel that are marked as brought back, oldest first."""
        return self.browser.execute_script(  # type: ignore[no-any-return]
            """
            return [...document.querySelectorAll(
              `[data-transport="${arguments[0]}"] li[data-recovered=true]`)]
              .map((row) => row.dataset.id).reverse();
            """,
            transport,
        )

    def verdict(self) -> tuple[str, int]:
        """What the headline claims: yes, no or waiting, and for how many messages."""
        proof = self.browser.find_element(By.ID, "proof").get_attribute("data-verdict")
        count = self.browser.find_element(By.ID, "agreed").get_attribute("data-count")
        return str(proof), int(str(count))

    def click(self, selector: str) -> None:
        """Click what the selector finds."""
        self.browser.find_element(By.CSS_SELECTOR, selector).click()

    def toggle(self, transport: str) -> None:
        """Press the panel's button: cut or restore."""
        self.click(f'[data-transport="{transport}"] [data-part=button]')

    def wait_for_state(self, state: str, *transports: str) -> None:
        """Wait until these panels (all, if none is named) show the state."""
        names = transports or TRANSPORTS
        self.wait_for(
            lambda: all(self.snapshot()[name]["state"] == state for name in names),
            f"{', '.join(names)} {state}",
        )

    def complaints(self) -> list[str]:
        """Everything in the browser's console since the last look: errors, warnings, violations."""
        return [entry["message"] for entry in self.browser.get_log("browser")]  # type: ignore[no-untyped-call]
