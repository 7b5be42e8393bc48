"""Publishing: from a request's bytes to drafts, and from receipts to an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from tidewire.model import BadRequest, Draft, Receipt, TidewireError, TooLarge, check_channel
from tidewire.model.payload import (
    binary_data,
    check_base64,
    check_depth,
    check_event,
    check_key,
    check_ttl,
    check_version,
    one_line,
)

_TEXT = ("text/",)
_TEXTUAL = frozenset(
    {"application/xml", "application/javascript", "application/x-www-form-urlencoded"}
)
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,20})?", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,16}", re.ASCII)

MAX_BATCH = 10_000  # messages

MISSING = msgspec.Raw()


class Content(Protocol):
    """What the forms of a publication have in common."""

    channel: str | None
    data: msgspec.Raw
    event: str | None
    headers: dict[str, str] | None
    key: str | None
    encoding: Literal["base64"] | None
    ttl: float | None
    version: int | None


class Publication(msgspec.Struct, forbid_unknown_fields=True):
    """One message as a publisher writes it."""

    channel: str | None
    data: msgspec.Raw
    event: str | None = None
    headers: dict[str, str] | None = None
    key: str | None = None
    encoding: Literal["base64"] | None = None
    ttl: float | None = None
    version: int | None = None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """Either form of a body: one publication, or ``messages``."""

    channel: str | None = None
    data: msgspec.Raw = MISSING
    event: str | None = None
    headers: dict[str, str] | None = None
    key: str | None = None
    encoding: Literal["base64"] | None = None
    ttl: float | None = None
    version: int | None = None
    messages: list[Publication] | None = None


class Limits(msgspec.Struct, frozen=True):
    """Bounds on what is published: bytes of a message, levels of JSON, messages of a batch."""

    message_size: int
    json_depth: int
    batch: int = MAX_BATCH


_decode = msgspec.json.Decoder(_Body).decode
_encode = msgspec.json.encode


def draft_of(publication: Content, limits: Limits) -> Draft:
    """Check a decoded publication.

    Raises:
        BadRequest: if a part of it may not be as it is.
        TooLarge: if data and headers are over the limit.
    """
    data = one_line(bytes(publication.data))
    size, binary = len(data), publication.encoding is not None
    if binary:
        check_base64(data)
        size = size * 3 // 4
    headers = event = key = ttl_ms = version = None
    if publication.headers:
        headers = _encode(publication.headers)
        size += len(headers)
    if size > limits.message_size:
        raise TooLarge(f"a message may have {limits.message_size} bytes, this one has {size}")
    if publication.event is not None:
        event = check_event(publication.event)
    if publication.key is not None:
        key = check_key(publication.key)
    if publication.ttl is not None:
        ttl_ms = check_ttl(publication.ttl)
    if publication.version is not None:
        version = check_version(publication.version)
    channel = check_channel(publication.channel or "")
    return Draft(channel, data, event, headers, binary, key, ttl_ms, version)


def drafts_of_batch(publications: Sequence[Content], limits: Limits) -> list[Draft]:
    """Check the publications of a batch, which is taken whole or not at all.

    Raises:
        BadRequest: if a message may not be as it is; the detail names it by its index.
        TooLarge: if there are too many, or one is over the limit.
    """
    if len(publications) > limits.batch:
        raise TooLarge(
            f"a batch may have {limits.batch} messages, this one has {len(publications)}"
        )
    drafts = []
    for index, publication in enumerate(publications):
        try:
            drafts.append(draft_of(publication, limits))
        except TidewireError as error:
            error.detail = f"messages[{index}]: {error.detail}"
            raise
    return drafts


def check_alone(batch: Content) -> None:
    """Refuse fields of a message beside ``messages``: they would be ignored.

    Raises:
        BadRequest: naming the first.
    """
    for name in ("channel", "data", "event", "headers", "key", "encoding", "ttl", "version"):
        if getattr(batch, name):
            raise BadRequest(f'"{name}" stands beside "messages": put it into each of them')


def drafts_of_json(body: bytes, limits: Limits) -> tuple[list[Draft], bool]:
    """The drafts of a JSON body, and whether it was a batch.

    Raises:
        BadRequest: if the body is not JSON of either form.
        BadRequest, TooLarge: as ``draft_of`` and ``drafts_of_batch`` do.
    """
    check_depth(body, limits.json_depth)
    try:
        str(body, "utf-8")
        wanted = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not a publication: {error}") from None
    publications = wanted.messages
    if publications is None:
        if wanted.channel is None or not wanted.data:
            missing = "channel" if wanted.channel is None else "data"
            raise BadRequest(f'the body lacks "{missing}": send {{"channel":…,"data":…}}')
        return [draft_of(wanted, limits)], False
    check_alone(wanted)
    return drafts_of_batch(publications, limits), True


def draft_of_body(
    channel: str,
    content_type: str,
    body: bytes,
    limits: Limits,
    *,
    event: str | None,
    key: str | None,
    ttl: str | None,
    version: str | None,
) -> Draft:
    """A draft of a body of any content type: JSON as it is, text as a string, the rest binary.

    *ttl*, in seconds, and *version* are as they stand in a URL.

    Raises:
        BadRequest: if the channel or one of the others is wrong, or text is not UTF-8.
        TooLarge: if the body is over the limit.
    """
    if len(body) > limits.message_size:
        raise TooLarge(f"a message may have {limits.message_size} bytes, this one has {len(body)}")
    kind = content_type.partition(";")[0].strip().lower()
    binary = False
    if kind == "application/json" or kind.endswith("+json"):
        check_depth(body, limits.json_depth)
        try:
            str(body, "utf-8")
            data = one_line(bytes(msgspec.json.decode(body, type=msgspec.Raw)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(f"the body is not JSON: {error}") from None
    elif kind.startswith(_TEXT) or kind in _TEXTUAL:
        try:
            data = _encode(str(body, "utf-8"))
        except UnicodeDecodeError as error:
            raise BadRequest(f"text must be UTF-8: {error}") from None
    else:
        data = binary_data(body)
        binary = True
    return Draft(
        check_channel(channel),
        data,
        None if event is None else check_event(event),
        None,
        binary,
        None if key is None else check_key(key),
        None if ttl is None else check_ttl(float(ttl) if _SECONDS.fullmatch(ttl) else 0),
        None if version is None else check_version(_whole(version)),
    )


def _whole(text: str) -> int:
    return int(text) if _WHOLE.fullmatch(text) else 0


def receipt_json(epoch: str, receipt: Receipt) -> bytes:
    """The answer to one publication."""
    return b'{"channel":"%b","id":"%b-%d","seq":%d}' % (
        receipt.channel.encode(),
        epoch.encode(),
        receipt.id,
        receipt.seq,
    )


def results_json(epoch: str, receipts: Sequence[Receipt]) -> bytes:
    """The answer to a batch, in its order."""
    return b'{"results":[%b]}' % b",".join([receipt_json(epoch, receipt) for receipt in receipts])
