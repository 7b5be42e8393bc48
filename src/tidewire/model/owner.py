"""What belongs to a user: channels by their names, and consumers and uploads by their keys."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote, unquote

_OWNER = re.compile(r"[A-Za-z0-9_\-.:/@]{1,64}", re.ASCII)


def owner_name(user: str) -> str:
    """A user's id as it stands behind the ``#`` of a channel.

    One that is longer than 64 characters, or has others than channels may have, is written as ``@``
    and the first 32 hexadecimal digits of its SHA-256.
    """
    if _OWNER.fullmatch(user):
        return user
    return "@" + hashlib.sha256(user.encode()).hexdigest()[:32]


def owner_of(channel: str) -> str | None:
    """To whom *channel* belongs: what stands behind its last ``#``; ``None``: to nobody."""
    _, sign, owner = channel.rpartition("#")
    return owner if sign else None


def own_key(user: str, name: str) -> str:
    """What the consumer or upload *name* of *user* is kept as: each user has its own ones."""
    return f"{quote(user, safe='').replace('~', '%7E')}~{name}"


def whose(key: str) -> tuple[str | None, str]:
    """The user and the name that ``own_key`` made *key* from; no user: it is nobody's."""
    user, tilde, name = key.partition("~")
    return (unquote(user), name) if tilde else (None, key)
