"""Records of who is on a channel: what all nodes know of a member, and how many each node has.

``presence`` has a record for each member, under its channel and its client, so that the members of
a channel are read in pages, by client. ``presence_counts`` has one for each channel and node, so
that nobody has to be counted; and by them the members of a node that is gone are found.

A record is *held* by one stint of one node. Who turns up elsewhere is taken over: a record that
another node finds its own no longer in is none of its business any more. So only the holder ends
a record, and whoever reaps after a holder that is gone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import NamedTuple

import msgspec

TABLE = "presence"
COUNTS = "presence_counts"

TTL = 86_400.0
"""Seconds that records live without being written; their nodes are looked after long before."""

_SEPARATOR = " "  # below everything that a channel's name may have: no prefix is another's


class Who(NamedTuple):
    """A client and what is shown of it. ``client`` tells clients apart and is no secret."""

    client: str
    transport: str
    user: str | None = None
    device: str | None = None


class MemberRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A member as it is kept.

    ``since`` is when it joined, Unix ms. ``stint`` tells apart what one node has written. It is
    ``new`` if there was none when this stint began, and has ``moved`` if another node has held it.
    """

    node: str
    stint: int
    since: int
    transport: str
    user: str | None = None
    device: str | None = None
    new: bool = True
    moved: bool = False


class Member(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A member as it is shown: in lists, and in the data of joins and leaves."""

    client: str
    transport: str
    since: int
    user: str | None = None
    device: str | None = None
    node: str | None = None


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(MemberRecord).decode
encode_member = msgspec.json.Encoder().encode


def member_key(channel: str, client: str) -> str:
    """Under what a member is kept; with an empty *client*: what all of *channel* begin with."""
    return channel + _SEPARATOR + client


def count_key(channel: str, node: str) -> str:
    """Under what the number of members that *node* has on *channel* is kept."""
    return channel + _SEPARATOR + node


def split_key(key: str) -> tuple[str, str]:
    """The channel, and the client or the node, of a key."""
    channel, _, name = key.partition(_SEPARATOR)
    return channel, name


def shown(client: str, record: MemberRecord, *, node: bool = False) -> Member:
    """The member that *record* is of; with its *node* for operators."""
    return Member(
        client,
        record.transport,
        record.since,
        record.user,
        record.device,
        record.node if node else None,
    )


# Clients


def client_of_session(session: str) -> str:
    """The client that a session is: so it is the same one whatever transport or node it comes by.

    From it nobody finds the session, which can be taken up; its own client can.
    """
    return _short(hashlib.sha256(b"session:" + session.encode()).digest())


def client_of(secret: bytes, *marks: str) -> str:
    """The client that *marks* tell apart, of which nothing can be found out without *secret*."""
    return _short(hmac.digest(secret, "\0".join(marks).encode("utf-8", "replace"), "sha256"))


def _short(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest[:12]).decode()


# Changes of records: they may run on another thread, and more than once.


def joined(mine: MemberRecord, old: bytes | None) -> bytes | None:
    """*mine*, in the place of whoever else held it; who is there already stays since then."""
    if old is None:
        return _encode(mine)
    before = decode(old)
    if (before.node, before.stint) == (mine.node, mine.stint):
        return old
    moved = before.moved or before.node != mine.node
    return _encode(msgspec.structs.replace(mine, since=before.since, new=False, moved=moved))


def left(node: str, stint: int, old: bytes | None) -> bytes | None:
    """No record, if it is still that of *stint*."""
    if old is None:
        return None
    record = decode(old)
    return None if (record.node, record.stint) == (node, stint) else old


def reaped(node: str, old: bytes | None) -> bytes | None:
    """No record, if it is still of *node*."""
    return None if old is None or decode(old).node == node else old


def counted(count: int, old: bytes | None) -> bytes | None:
    """So many, whatever it was; none is no record."""
    return str(count).encode() if count else None


def kept_secret(mine: bytes, old: bytes | None) -> bytes | None:
    """The secret of all nodes: that of the first one."""
    return mine if old is None else old
