"""What can go wrong between a client and the server.

ClientError
├── Interrupted   another attempt may succeed
├── Refused       no other attempt of the same kind would succeed
│   ├── Unauthorized  the server does not know who asks, or does not believe it
│   ├── Forbidden     who asks may not do this
│   └── Replaced      another connection of the same consumer took over
└── Unanswered    there were attempts until the time was over

What a client shows of who it is, its token or its key, is in the text of none of them.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


REPLACED = 4409
"""The close code that :class:`Replaced` stands for."""


class ClientError(Exception):
    """Base of all; ``reason`` says what happened, in words for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Interrupted(ClientError):
    """A connection, or the way to it, failed.

    ``retry_after`` is the number of seconds that the server asked to wait, if it did.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Refused(ClientError):
    """The server does not want this request, or this client, or is not a Tidewire server.

    ``status`` is the HTTP status or the WebSocket close code, where there was one; ``code`` is the
    stable name of an error that the server gave one.
    """

    def __init__(self, reason: str, status: int | None = None, code: str | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code


class Unauthorized(Refused):
    """Nothing was shown of who asks, or it is not good, or not any more (401, 4401).

    The server's ``code`` tells which: ``no_credentials``, ``invalid_token``, ``token_expired``,
    ``unknown_key``. Of a token from ``get_token`` this is heard only when another, which was asked
    for then, was refused too.
    """


class Forbidden(Refused):
    """The server knows who asks, and does not let it do this (403, 4403)."""


_UNAUTHORIZED = frozenset(
    {
        401,
        4401,
        "unauthorized",
        "no_credentials",
        "invalid_token",
        "token_expired",
        "unknown_key",
        "invalid_ticket",
    }
)
_FORBIDDEN = frozenset({403, 4403, "forbidden"})


def refused(reason: str, status: int | None = None, code: str | None = None) -> Refused:
    """The :class:`Refused` of the kind that *status* or *code* stands for."""
    if status in _UNAUTHORIZED or code in _UNAUTHORIZED:
        return Unauthorized(reason, status, code)
    if status in _FORBIDDEN or code in _FORBIDDEN:
        return Forbidden(reason, status, code)
    return Refused(reason, status, code)


class Replaced(Refused):
    """A consumer has one connection, and a newer one wins; coming back would only replace that."""

    def __init__(self, status: int) -> None:
        super().__init__(
            "another connection with the same consumer name took over; "
            "give each program a name of its own, or run one of them",
            status,
            "replaced",
        )


class Unanswered(ClientError):
    """No attempt succeeded in the time there was; the last one's reason is given."""


# Time heals these, for it brings new certificates: not yet valid, and expired.
_PASSING_FAULTS = frozenset({9, 10})
_WRONG_NAME = frozenset({62, 64})


def broken(error: BaseException, retry_after: float | None = None) -> ClientError:
    """What it stands for that there is no connection any more, or that none could be made."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = f"the server's certificate is not trusted: {cause.verify_message}"
            if cause.verify_code in _PASSING_FAULTS:
                return Interrupted(reason, retry_after)
            if cause.verify_code not in _WRONG_NAME:
                reason += "; if its authority is your own, name its file in SSL_CERT_FILE"
            return Refused(reason)
    return Interrupted(reason_of(error), retry_after)


def reason_of(error: BaseException) -> str:
    """The innermost cause that says something, as libraries wrap it several times over."""
    for cause in reversed(list(_causes(error))):
        if isinstance(cause, ssl.SSLError):
            said = (cause.reason or str(cause)).lower().replace("_", " ")
            return f"no TLS with the server: {said}"
        if isinstance(cause, OSError) and cause.errno is not None:
            text = os.strerror(cause.errno) if cause.errno > 0 else cause.strerror
            return (text or str(cause)).lower()
    if isinstance(error, TimeoutError) or "timeout" in type(error).__name__.lower():
        return "no answer in time"
    return str(error) or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(16):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__
