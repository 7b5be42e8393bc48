"""Messages: what publishers hand in, what the log keeps, what subscribers get.

A message's ``data`` stays the publisher's own JSON text from end to end: it is checked once and
never decoded or encoded again, so numbers keep their digits and objects their order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple

import msgspec

_encode = msgspec.json.encode

# Epoch and channel need no escaping: their alphabets have no quote or backslash.
_HEAD = b'{"type":"message","id":"%b-%d","channel":"%b","seq":%d,"time":%d'
_PLAIN = _HEAD + b',"data":%b}'

_NO_FORMS: Mapping[Hashable, bytes] = {}


class Draft(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A message before the log has accepted it.

    ``data`` is one JSON value on one line (no CR or LF). With ``binary`` it is a JSON string
    of Base64. ``headers`` is a JSON object of strings on one line. ``key`` makes the publish
    idempotent within its channel. After ``ttl_ms`` the message is withdrawn: readers get a gap in
    its place. A draft whose ``version`` is not above that of the channel's newest is not stored.
    """

    channel: str
    data: bytes
    event: str | None = None
    headers: bytes | None = None
    binary: bool = False
    key: str | None = None
    ttl_ms: int | None = None
    version: int | None = None


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """The log's answer to a draft: it holds the message as safely as the engine promises."""

    channel: str
    id: int
    seq: int


class Message(msgspec.Struct, eq=False, gc=False):
    """One accepted message.

    ``id`` is strictly increasing in the whole log, ``seq`` counts 1, 2, 3 … in the channel,
    ``time`` is the acceptance in Unix ms. ``forms`` caches what transports make of the message,
    each made once and shared by all subscribers; ``made_envelope`` is the cache of ``envelope``.

    ``expires`` is when it is withdrawn, Unix ms; 0: with the rest of its channel. ``deliveries``
    counts how often a consumer was sent it, this time included. With ``gap`` this is no message
    but a record in its place: all of the channel up to and including ``id`` is gone, for the
    reason it names; ``seq`` is 0 and there is no data. Without either it ``is_trace``.

    A struct of msgspec: cheaper to make than an object of a Python class, and without a place
    in the garbage collector's rounds.
    """

    epoch: str
    id: int
    channel: str
    seq: int
    time: int
    data: bytes
    event: str | None = None
    headers: bytes | None = None
    binary: bool = False
    expires: int = 0
    gap: str | None = None
    deliveries: int = 1
    forms: dict[Hashable, bytes] | None = None
    made_envelope: bytes | None = None

    def __repr__(self) -> str:
        return f"<Message {self.epoch}-{self.id} {self.channel}#{self.seq}>"

    @property
    def cursor(self) -> bytes:
        """The cursor after this message, as it is written."""
        return f"{self.epoch}-{self.id}".encode()

    @property
    def size(self) -> int:
        """Bytes that count against limits: the payload and what was chosen by the publisher."""
        return len(self.data) + (len(self.headers) if self.headers else 0)

    @property
    def envelope(self) -> bytes:
        """The JSON envelope, the same object on all transports; one line, made once.

        That of a gap record is a ``gap``.
        """
        envelope = self.made_envelope
        if envelope is None and self.gap is not None:
            envelope = self.made_envelope = (
                f'{{"type":"gap","id":"{self.epoch}-{self.id}","channel":"{self.channel}",'
                f'"reason":"{self.gap}"}}'.encode()
            )
        elif envelope is None:
            epoch, channel = self.epoch.encode(), self.channel.encode()
            if (
                self.event is None
                and self.headers is None
                and not self.binary
                and self.deliveries == 1
            ):
                envelope = self.made_envelope = _PLAIN % (
                    epoch, self.id, channel, self.seq, self.time, self.data,
                )  # fmt: skip
            else:
                parts = (
                    _HEAD % (epoch, self.id, channel, self.seq, self.time),
                    b',"deliveries":%d' % self.deliveries if self.deliveries > 1 else b"",
                    b"" if self.event is None else b',"event":' + _encode(self.event),
                    b',"data":',
                    self.data,
                    b',"encoding":"base64"' if self.binary else b"",
                    b"" if self.headers is None else b',"headers":' + self.headers,
                    b"}",
                )
                envelope = self.made_envelope = b"".join(parts)
        return envelope

    @property
    def is_trace(self) -> bool:
        """Whether this says only that there is a message, and where, or several of the channel.

        Nobody here wanted them.
        """
        return not self.data and self.gap is None

    def is_withdrawn(self, now_ms: int) -> bool:
        """Whether its time to live was over by *now_ms*, or when it was emptied."""
        return self.gap is not None or 0 < self.expires <= now_ms

    def withdrawn(self) -> Message:
        """What is kept of it then: its place in the order."""
        return Message(
            self.epoch,
            self.id,
            self.channel,
            0,
            self.time,
            b"",
            expires=self.expires,
            gap="expired",
        )

    def bare(self, deliveries: int = 1) -> Message:
        """The same message without what was made of it, as its so-manieth delivery."""
        return Message(
            self.epoch,
            self.id,
            self.channel,
            self.seq,
            self.time,
            self.data,
            self.event,
            self.headers,
            self.binary,
            self.expires,
            self.gap,
            deliveries,
        )

    def forget_forms(self) -> None:
        """Drop the cached encodings, to keep a stored message small."""
        self.forms = None
        self.made_envelope = None


def joined(messages: Iterable[Message], form: Hashable, make: Callable[[Message], bytes]) -> bytes:
    """The bytes of all *messages* in a form, as their ``forms`` have them, or *make* makes them.

    Pages of the past are given to many, so most of theirs are made: those cost no call.
    """
    return b"".join(
        [(message.forms or _NO_FORMS).get(form) or make(message) for message in messages]
    )


class Gap(NamedTuple):
    """Messages of *channel* up to and including *id* are gone, and the subscriber lacks them.

    ``reason`` is ``expired`` (discarded by size or age, withdrawn or purged), ``reset`` (the cursor
    is of another log, or of a life of the channel that was forgotten) or ``slow`` (the subscriber
    fell behind). ``skipped`` says how many, where they are known: those withdrawn, and those
    left out because the subscriber wants the latest only; 0: unknown.
    """

    channel: str
    id: int
    reason: str
    skipped: int = 0


class Page(NamedTuple):
    """Part of the log as one subscriber sees it, in id order.

    All the subscriber's messages in the range that ends at ``position`` are in ``messages``,
    but for those that ``gaps`` names. A gap may lie beyond ``position``: then a later
    page says it again. ``more`` is true when there may be further messages below the bound
    that the read was given.
    """

    messages: list[Message]
    gaps: list[Gap]
    position: int
    more: bool
