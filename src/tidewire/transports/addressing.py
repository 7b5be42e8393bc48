"""From the names that a subscriber's query has to channels: ``@me``, and what is joined unasked."""

from __future__ import annotations

from tidewire.access.caller import Caller
from tidewire.model.address import ME, resolved
from tidewire.model.cursor import Cursor
from tidewire.transports.query import Query


def addressed(query: Query, caller: Caller, auto: tuple[str, ...] = ()) -> Query:
    """*query* of *caller* with channels for all names, and those of *auto* that it may lack.

    Of several cursors, that of ``@me`` is for each of the caller's own channels; a channel that is
    joined unasked starts at the oldest. What takes up a session keeps its channels, and the data of
    one channel alone stays alone.

    Raises:
        NoCredentials, Forbidden: if it names ``@me``, and *caller* is no user.
    """
    wanted = query.subscription
    names, cursors = wanted.channels, wanted.cursors
    personal = query.personal
    own: tuple[str, ...] = ()
    if personal:
        own = caller.own_channels(query.device)
    joined: tuple[str, ...] = ()
    if auto and not query.raw and (names or query.session is None):
        joined, joins_own = joined_unasked(auto, caller, query.device)
        personal = personal or joins_own
    if len(cursors) <= 1:
        channels = tuple(dict.fromkeys((*resolved(names, own), *joined)))
        return query._replace(subscription=wanted._replace(channels=channels), personal=personal)
    starts: dict[str, Cursor] = {}
    for name, cursor in zip(names, cursors, strict=True):
        for channel in own if name == ME else (name,):
            starts.setdefault(channel, cursor)
    oldest = min(cursors, key=lambda cursor: cursor.id)
    for channel in joined:
        starts.setdefault(channel, oldest)
    whole = wanted._replace(channels=tuple(starts), cursors=tuple(starts.values()))
    return query._replace(subscription=whole, personal=personal)


def joined_unasked(
    auto: tuple[str, ...], caller: Caller, device: str | None
) -> tuple[tuple[str, ...], bool]:
    """The channels that *auto* stands for when *caller* subscribes, and whether its own are in it.

    Who is no user has none.
    """
    is_user = caller.kind == "user" and ME in auto
    own = caller.own_channels(device) if is_user else ()
    return tuple(resolved(auto, own)), is_user


def one_channel(name: str, caller: Caller) -> str:
    """The channel that *name* stands for, where there can be one: ``@me`` is all devices'.

    Raises:
        NoCredentials, Forbidden: if it is ``@me``, and *caller* is no user.
    """
    return caller.own_channels()[0] if name == ME else name
