"""The errors that a client can be told, each with one HTTP status and one stable code.

TidewireError
├── BadRequest            400  malformed
│   ├── InvalidChannel    400  invalid_channel
│   └── InvalidCursor     400  invalid_cursor
├── Unauthorized          401  unauthorized
│   ├── NoCredentials     401  no_credentials
│   ├── InvalidToken      401  invalid_token
│   │   └── TokenExpired  401  token_expired
│   ├── InvalidKey        401  unknown_key
│   └── InvalidTicket     401  invalid_ticket
├── Forbidden             403  forbidden
├── NotFound              404  not_found
│   └── UnknownConsumer   404  unknown_consumer
├── MethodNotAllowed      405  method_not_allowed
├── Replaced              409  replaced
├── TooManySingleAcks     409  too_many_single_acks
├── TooLarge              413  too_large
├── TooManyRequests       429  too_many_requests
└── Unavailable           503  unavailable
    ├── EngineUnavailable 503  engine_unavailable
    └── KeysUnavailable   503  keys_unavailable

Over HTTP they become RFC 9457 problem documents, over WebSocket ``error`` envelopes. The code is
part of the contract; the detail is for people and may change.
"""

from __future__ import annotations

from typing import ClassVar


class TidewireError(Exception):
    """Base of everything a client is told.

    ``detail`` says what is wrong and what to do about it, in one sentence. ``refusal`` is what
    the operator's metrics count it under, if it is a limit or a rule that refuses. ``why`` is the
    precise reason for the operator's log, where the client is not to know all of it.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    code: str = "internal"
    refusal: str | None = None

    def __init__(
        self, detail: str, *, code: str | None = None, refusal: str | None = None, why: str = ""
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.why = why
        if code is not None:
            self.code = code
        if refusal is not None:
            self.refusal = refusal


class BadRequest(TidewireError):
    """The request cannot be understood as it stands."""

    status = 400
    title = "Bad request"
    code = "malformed"


class InvalidChannel(BadRequest):
    """A channel name is empty, too long, or has a character that names may not have."""

    code = "invalid_channel"


class InvalidCursor(BadRequest):
    """A cursor is not one that any Tidewire log hands out."""

    code = "invalid_cursor"


class Unauthorized(TidewireError):
    """Who asks has not shown who it is, or not so that it can be believed.

    The detail tells the client what to do, and nothing that would help to forge credentials.
    """

    status = 401
    title = "Unauthorized"
    code = "unauthorized"
    refusal = "credentials"


class NoCredentials(Unauthorized):
    """There is no token, key or ticket where one is needed."""

    code = "no_credentials"


class InvalidToken(Unauthorized):
    """A user's token is none that this server can accept."""

    code = "invalid_token"


class TokenExpired(InvalidToken):
    """A user's token was good and is too old now; another one will do."""

    code = "token_expired"


class InvalidKey(Unauthorized):
    """No back end has this key."""

    code = "unknown_key"


class InvalidTicket(Unauthorized):
    """A ticket is unknown, was used before, is too old, or was made for another place."""

    code = "invalid_ticket"


class Forbidden(TidewireError):
    """The request is understood and refused."""

    status = 403
    title = "Forbidden"
    code = "forbidden"
    refusal = "rights"


class NotFound(TidewireError):
    """There is nothing at this address."""

    status = 404
    title = "Not found"
    code = "not_found"


class UnknownConsumer(NotFound):
    """No durable consumer of that name has read anything, or not for long."""

    code = "unknown_consumer"


class MethodNotAllowed(TidewireError):
    """The address exists and does not take this method; ``allowed`` lists those it takes."""

    status = 405
    title = "Method not allowed"
    code = "method_not_allowed"

    def __init__(self, detail: str, *, allowed: str) -> None:
        super().__init__(detail)
        self.allowed = allowed


class Replaced(TidewireError):
    """A newer connection reads as the same durable consumer; do not come back."""

    status = 409
    title = "Conflict"
    code = "replaced"


class TooManySingleAcks(TidewireError):
    """A durable consumer acknowledged too many messages singly, and none up to an id."""

    status = 409
    title = "Conflict"
    code = "too_many_single_acks"


class TooLarge(TidewireError):
    """A body or a message is over its limit in bytes."""

    status = 413
    title = "Too large"
    code = "too_large"
    refusal = "message_size"


class TooManyRequests(TidewireError):
    """The client asks too often; ``retry_after`` is in seconds."""

    status = 429
    title = "Too many requests"
    code = "too_many_requests"

    def __init__(self, detail: str, *, retry_after: float, refusal: str | None = None) -> None:
        super().__init__(detail, refusal=refusal)
        self.retry_after = retry_after


class Unavailable(TidewireError):
    """The server is full, draining, or waiting for something it needs.

    ``retry_after`` is in seconds; ``None``: a few, whoever tells it to the client says how many.
    """

    status = 503
    title = "Unavailable"
    code = "unavailable"
    retry_after: float | None = None


class EngineUnavailable(Unavailable):
    """The log cannot be read or written now; nothing was published."""

    code = "engine_unavailable"


class KeysUnavailable(Unavailable):
    """The keys by which a token could be verified cannot be fetched now; it may be a good one."""

    code = "keys_unavailable"
