"""Every refusal that HTTP can tell: its code, its status, and when it comes."""

from __future__ import annotations

from typing import Any

from tidewire.server.openapi.values import Json, ref, whole

BY_STATUS: dict[int, dict[str, str]] = {
    400: {
        "bad_http": "the request is not HTTP/1.1 as it must be",
        "tls_required": "plain HTTP at an address that speaks TLS",
        "malformed": "the request cannot be understood as it stands",
        "no_channels": "no channel is named",
        "too_many_channels": "more channels than one subscription may hold",
        "invalid_channel": "not a channel name",
        "invalid_cursor": "not a cursor, or too many of them, or of another log",
        "invalid_since": "not a point to start at",
        "invalid_wait": "not a time for which a poll can be held",
        "invalid_format": "not a format, or `raw` for several channels",
        "invalid_limit": "not a number of items that a page may have",
        "invalid_recipient": "nobody, or more than one way to say where it goes",
        "invalid_event": "an event name that may not be chosen",
        "invalid_key": "an idempotency key of no bytes, or of too many",
        "invalid_ttl": "not a time that a message can live",
        "invalid_version": "not a version",
        "invalid_base64": "binary data that is no Base64",
        "invalid_policy": "not a policy, or `latest` for a durable consumer",
        "invalid_consumer": "not a name that a consumer may have",
        "invalid_delay": "not a delay",
        "invalid_session": "not the id of a session",
        "too_deep": "JSON nested deeper than the limit",
        "websocket_key": "a handshake without a proper `Sec-WebSocket-Key`",
    },
    401: {
        "unauthorized": "`Authorization` is not `Bearer`",
        "no_credentials": "nothing is shown where something is needed",
        "invalid_token": "a token that this server cannot accept",
        "token_expired": "a token whose time is over",
        "unknown_key": "no back end has this key",
        "invalid_ticket": "a ticket that is unknown, used, too old, or another origin's",
    },
    403: {
        "forbidden": "the caller has no right to this",
        "disconnected": "an operator has ended this held poll",
        "wrong_origin": "a page of an origin that may not use this server",
        "wrong_host": "a `Host` that this server does not answer to",
    },
    404: {
        "unknown_connection": "there is no such connection on a server that has answered",
        "no_presence": "nobody keeps who is on the channel",
        "unknown_consumer": "there is no consumer of that name",
        "unknown_session": "there is no such session, or it is another's",
    },
    408: {"timeout": "the request did not come in time"},
    409: {
        "replaced": "a newer connection reads as the same consumer",
        "too_many_single_acks": "too many single acknowledgements above the oldest open message",
    },
    413: {"too_large": "a body, or a message in it, over its limit"},
    414: {"target_too_long": "a request target over its limit"},
    426: {
        "upgrade_required": "a plain request to the address of a WebSocket",
        "websocket_version": "a handshake for another version than 13",
    },
    429: {"too_many_requests": "too fast, or too many connections"},
    431: {"head_too_large": "a request head over its limit"},
    500: {"internal": "a fault in the server"},
    503: {
        "unavailable": "full, overloaded or draining",
        "engine_unavailable": "the log cannot be read or written now",
        "keys_unavailable": "the keys by which a token is verified cannot be had now",
    },
}

# What any request may be told, whatever its address; and who has to say who it is.
EVERYWHERE = {
    400: ("bad_http", "tls_required", "malformed"),
    403: ("wrong_host", "wrong_origin"),
    408: ("timeout",),
    413: ("too_large",),
    414: ("target_too_long",),
    429: ("too_many_requests",),
    431: ("head_too_large",),
    500: ("internal",),
    503: ("unavailable",),
}
WITH_CREDENTIALS = {
    401: tuple(BY_STATUS[401]),
    403: ("forbidden",),
    503: ("engine_unavailable", "keys_unavailable"),
}

_TITLES = {
    400: "Malformed",
    401: "Who asks is not known",
    403: "Refused",
    404: "Not there",
    408: "Timed out",
    409: "In conflict",
    413: "Too large",
    414: "Target too long",
    426: "Another protocol is spoken here",
    429: "Too fast",
    431: "Head too large",
    500: "A fault in the server",
    503: "Not now",
}

_HEADERS: dict[int, Json] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    426: {
        "Upgrade": {"required": True, "schema": {"const": "websocket"}},
        "Sec-WebSocket-Version": {"required": True, "schema": {"const": "13"}},
    },
    429: {"Retry-After": {"required": True, "schema": whole(1, None, "Seconds.")}},
    503: {"Retry-After": {"required": True, "schema": whole(1, None, "Seconds, with jitter.")}},
}


def problems(needs: str, extra: dict[int, tuple[str, ...]]) -> dict[str, Json]:
    """The refusals of an operation, by status: those of all, of what it *needs*, and *extra*."""
    groups = [EVERYWHERE, extra] if needs == "nothing" else [EVERYWHERE, WITH_CREDENTIALS, extra]
    statuses = sorted({status for group in groups for status in group})
    return {
        str(status): _answer(
            status, tuple(dict.fromkeys(code for group in groups for code in group.get(status, ())))
        )
        for status in statuses
    }


def _answer(status: int, codes: tuple[str, ...]) -> Json:
    whens = BY_STATUS[status]
    about: Json = {"properties": {"status": {"const": status}, "code": {"enum": list(codes)}}}
    listed = "; ".join(f"`{code}`: {whens[code]}" for code in codes)
    headers: dict[str, Any] = {
        "Cache-Control": {"required": True, "schema": {"const": "no-store"}}
    } | _HEADERS.get(status, {})
    return {
        "description": f"{_TITLES[status]}. {listed}.",
        "headers": headers,
        "content": {"application/problem+json": {"schema": {"allOf": [ref("Problem"), about]}}},
    }
