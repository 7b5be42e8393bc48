"""What the clients have to get: messages of every kind, published on time and once each."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import httpx

from tests.acceptance.checker import from_answer
from tests.javascript.pages import CHANNEL

if TYPE_CHECKING:
    from tests.acceptance.checker import Message

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Spares each client the certificates of the system, which take longer to read than to publish."""
TEXT = "Ebbe & Flut – приплив і відплив – 潮汐 – 🌊 "


class Publisher:
    """Publishes on one server, whatever happens to it, each message once."""

    def __init__(self, url: str) -> None:
        self.published: list[Message] = []
        self._url = url
        self._count = 0
        self._stop = asyncio.Event()

    def _command(self) -> dict[str, Any]:
        number = self._count = self._count + 1
        command: dict[str, Any] = {"channel": CHANNEL, "key": f"key-{number}"}
        if number % 10 == 0:
            return command | {
                "data": f"AP+A8J+M{number:04}",
                "encoding": "base64",
                "event": "bytes",
            }
        repeats = 60 if number % 20 == 1 else number % 5 + 1
        command["data"] = {"number": number, "text": TEXT * repeats}
        if number % 7 == 0:
            command |= {"event": "headline", "headers": {"lang": "de"}}
        return command

    async def publish(self, count: int) -> None:
        """Publish so many, together; again and again until there is an answer."""
        commands = [self._command() for _ in range(count)]
        while True:
            with contextlib.suppress(httpx.TransportError):
                async with httpx.AsyncClient(trust_env=False, timeout=5, verify=NO_TLS) as client:
                    answer = await client.post(f"{self._url}/publish", json={"messages": commands})
                    if answer.status_code == 200:
                        results = answer.json()["results"]
                        self.published += map(from_answer, commands, results)
                        return
                    assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.05)

    async def keep_on(self) -> None:
        """Publish some every tenth of a second until there is enough."""
        self._stop.clear()
        while not self._stop.is_set():
            await self.publish(4)
            await asyncio.sleep(0.1)

    def enough(self) -> None:
        """Let ``keep_on`` end when all that is under way has its answer."""
        self._stop.set()
