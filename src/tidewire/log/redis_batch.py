"""Batches: what one script appends, how it is written for Redis, and what it is made of again.

An item is the publisher's part of a message as MessagePack, made once by the node that accepts it.
The script puts before the items of a batch what it decides: in the feed for the whole batch, in a
channel's stream for each of its messages. It never looks into an item.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections import Counter
from collections.abc import Container, Iterable
from itertools import accumulate, compress
from typing import Final, NamedTuple

import msgspec

from tidewire.log.redis_connection import Argument
from tidewire.log.redis_keys import WHOLE, Keys, Share
from tidewire.model import Draft, Message, Namespaces, Receipt

#: Number and token, before the MessagePack of a batch in the feed.
HEAD: Final = struct.Struct(">Q16s")
#: The id of the channel's message before, ``seq`` and time in ms, before an item in its stream.
ENTRY: Final = struct.Struct(">QQQ")

_encode = msgspec.msgpack.Encoder().encode


class _Item(msgspec.Struct, array_like=True, gc=False):
    channel: str
    data: bytes = b""
    event: str | None = None
    headers: bytes | None = None
    binary: bool = False
    ttl_ms: int | None = None
    gap: str | None = None  # the reason of a purge


class _Body(msgspec.Struct, array_like=True, gc=False):
    """A batch as it is published, behind its head; that of a seam ends with its id.

    ``names`` are its channels, ``of`` which of them each item is of, ``sizes`` how many bytes it
    has: so items that nobody here wants need not be looked into.
    """

    first: int
    time: int
    bases: list[int]
    seam: int
    names: list[str] = []
    of: bytes = b""
    sizes: bytes = b""
    items: msgspec.Raw = msgspec.Raw(b"\x90")
    mark: int = 0


_decode_body = msgspec.msgpack.Decoder(_Body).decode
_decode_item = msgspec.msgpack.Decoder(_Item).decode
_decode_items = msgspec.msgpack.Decoder(list[_Item]).decode

_ITEMS_HEAD: Final = 5  # bytes before the first of the items: that they are an array, and how many
_PURGE: Final = 1 << 31  # in the number of an item's channel


class _Answer(msgspec.Struct, array_like=True, gc=False):
    """What the script answers; see its head."""

    n: int
    first: int
    time: int
    bases: list[int]
    skipped: list[int]
    mark: int


decode_answer = msgspec.msgpack.Decoder(_Answer).decode


class Fed(NamedTuple):
    """A batch of the feed: its messages, or the id of a seam, or a mark alone.

    ``last`` is its highest id, or that up to which none will be given, ``seqs`` the newest ``seq``
    of each of its channels.
    """

    n: int
    token: bytes
    last: int
    seqs: dict[str, int]
    messages: list[Message]
    seam: int


def fed_batch(blob: bytes, epoch: str, step: int = 1, wanted: Container[str] | None = None) -> Fed:
    """A batch as it was published; from one of its ids to the next it is *step*.

    Of a channel that is not *wanted* there is a trace, in the place of its last message. With a
    purge among them, all items come whole.

    Raises:
        msgspec.DecodeError: if it was written by another version.
    """
    n, token = HEAD.unpack_from(blob)
    body = _decode_body(memoryview(blob)[HEAD.size :])
    use = [wanted is None or name in wanted for name in body.names]
    numbers = _numbers(body.of)
    if all(use) or max(numbers, default=0) >= _PURGE:
        seqs, messages = _messages(body, epoch, step)
    else:
        seqs, messages = _wanted_messages(body, epoch, step, numbers, use)
    last = body.first + (len(numbers) - 1) * step
    return Fed(n, token, body.seam or max(last, body.mark), seqs, messages, body.seam)


def _messages(body: _Body, epoch: str, step: int) -> tuple[dict[str, int], list[Message]]:
    id, time, bases = body.first, body.time, iter(body.bases)
    seqs: dict[str, int] = {}
    messages: list[Message] = []
    for item in _decode_items(body.items):
        channel = item.channel
        seq = seqs.get(channel)
        if seq is None:
            seq = next(bases)
        if item.gap is None:
            seqs[channel] = seq = seq + 1
            messages.append(_message(epoch, id, seq, time, item))
        else:
            seqs[channel] = 0 if item.gap == "reset" else seq
            messages.append(Message(epoch, id, channel, 0, time, b"", gap=item.gap))
        id += step
    return seqs, messages


def _wanted_messages(
    body: _Body, epoch: str, step: int, numbers: array[int], use: list[bool]
) -> tuple[dict[str, int], list[Message]]:
    """The same with traces, and without looking into what is not wanted; there is no purge."""
    first, time, names = body.first, body.time, body.names
    newest = dict(zip(dict.fromkeys(numbers), body.bases, strict=True))
    counts = Counter(numbers)
    lasts = dict(zip(numbers, range(len(numbers)), strict=True))
    messages: list[Message] = []
    for number, place in lasts.items():
        if not use[number]:
            id, seq = first + place * step, newest[number] + counts[number]
            messages.append(Message(epoch, id, names[number], seq, time, b""))
    seqs = {names[number]: seq + counts[number] for number, seq in newest.items()}
    if any(use):
        items = memoryview(body.items)
        ends = list(accumulate(_numbers(body.sizes), initial=_ITEMS_HEAD))
        for place in compress(range(len(numbers)), map(use.__getitem__, numbers)):
            number = numbers[place]
            newest[number] = seq = newest[number] + 1
            item = _decode_item(items[ends[place] : ends[place + 1]])
            messages.append(_message(epoch, first + place * step, seq, time, item))
    messages.sort(key=_by_id)
    return seqs, messages


def _numbers(packed: bytes) -> array[int]:
    numbers = array("I", packed)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _packed(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers = array("I", numbers)
        numbers.byteswap()
    return numbers.tobytes()


def _message(epoch: str, id: int, seq: int, time: int, item: _Item) -> Message:
    expires = 0 if item.ttl_ms is None else time + item.ttl_ms
    return Message(
        epoch, id, item.channel, seq, time,
        item.data, item.event, item.headers, item.binary, expires,
    )  # fmt: skip


def _by_id(message: Message) -> int:
    return message.id


def stored_message(epoch: str, id: int, value: bytes) -> tuple[int, Message]:
    """A message as its channel's stream has it, behind the id of the one before it."""
    before, seq, time = ENTRY.unpack_from(value)
    return before, _message(epoch, id, seq, time, _decode_item(memoryview(value)[ENTRY.size :]))


class Purge(NamedTuple):
    """A channel to be purged, and the reason that readers are told."""

    channel: str
    reason: str


Work = Draft | Purge


class Batch:
    """Drafts and purges that one script appends."""

    def __init__(self, keys: Keys, namespaces: Namespaces, share: Share = WHOLE) -> None:
        self.bytes = 0
        self.mark = 0
        self._share = share
        self._keys = keys
        self._namespaces = namespaces
        self._works: list[Work] = []
        self._numbers: dict[str, int] = {}
        self._channels = array("I")  # of the items
        self._sizes = array("I")
        self._items: list[bytes] = []
        self._special: list[tuple[int, bytes | None, int, str]] = []

    def __len__(self) -> int:
        return len(self._works)

    def add(self, works: Iterable[Work]) -> None:
        """Put *works* behind what is there."""
        numbers, channels, items = self._numbers, self._channels, self._items
        for work in works:
            channel = work.channel
            number = numbers.get(channel)
            if number is None:
                number = numbers[channel] = len(numbers)
            if isinstance(work, Draft):
                channels.append(number)
                item = _item_of(work)
                if work.key is not None or work.version is not None:
                    key = None if work.key is None else self._keys.key(channel, work.key)
                    version = -1 if work.version is None else work.version
                    self._special.append((len(items) + 1, key, version, ""))
            else:
                channels.append(number | _PURGE)
                reason = work.reason
                item = _encode((channel, b"", None, None, False, None, reason))
                self._special.append((len(items) + 1, None, -1, reason))
            items.append(item)
            self._sizes.append(len(item))
            self.bytes += len(item)
            self._works.append(work)

    def command(
        self, answers: bytes, head: tuple[Argument, ...]
    ) -> tuple[list[Argument], list[Argument]]:
        """The script's KEYS and ARGV; *head* are its first eight arguments."""
        keys: list[Argument] = [self._keys.log, self._keys.feed, answers]
        bounds: list[Argument] = []
        for channel in self._numbers:
            keys += (self._keys.state(channel), self._keys.messages(channel))
            bounds += self._namespaces.retention(channel)
        special: list[Argument] = []
        for place, key, version, reason in self._special:
            if key is not None:
                keys.append(key)
            special += (place, 0 if key is None else len(keys), version, reason)
        return keys, [
            *head, len(self._numbers), len(self._items), _packed(self._channels),
            self._share.of, self._share.number, self.mark,
            _encode(list(self._numbers)), _packed(self._sizes),
            *bounds, *self._items, *special,
        ]  # fmt: skip

    def carried_out(self, epoch: str, token: bytes, answer: _Answer) -> tuple[Fed, list[Receipt]]:
        """What *answer* says was appended, and a receipt for each work."""
        time = answer.time
        id, step = answer.first, self._share.of
        bases = iter(answer.bases)
        skipped = answer.skipped
        others = {skipped[i]: (skipped[i + 1], skipped[i + 2]) for i in range(0, len(skipped), 3)}
        seqs: dict[str, int] = {}
        messages: list[Message] = []
        receipts: list[Receipt] = []
        for place, work in enumerate(self._works, 1):
            channel = work.channel
            if others and place in others:
                receipts.append(Receipt(channel, *others[place]))
                continue
            seq = seqs.get(channel)
            if seq is None:
                seq = next(bases)
            if isinstance(work, Draft):
                seqs[channel] = seq = seq + 1
                messages.append(
                    Message(
                        epoch, id, channel, seq, time,
                        work.data, work.event, work.headers, work.binary,
                        0 if work.ttl_ms is None else time + work.ttl_ms,
                    )
                )  # fmt: skip
            else:
                seqs[channel] = 0 if work.reason == "reset" else seq
                seq = 0
                messages.append(Message(epoch, id, channel, 0, time, b"", gap=work.reason))
            receipts.append(Receipt(channel, id, seq))
            id += step
        last = max(id - step, answer.mark)
        return Fed(answer.n, token, last, seqs, messages, 0), receipts


def _item_of(draft: Draft) -> bytes:
    event, headers, ttl_ms = draft.event, draft.headers, draft.ttl_ms
    if event is None and headers is None and ttl_ms is None and not draft.binary:
        return _encode((draft.channel, draft.data))
    return _encode((draft.channel, draft.data, event, headers, draft.binary, ttl_ms))
