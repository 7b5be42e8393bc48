"""Who asks: a back end with a key, a user with a token, or a stranger; and what it was granted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from tidewire.model import Forbidden, NoCredentials
from tidewire.model.address import ME, own_channels
from tidewire.model.owner import own_key, owner_name

Right = Literal["subscribe", "publish", "history", "presence", "ack"]
RIGHTS: frozenset[str] = frozenset({"subscribe", "publish", "history", "presence", "ack"})
"""What a token or a key can grant for channels. ``subscribe`` includes ``ack``."""

SCOPES = RIGHTS | {"admin", "metrics", "tickets"}
"""What a key can grant: beside the rights, discarding and revoking, metrics, tickets for users."""

Kind = Literal["open", "anonymous", "user", "key"]


class CallerLimits(NamedTuple):
    """What a token sets apart from the settings; ``None``: what the settings say.

    Streams at a time, messages and bytes per second of one connection, channels of a subscription.
    """

    connections: int | None = None
    messages: int | None = None
    bytes: int | None = None
    channels: int | None = None


class Grant(NamedTuple):
    """These rights in the channels of a pattern."""

    pattern: str
    rights: frozenset[str]


class Caller:
    """One identity. What it may do is for ``Rights`` to say.

    ``kind`` is ``open`` where the server asks nobody who they are, ``anonymous`` for who shows
    nothing. ``name`` is the user's id, or the key's name. ``issued`` and ``expires`` are Unix
    seconds; ``expires`` is ``None`` when it does not end by itself.
    """

    __slots__ = (
        "decided",
        "device",
        "expires",
        "grants",
        "issued",
        "kind",
        "limits",
        "name",
        "owner",
        "scopes",
        "token_id",
    )

    def __init__(
        self,
        kind: Kind,
        name: str = "",
        *,
        grants: Iterable[Grant] = (),
        scopes: Iterable[str] = (),
        token_id: str | None = None,
        issued: float | None = None,
        expires: float | None = None,
        device: str | None = None,
        limits: CallerLimits = CallerLimits(),  # noqa: B008  # a tuple: nobody can change it
    ) -> None:
        self.kind = kind
        self.name = name
        self.grants = tuple(grants)
        self.scopes = frozenset(scopes)
        self.token_id = token_id
        self.issued = issued
        self.expires = expires
        self.device = device
        self.limits = limits
        #: What stands behind the ``#`` of the channels that belong to the user.
        self.owner = owner_name(name) if kind == "user" else None
        #: Decisions on this caller, for ``Rights`` to remember.
        self.decided: dict[tuple[str, str], str | None] = {}

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}" if self.name else self.kind

    @property
    def user(self) -> str | None:
        """The user's id, if it is a user."""
        return self.name if self.kind == "user" else None

    def own_channels(self, device: str | None = None) -> tuple[str, ...]:
        """What ``@me`` stands for: the user's channel, and that of its *device*, if there is one.

        Raises:
            NoCredentials: if it is a stranger.
            Forbidden: if it is no user.
        """
        if self.kind == "user":
            return own_channels(self.name, device or self.device)
        if self.kind == "anonymous":
            raise NoCredentials(f"{ME} is for users: show a token", why="a stranger has no channel")
        why = "the server asks nobody for a token" if self.kind == "open" else "a key is no user"
        raise Forbidden(f"{ME} is for users who show a token; {why}")

    def is_same_as(self, other: Caller) -> bool:
        """Whether both are the same user, or the same key."""
        return (self.kind, self.name) == (other.kind, other.name)

    def has(self, scope: str) -> bool:
        """Whether it is an operator's or a back end's, with this scope."""
        return self.kind == "open" or scope in self.scopes

    def own(self, name: str) -> str:
        """What the caller's consumer or upload *name* is kept as: each user has its own ones."""
        return name if self.kind != "user" else own_key(self.name, name)


OPEN = Caller("open", scopes=SCOPES)
"""Everybody, where no credentials are configured."""
