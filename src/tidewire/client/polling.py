"""What the two kinds of polling have in common, and the history too: one form of answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import msgspec

from tidewire.client.answers import failure
from tidewire.client.envelope import Reached, parse_envelope
from tidewire.client.errors import Refused, broken
from tidewire.client.fragments import Assembly

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tidewire.client.envelope import Event

CURSOR_HEADER = "tidewire-cursor"
FRAGMENTS = ("fragments", "true")
"""The parameter that lets the server send large messages in parts."""


class Answer(msgspec.Struct, frozen=True):
    """The body of a poll.

    ``cursor`` goes into the next request; ``more`` says that it would be answered at once;
    ``interval`` (ms) is how long a short poller should wait otherwise.
    """

    cursor: str
    messages: list[msgspec.Raw] = []
    gaps: list[msgspec.Raw] = []
    recovered: bool = False
    more: bool = False
    interval: int | None = None

    def events(self) -> Iterator[Event]:
        """What the answer holds, in the order in which to handle it.

        Raises:
            Interrupted: if a part of a message is missing.
            Refused: if it holds something else than envelopes.
        """
        for gap in self.gaps:
            yield parse_envelope(bytes(gap))._replace(moves=False)
        assembly = Assembly()
        for message in self.messages:
            received = assembly.take(parse_envelope(bytes(message)))
            if received is not None:
                yield received
        assembly.end()
        yield Reached(self.cursor)


_decode = msgspec.json.Decoder(Answer).decode


async def get(
    http: httpx.AsyncClient, url: str, *, headers: Mapping[str, str], silence: float
) -> httpx.Response:
    """One request; ``silence`` is the longest time without a byte of the answer, in seconds.

    Raises:
        Interrupted: when it was not answered, or another may be answered better.
        Refused: when another would get the same.
    """
    try:
        timeout = httpx.Timeout(10.0, read=silence)
        answer = await http.get(url, headers=dict(headers), timeout=timeout)
    except httpx.HTTPError as error:
        raise broken(error) from error
    if answer.status_code not in (200, 204, 304):
        raise failure(answer.status_code, answer.headers, answer.content)
    return answer


def read(answer: httpx.Response) -> Answer:
    """The body of a 200.

    Raises:
        Refused: if it is not what a Tidewire server sends.
    """
    try:
        return _decode(answer.content)
    except msgspec.DecodeError as error:
        raise Refused(f"this is not a Tidewire answer: {error}") from None


def reached(answer: httpx.Response) -> Iterator[Event]:
    """What an answer without a body says in its head: the cursor, if it has one."""
    cursor = answer.headers.get(CURSOR_HEADER)
    if cursor:
        yield Reached(cursor)
