"""The commands that change what a WebSocket connection follows: subscribe, unsubscribe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tidewire.hub import Consumer, Session, Start
from tidewire.model import BadRequest, Cursor, Subscription, check_channel, parse_cursor
from tidewire.model.envelope import Ok
from tidewire.model.subscription import NOW, parse_since
from tidewire.transports.commands import Ref, Subscribe, Unsubscribe

if TYPE_CHECKING:
    from tidewire.transports.dialogue import Dialogue


def subscribe(dialogue: Dialogue, command: Subscribe) -> None:
    """Follow further channels, each from where the command says."""
    wanted = _wanted(command, dialogue.session)
    channels = tuple(channel for one in wanted for channel in one.channels)
    if not channels:
        raise BadRequest('subscribe needs "channels"', code="no_channels")
    if len(dialogue.session.channels.union(channels)) > dialogue.rules.most_channels:
        raise BadRequest(
            f"one connection may hold {dialogue.rules.most_channels} channels",
            code="too_many_channels",
        )
    starts = [dialogue.hub.start_now(one) for one in wanted]
    if all(start is not None for start in starts):
        known = [start for start in starts if start is not None]
        _follow(dialogue, command.ref, wanted, known)
    else:
        dialogue.block(command.ref, _subscribe_later(dialogue, command.ref, wanted))


async def _subscribe_later(dialogue: Dialogue, ref: Ref, wanted: list[Subscription]) -> None:
    _follow(dialogue, ref, wanted, [await dialogue.hub.start_of(one) for one in wanted])


def _follow(
    dialogue: Dialogue, ref: Ref, wanted: list[Subscription], starts: Sequence[Start]
) -> None:
    """Follow the channels; the answer comes behind their backfill.

    Only there can one id be right for all the connection's channels.
    """
    session = dialogue.session
    channels = tuple(channel for one in wanted for channel in one.channels)
    now = frozenset(channel for one in wanted if one.starts_now for channel in one.channels)
    after = {channel: at for start in starts for channel, at in start.after.items()}
    held = now & session.channels  # they stay where they are
    session.follow(after, [gap for start in starts for gap in start.gaps], now)
    dialogue.holding.followed({name: at for name, at in after.items() if name not in held})
    session.when_live(lambda: dialogue.answer(Ok(ref, id=session.cursor, channels=channels)))


def _wanted(command: Subscribe, session: Session) -> list[Subscription]:
    """One subscription for each different start that the command names."""
    if isinstance(command.channels, list):
        names = tuple(dict.fromkeys(check_channel(name) for name in command.channels))
        if command.cursor is not None:
            return [Subscription(names, (parse_cursor(command.cursor),))]
        if command.since is None and session.consumer is not None:
            return _where_consumer_is(names, session, session.consumer)
        since = NOW if command.since is None else parse_since(str(command.since))
        return [Subscription(names, (), since)]
    if command.cursor is not None or command.since is not None:
        raise BadRequest('with an object as "channels" each has its own start there')
    return [_one_start(check_channel(name), str(start)) for name, start in command.channels.items()]


def _where_consumer_is(
    names: tuple[str, ...], session: Session, consumer: Consumer
) -> list[Subscription]:
    """A durable consumer starts behind what it acknowledged; what it has already goes on."""
    floor = Cursor(session.hub.engine.epoch, consumer.state.floor)
    new = tuple(name for name in names if name not in session.channels)
    held = tuple(name for name in names if name in session.channels)
    wanted = [Subscription(new, (floor,)), Subscription(held)]
    return [one for one in wanted if one.channels]


def unsubscribe(dialogue: Dialogue, command: Unsubscribe) -> None:
    """Follow channels no longer."""
    names = frozenset(check_channel(name) for name in command.channels)
    if not names:
        raise BadRequest('unsubscribe needs "channels"', code="no_channels")
    session = dialogue.session
    if strangers := sorted(names - session.channels):
        raise BadRequest(f"not subscribed to {', '.join(strangers)}", code="not_subscribed")
    session.unfollow(names)
    dialogue.holding.changed()
    session.when_live(
        lambda: dialogue.answer(
            Ok(command.ref, id=session.cursor, channels=tuple(command.channels))
        )
    )


def _one_start(channel: str, start: str) -> Subscription:
    """The subscription to *channel* from a cursor or a ``since``, whichever *start* is."""
    if start in ("now", "start") or start.lstrip("-").isdigit():
        return Subscription((channel,), (), parse_since(start))
    return Subscription((channel,), (parse_cursor(start),))
