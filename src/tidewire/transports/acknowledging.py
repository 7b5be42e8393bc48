"""Acknowledging: the WebSocket commands ``ack`` and ``nack``, for the connection's own consumer."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from tidewire.hub import Consumers
from tidewire.model import BadRequest, Cursor, TidewireError, parse_cursor
from tidewire.model.envelope import Ok
from tidewire.transports.commands import Ack, Nack, Ref

if TYPE_CHECKING:
    from tidewire.transports.dialogue import Dialogue

MAX_IDS = 1_000  # of one request
MAX_DELAY = 86_400_000  # ms


def check_ids(texts: list[str]) -> list[Cursor]:
    """The cursors of the messages that a request names.

    Raises:
        BadRequest: if there is none, or too many, or one is malformed.
    """
    if not 1 <= len(texts) <= MAX_IDS:
        raise BadRequest(f"name 1 to {MAX_IDS} messages by their ids", code="invalid_cursor")
    return [parse_cursor(text) for text in texts]


def check_delay(delay_ms: float) -> int:
    """Return a delay in whole ms.

    Raises:
        BadRequest: if it is below 0, or above a day.
    """
    if not 0 <= delay_ms <= MAX_DELAY:
        raise BadRequest("delay: use 0 to 24 hours", code="invalid_delay")
    return round(delay_ms)


def ack(dialogue: Dialogue, command: Ack) -> None:
    """The messages are done with; answered when that is kept.

    Without ``ref`` only a refusal is answered: a client that acknowledges all the time and waits
    for nothing would make the server write as often as it reads.
    """
    consumers, name = _consumer(dialogue)
    cursors = _cursors(command)
    ids = consumers.ids_now(cursors)
    if ids is None:
        work = _ack_later(dialogue, command.ref, name, cursors, single=command.single)
        dialogue.block(command.ref, work)
    else:
        # As publishes do, it waits for no earlier answer: the engine keeps the order.
        then = dialogue.under_way(_acked, dialogue, command.ref)
        consumers.records.acknowledge(name, ids, single=command.single, then=then)


def _acked(dialogue: Dialogue, ref: Ref, future: Future[bytes | None]) -> None:
    error = future.exception()
    if error is None:
        if ref is not None:
            dialogue.answer(Ok(ref))
    elif isinstance(error, TidewireError):
        dialogue.refuse(ref, error)
    else:
        raise error


async def _ack_later(
    dialogue: Dialogue, ref: Ref, name: str, cursors: list[Cursor], *, single: bool
) -> None:
    consumers, _ = _consumer(dialogue)
    ids = await consumers.ids_of(cursors)
    await consumers.records.acknowledge(name, ids, single=single)
    if ref is not None:
        dialogue.answer(Ok(ref))


def nack(dialogue: Dialogue, command: Nack) -> None:
    """The messages are wanted again, at once or later; or never again."""
    consumers, name = _consumer(dialogue)
    cursors = _cursors(command)
    work = refuse_messages(consumers, name, cursors, check_delay(command.delay), command.reject)
    dialogue.block(command.ref, _nack_later(dialogue, command.ref, work))


async def _nack_later(dialogue: Dialogue, ref: Ref, work: Coroutine[None, None, None]) -> None:
    await work
    dialogue.answer(Ok(ref))


async def refuse_messages(
    consumers: Consumers, name: str, cursors: list[Cursor], delay_ms: int, reject: bool
) -> None:
    """Have the messages sent again after *delay_ms*, or with *reject* make them dead letters.

    Raises:
        InvalidCursor, UnknownConsumer, TooManySingleAcks, EngineUnavailable: when that is not kept.
    """
    ids = await consumers.ids_of(cursors)
    if reject:
        await consumers.reject(name, ids)
    else:
        await consumers.delay(name, ids, delay_ms)


def _cursors(command: Ack | Nack) -> list[Cursor]:
    if command.id is None:
        return check_ids(command.ids)
    if command.ids:
        return check_ids([command.id, *command.ids])
    return [parse_cursor(command.id)]


def _consumer(dialogue: Dialogue) -> tuple[Consumers, str]:
    consumer = dialogue.session.consumer
    if consumer is None or dialogue.rules.consumers is None:
        raise BadRequest(
            "this connection is no consumer's: connect with ?consumer=NAME", code="no_consumer"
        )
    return dialogue.rules.consumers, consumer.name
