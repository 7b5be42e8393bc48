"""The subscriber's query: the same parameters on all four transports."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from tidewire.model import BadRequest, Cursor, Subscription, channel_names, parse_cursor
from tidewire.model.address import ME
from tidewire.model.subscription import NOW, parse_since

MOST_DEVICE = 256  # characters; more are not kept

MIN_WAIT = 1.0
MAX_WAIT = 60.0

POLICIES = ("catch_up", "latest", "disconnect")

# The first is what NchanSubscriber appends to its URL, whatever that has, when it starts anew.
_CURSOR_NAMES = ("last_event_id", "cursor", "lastEventId")

_CONSUMER = re.compile(r"[A-Za-z0-9_\-.:/@#]{1,128}", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_.\-%]{1,3072}", re.ASCII)
_SESSION = re.compile(r"[A-Za-z0-9_\-]{1,64}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,20})?", re.ASCII)


class Query(NamedTuple):
    """What a subscriber's URL asks for.

    ``subscription`` has no channels when none were named. ``wait`` is in seconds, ``None`` when
    it was not given. ``consumer`` is the name of a durable consumer, for which with
    ``ack_by_cursor`` the cursor of a poll acknowledges what is before it. ``session`` is that of
    an earlier connection, to be taken up again; ``beside`` that of a connection beside which this
    poll is made, and as which it counts. ``policy`` is what the subscriber wants when it
    has fallen behind, ``None``: what the namespaces say. With ``fragments`` it puts large messages
    together from parts. ``named``: its events are to have names. ``device`` is free text for the
    connection's record. A query is *personal* that names ``@me``, or after that was resolved: it
    means other channels for each who asks.
    """

    subscription: Subscription
    raw: bool = False
    wait: float | None = None
    consumer: str | None = None
    ack_by_cursor: bool = False
    session: str | None = None
    beside: str | None = None
    policy: str | None = None
    fragments: bool = False
    named: bool = True
    device: str | None = None
    personal: bool = False


def parameters(query: bytes) -> dict[str, list[str]]:
    """The parameters of a URL's query, percent-decoded; every value of a repeated one.

    Raises:
        BadRequest: if a value is not UTF-8 when decoded.
    """
    values: dict[str, list[str]] = {}
    for part in query.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            try:
                values.setdefault(_decoded(name), []).append(_decoded(value))
            except UnicodeDecodeError:
                raise BadRequest("the query of the URL is not UTF-8 when percent-decoded") from None
    return values


def _decoded(part: bytes) -> str:
    if b"%" in part or b"+" in part:
        part = unquote_to_bytes(part.replace(b"+", b" "))
    return part.decode()


def parse_query(
    values: dict[str, list[str]], last_event_id: str | None, most_channels: int
) -> Query:
    """Read a subscriber's parameters.

    *last_event_id* is the header's value; it wins over the URL, because a browser's EventSource
    reconnects with its old URL and a newer header.

    Raises:
        BadRequest: if a parameter is malformed. ``Query.subscription`` checks the number of
            cursors only when it is opened.
    """
    channels = (
        channel_names(",".join(values["channels"]), most_channels) if "channels" in values else ()
    )
    cursors = ""
    if last_event_id:
        cursors = last_event_id
    else:
        given = next((name for name in _CURSOR_NAMES if name in values), None)
        if given is not None:
            cursors = ",".join(values[given])
    since = parse_since(values["since"][-1]) if "since" in values else NOW
    wait = _wait(values["wait"][-1]) if "wait" in values else None
    shape = values["format"][-1] if "format" in values else "envelope"
    if shape not in ("envelope", "raw"):
        raise BadRequest(f"format={shape[:40]!r}: use envelope or raw", code="invalid_format")
    if shape == "raw" and len(channels) > 1:
        raise BadRequest("format=raw carries the data of one channel only", code="invalid_format")
    named = _choice(values, "named", ("true", "false")) != "false"
    if shape == "raw" and not named:
        # A publisher could write what looks like the server's own events.
        raise BadRequest(
            "format=raw needs the names of events, to tell data from what the server says: "
            "leave out named=false",
            code="invalid_format",
        )
    parsed = parse_cursors(cursors)
    if len(parsed) > 1 and len(parsed) != len(channels):
        raise BadRequest(
            f"{len(parsed)} cursors for {len(channels)} channels: give one, or one for each",
            code="invalid_cursor",
        )
    return Query(
        Subscription(channels, parsed, since),
        raw=shape == "raw",
        wait=wait,
        consumer=_text(values, "consumer", check_consumer),
        ack_by_cursor=_choice(values, "ack", ("cursor",)) is not None,
        session=_text(values, "session", check_session),
        beside=_text(values, "beside", partial(check_session, name="beside")),
        policy=_choice(values, "policy", POLICIES, code="invalid_policy"),
        fragments=_choice(values, "fragments", ("true", "false")) == "true",
        named=named,
        device=_text(values, "device", _cut_device),
        personal=ME in channels,
    )


def named_in(query: bytes) -> bool:
    """Whether a URL's query asks for events with names, whatever else may be wrong with it."""
    try:
        return parameters(query).get("named", ["true"])[-1] != "false"
    except BadRequest:
        return True


def _choice(
    values: dict[str, list[str]], name: str, allowed: tuple[str, ...], *, code: str = "malformed"
) -> str | None:
    """The value of a parameter that has few; ``None`` when it is not given."""
    if name not in values:
        return None
    value = values[name][-1]
    if value not in allowed:
        raise BadRequest(f"{name}={value[:40]!r}: use {' or '.join(allowed)}", code=code)
    return value


def _text(values: dict[str, list[str]], name: str, check: Callable[[str], str]) -> str | None:
    return check(values[name][-1]) if name in values else None


def check_consumer(name: str) -> str:
    """Return *name* if a durable consumer may be called so.

    Raises:
        BadRequest: if it is empty, over 128 bytes, or has another character than channels have.
    """
    if _CONSUMER.fullmatch(name) is None:
        raise BadRequest(
            f"consumer={name[:40]!r}: use 1 to 128 of A-Z a-z 0-9 _ - . : / @ #",
            code="invalid_consumer",
        )
    return name


def check_key(key: str) -> str:
    """Return *key* if a consumer, of a user or of nobody, may be kept as that.

    Raises:
        BadRequest: ``invalid_consumer``.
    """
    user, tilde, name = key.rpartition("~")
    check_consumer(name)
    if tilde and _USER.fullmatch(user) is None:
        raise BadRequest("after: send back what `next` said", code="invalid_consumer")
    return key


def check_session(id: str, *, name: str = "session") -> str:
    """Return *id*, which came as *name*, if a session may be called so.

    Raises:
        BadRequest: if it is empty, over 64 characters, or has others than sessions' ids have.
    """
    if _SESSION.fullmatch(id) is None:
        raise BadRequest(
            f"{name}={id[:40]!r}: send back what the ready envelope said", code="invalid_session"
        )
    return id


def _cut_device(text: str) -> str:
    return text[:MOST_DEVICE]


def parse_cursors(text: str) -> tuple[Cursor, ...]:
    """Read a comma-separated list of cursors.

    Raises:
        InvalidCursor: if one is malformed.
    """
    return tuple(parse_cursor(part) for part in text.split(",")) if text else ()


def _wait(text: str) -> float:
    wait = float(text) if _SECONDS.fullmatch(text) else -1.0
    if not MIN_WAIT <= wait <= MAX_WAIT:
        raise BadRequest(f"wait={text[:40]!r}: use seconds from 1 to 60", code="invalid_wait")
    return wait


def preferred_wait(prefer: str) -> float | None:
    """The ``wait`` of a ``Prefer`` header (RFC 7240), brought into range; ``None`` without one."""
    for preference in prefer.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        seconds = value.strip(' "')
        # Latin-1 has superscript digits, which are digits but no number.
        if name.strip().lower() == "wait" and seconds.isascii() and seconds.isdigit():
            return min(max(float(seconds), MIN_WAIT), MAX_WAIT)
    return None
