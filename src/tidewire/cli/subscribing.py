"""What ``tidewire sub`` prints, counts and keeps, over all its connections."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from tidewire.cli.terminal import JsonLines, say
from tidewire.client import (
    Acknowledger,
    Event,
    Gap,
    Message,
    Operations,
    Position,
    Received,
    ServerAddress,
    Watcher,
    WebSocketTransport,
    make_transport,
    open_http,
    receive,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tidewire.cli.cursor_file import CursorFile
    from tidewire.client import Credentials


class Session(Watcher):
    """One run of the command."""

    def __init__(
        self,
        address: ServerAddress,
        position: Position,
        *,
        credentials: Credentials,
        kept: CursorFile | None = None,
        acknowledge: bool = False,
        count: int | None = None,
        messages_only: bool = False,
        quiet: bool = False,
    ) -> None:
        """End after *count* messages; keep the cursor in *kept*, or *acknowledge* what is out."""
        self.output = JsonLines()
        self.count = 0
        self.trouble: str | None = "no answer"
        """Why there has been no connection so far; ``None`` once there was one."""
        self._address = address
        self._position = position
        self._credentials = credentials
        self._kept = kept
        self._acknowledge = acknowledge
        self._acks: Acknowledger | None = None
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
        credentials = self._credentials
        async with open_http(self._address, credentials) as http:
            made = make_transport(transport, http, self._address, credentials=credentials)
            consumer = self._position.consumer
            if self._acknowledge and consumer is not None:
                teller = made if isinstance(made, WebSocketTransport) else None
                operations = Operations(http, self._address)
                self._acks = Acknowledger(operations, consumer, teller=teller)
            try:
                async with aclosing(receive(made, self._position, watcher=self)) as events:
                    await self._take_all(events)
            finally:
                if self._acks is not None:
                    await self._acks.close()

    async def _take_all(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            self._take(event)
            if self.count == self._most:
                return

    def _take(self, event: Event) -> None:
        if isinstance(event, Received):
            envelope = event.envelope
            if isinstance(envelope, Message):
                self._take_message(envelope, event.json)
            elif not self._messages_only:
                self.output.write(event.json)
            if isinstance(envelope, Gap):
                self._tell(_lost(envelope), "bold yellow")
        # After the line is out: a kill in between prints it again, rather than never.
        if self._kept is not None:
            self._kept.keep(self._position.cursor)

    def _take_message(self, message: Message, json: bytes) -> None:
        acks = self._acks
        if acks is not None and not acks.give(message):
            return  # it is out already: only the server does not know it yet
        self.count += 1
        self.output.write(json)
        if acks is not None:
            acks.finish(message.id)

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


def _lost(gap: Gap) -> str:
    if gap.skipped:
        noun = "message" if gap.skipped == 1 else "messages"
        return f"{gap.skipped:,} {noun} of {gap.channel} left out ({gap.reason})"
    return f"messages of {gap.channel} are gone ({gap.reason})"
