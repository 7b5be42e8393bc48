"""What ``tidewire sub`` prints, counts and keeps, over all its connections."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from tidewire.cli.terminal import JsonLines, say
from tidewire.client import (
    Event,
    Gap,
    LongPollTransport,
    Message,
    Position,
    Received,
    ServerAddress,
    ShortPollTransport,
    SseTransport,
    Transport,
    Watcher,
    WebSocketTransport,
    open_http,
    receive,
)

if TYPE_CHECKING:
    import httpx

    from tidewire.cli.cursor_file import CursorFile


class Session(Watcher):
    """One run of the command."""

    def __init__(
        self,
        address: ServerAddress,
        position: Position,
        *,
        kept: CursorFile | None = None,
        count: int | None = None,
        messages_only: bool = False,
        quiet: bool = False,
    ) -> None:
        """End after *count* messages; keep the cursor in *kept*."""
        self.output = JsonLines()
        self.count = 0
        self.trouble: str | None = "no answer"
        """Why there has been no connection so far; ``None`` once there was one."""
        self._address = address
        self._position = position
        self._kept = kept
        self._most = count
        self._messages_only = messages_only
        self._quiet = quiet
        self._place = address.url

    async def run(self, transport: str) -> None:
        """Print what comes, until there is enough of it.

        Raises:
            Refused: when the server wants no further attempt.
            OutputClosed: when nobody reads the output any more.
        """
        self._place = f"{self._address.url} ({transport})"
        async with (
            open_http(self._address) as http,
            aclosing(
                receive(_transport(transport, http, self._address), self._position, watcher=self)
            ) as events,
        ):
            async for event in events:
                self._take(event)
                if self.count == self._most:
                    return

    def _take(self, event: Event) -> None:
        if isinstance(event, Received):
            envelope = event.envelope
            if isinstance(envelope, Message):
                self.count += 1
            elif isinstance(envelope, Gap):
                lost = f"messages of {envelope.channel} are gone ({envelope.reason})"
                self._tell(lost, "bold yellow")
            if isinstance(envelope, Message) or not self._messages_only:
                self.output.write(event.json)
        # After the line is out: a kill in between prints it again, rather than never.
        if self._kept is not None:
            self._kept.keep(self._position.cursor)

    def connected(self) -> None:
        self.trouble = None
        self._tell(f"connected to {self._place}", "green")

    def waiting(self, delay: float, reason: str) -> None:
        if self.trouble is not None:
            self.trouble = reason
        self._tell(f"{self._place}: {reason}; next attempt in {delay:.1f} s", "yellow")

    def _tell(self, text: str, style: str) -> None:
        if not self._quiet:
            say(text, style)


def _transport(name: str, http: httpx.AsyncClient, address: ServerAddress) -> Transport:
    if name == "ws":
        return WebSocketTransport(address)
    if name == "sse":
        return SseTransport(http, address)
    if name == "longpoll":
        return LongPollTransport(http, address)
    return ShortPollTransport(http, address)
