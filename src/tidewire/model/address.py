"""Addresses: names that stand for channels, and the channels of users, devices and everybody.

What is sent to a user is a message in the user's own channel, ``user:#42``; to one device of it, in
``user:DEVICE#42``; to everybody, in ``@all``. So all of it has a history and a ``seq``, and is
resumed and acknowledged like everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tidewire.model.owner import owner_name

ME = "@me"
"""Where channels are asked for: those of whoever asks. No channel can be called so."""

ALL = "@all"
"""The channel for everybody: who may connect may follow it."""

PRESENCE = "@presence:"
"""What the name of the channel begins with in which the joins and leaves of another are told."""


def user_channel(user: str, device: str | None = None) -> str:
    """The channel of a user, or of one *device* of it.

    A device whose name is longer than 64 characters, or has others than channels may have, is
    written as ``owner_name`` writes such users.
    """
    return f"user:{owner_name(device) if device else ''}#{owner_name(user)}"


def own_channels(user: str, device: str | None) -> tuple[str, ...]:
    """What ``@me`` stands for when *user* asks, on *device* if that is known."""
    own = user_channel(user)
    return (own, user_channel(user, device)) if device else (own,)


def presence_channel(channel: str) -> str:
    """Where the joins and leaves of *channel* are told."""
    return PRESENCE + channel


def subject_of(channel: str) -> str | None:
    """Of which channel *channel* tells the joins and leaves; ``None``: it is none of those."""
    return channel.removeprefix(PRESENCE) if channel.startswith(PRESENCE) else None


def resolved(names: Iterable[str], own: tuple[str, ...]) -> Iterator[str]:
    """*names* with *own* in the place of ``@me``; a name may come twice."""
    for name in names:
        if name == ME:
            yield from own
        else:
            yield name
