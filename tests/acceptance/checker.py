"""The promise as a pure model: given what was published and what each client saw, is it kept?

Everything here is a function of its arguments. A broken promise raises
:class:`BrokenPromiseError`, whose text names the first messages concerned.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Envelope = dict[str, Any]


class BrokenPromiseError(AssertionError):
    """A client saw something that the contract excludes."""


@dataclass(frozen=True, slots=True, order=True)
class Message:
    """One message: where it stands in the log, and what it says."""

    position: int
    epoch: str
    channel: str
    seq: int
    body: str
    """Event, data, encoding and headers as canonical JSON, so that a changed byte is seen."""

    @property
    def cursor(self) -> str:
        """The cursor after it, which its envelope and its publisher's answer carry."""
        return f"{self.epoch}-{self.position}"

    def __str__(self) -> str:
        return f"{self.channel}#{self.seq} ({self.epoch}-{self.position}) {self.body[:60]}"


def position(cursor: str) -> tuple[str, int]:
    """Split a cursor into epoch and place in the log.

    To clients a cursor is opaque; only a checker of their order may look inside.
    """
    epoch, _, place = cursor.rpartition("-")
    if not epoch or not place.isdecimal():
        raise BrokenPromiseError(f"not a cursor of a log with one partition: {cursor!r}")
    return epoch, int(place)


def body_of(fields: Mapping[str, Any]) -> str:
    """The part of a message that its publisher chose, of a publish command or an envelope alike."""
    chosen = {
        name: fields[name] for name in ("event", "data", "encoding", "headers") if name in fields
    }
    return json.dumps(chosen, sort_keys=True)


def from_envelope(envelope: Envelope) -> Message:
    """The message that a client received."""
    epoch, place = position(envelope["id"])
    return Message(place, epoch, envelope["channel"], envelope["seq"], body_of(envelope))


def from_answer(command: Mapping[str, Any], answer: Mapping[str, Any]) -> Message:
    """The message that a publisher got an answer for."""
    if answer["channel"] != command["channel"]:
        raise BrokenPromiseError(
            f"published on {command['channel']}, answered for {answer['channel']}"
        )
    epoch, place = position(answer["id"])
    return Message(place, epoch, answer["channel"], answer["seq"], body_of(command))


def check_log(messages: Iterable[Message], *, starts: Mapping[str, int] | None = None) -> None:
    """Check a whole log in order: ids ascend, one epoch, ``seq`` of every channel has no hole.

    ``starts`` gives the first ``seq`` of the channels that do not begin at 1.
    """
    check_order(messages := list(messages))
    following: dict[str, int] = dict(starts or {})
    for message in messages:
        expected = following.get(message.channel, 1)
        if message.seq != expected:
            raise BrokenPromiseError(f"expected seq {expected}, got {message}")
        following[message.channel] = expected + 1


def check_order(messages: Sequence[Message]) -> None:
    """Check that ids ascend strictly and that all belong to one epoch."""
    for earlier, later in pairwise(messages):
        if later.epoch != earlier.epoch:
            raise BrokenPromiseError(f"the epoch changed:\n  {earlier}\n  {later}")
        if later.position <= earlier.position:
            raise BrokenPromiseError(f"not in the order of the ids:\n  {earlier}\n  {later}")


def check_received(
    published: Iterable[Message],
    received: Sequence[Message],
    *,
    unanswered: Iterable[str] = (),
) -> None:
    """Check that ``received`` is exactly ``published``: each once, unchanged, ids ascending.

    ``unanswered`` are bodies whose publisher got no answer: each may be there once, or not at all.
    """
    expected = {(m.epoch, m.position): m for m in published}
    optional = dict.fromkeys(unanswered)
    seen: dict[tuple[str, int], Message] = {}
    for message in received:
        key = message.epoch, message.position
        if key in seen:
            raise BrokenPromiseError(f"received twice: {message}")
        seen[key] = message
        if key not in expected:
            if message.body not in optional:
                raise BrokenPromiseError(f"received but never published: {message}")
            del optional[message.body]
        elif message != expected[key]:
            raise BrokenPromiseError(f"changed on the way:\n  {expected[key]}\n  {message}")
    lost = sorted(expected[key] for key in expected.keys() - seen.keys())
    if lost:
        raise BrokenPromiseError(
            f"{len(lost)} of {len(expected)} lost, the first of them {lost[0]}"
        )
    check_order(received)


def check_agreement(streams: Mapping[str, Sequence[Message]]) -> None:
    """Check that every client saw the same messages in the same order."""
    (first, reference), *others = streams.items()
    for name, stream in others:
        for ours, theirs in zip(reference, stream, strict=False):
            if ours != theirs:
                raise BrokenPromiseError(f"{first} and {name} disagree:\n  {ours}\n  {theirs}")
        if len(stream) != len(reference):
            raise BrokenPromiseError(f"{first} saw {len(reference)}, {name} {len(stream)} messages")
