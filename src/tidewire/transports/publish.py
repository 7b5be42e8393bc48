"""Publishing: from a request's bytes to drafts, and from receipts to an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from tidewire.model import BadRequest, Draft, Receipt, TidewireError, TooLarge
from tidewire.model.address import ALL, user_channel
from tidewire.model.channel import check_target
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
MAX_RECIPIENTS = 1_000  # of one message
MAX_USER = 255  # characters, as of the user of a token

MISSING = msgspec.Raw()


class Content(Protocol):
    """What the forms of a publication have in common.

    To whom it goes is said in one way: ``channel``, ``channels``, ``user`` (all of its devices, or
    the one that ``device`` names), ``users`` or ``all``.
    """

    channel: str | None
    data: msgspec.Raw
    channels: list[str] | None
    user: str | None
    device: str | None
    users: list[str] | None
    all: bool
    event: str | None
    headers: dict[str, str] | None
    key: str | None
    encoding: Literal["base64"] | None
    ttl: float | None
    version: int | None


class Publication(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One message as a publisher writes it: see ``Content``."""

    channel: str | None = None
    data: msgspec.Raw
    event: str | None = None
    headers: dict[str, str] | None = None
    key: str | None = None
    encoding: Literal["base64"] | None = None
    ttl: float | None = None
    version: int | None = None
    channels: list[str] | None = None
    user: str | None = None
    device: str | None = None
    users: list[str] | None = None
    all: bool = False


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
    channels: list[str] | None = None
    user: str | None = None
    device: str | None = None
    users: list[str] | None = None
    all: bool = False


class Limits(msgspec.Struct, frozen=True):
    """Bounds on what is published.

    Bytes of a message, levels of JSON, messages of a batch, recipients of a message, and bytes of
    all copies of one that goes to several.
    """

    message_size: int
    json_depth: int
    batch: int = MAX_BATCH
    recipients: int = MAX_RECIPIENTS
    copies: int = 8 << 20


_decode = msgspec.json.Decoder(_Body).decode
_encode = msgspec.json.encode


def plain_channel(publication: Content) -> str | None:
    """The channel that it names, if that is all that it says of where it goes."""
    if (
        publication.user is None
        and publication.device is None
        and publication.users is None
        and publication.channels is None
        and not publication.all
    ):
        return publication.channel
    return None


def is_for_many(publication: Content) -> bool:
    """Whether its answer is a list of results, also when that has one only."""
    return publication.users is not None or publication.channels is not None


def recipients_of(publication: Content) -> Sequence[str]:
    """The distinct channels that a publication goes to, in its order; they are not checked yet.

    Raises:
        BadRequest: if it does not say to whom it goes in exactly one way, or names a wrong user.
    """
    user, users, channels = publication.user, publication.users, publication.channels
    given = (publication.channel, channels, user, users, publication.all or None)
    ways = [way for way in given if way is not None]
    if not ways:
        raise BadRequest('it lacks "channel", or "channels", "user", "users" or "all"')
    if len(ways) > 1:
        detail = 'it goes to one of "channel", "channels", "user", "users" and "all"'
        raise BadRequest(detail, code="invalid_recipient")
    if publication.device is not None and user is None:
        raise BadRequest('"device" stands beside a "user" alone', code="invalid_recipient")
    if publication.channel is not None:
        return (publication.channel,)
    if channels is not None:
        return _some(dict.fromkeys(channels), "channels")
    if users is not None:
        return _some(dict.fromkeys(user_channel(_named(one, "users")) for one in users), "users")
    if user is None:
        return (ALL,)
    device = None if publication.device is None else _named(publication.device, "device")
    return (user_channel(_named(user, "user"), device),)


def _some(names: dict[str, None], field: str) -> tuple[str, ...]:
    if not names:
        raise BadRequest(f'"{field}" names nobody', code="invalid_recipient")
    return tuple(names)


def _named(text: str, field: str) -> str:
    if not 1 <= len(text) <= MAX_USER:
        raise BadRequest(
            f'"{field}": an id has 1 to {MAX_USER} characters', code="invalid_recipient"
        )
    return text


def drafts_of(publication: Content, limits: Limits) -> list[Draft]:
    """Check a decoded publication: a draft for each channel that it goes to.

    Raises:
        BadRequest: if a part of it may not be as it is.
        Forbidden: if no client may publish there.
        TooLarge: if data and headers are over the limit, or it goes to too many.
    """
    if (channel := plain_channel(publication)) is not None:
        return [draft_of(publication, channel, limits)]
    first, *others = recipients_of(publication)
    if len(others) >= limits.recipients:
        raise TooLarge(
            f"one message may go to {limits.recipients} channels, this one to {len(others) + 1}: "
            "send it to some of them after the others"
        )
    draft = draft_of(publication, first, limits)
    size = len(draft.data) + len(draft.headers or b"")
    if others and size * (len(others) + 1) > limits.copies:
        raise TooLarge(
            f"{len(others) + 1} copies of {size} bytes are more than the {limits.copies} that one "
            "message may have: publish the data once, and send where it is"
        )
    return [draft, *(copy(draft, check_target(channel)) for channel in others)]


def copy(draft: Draft, channel: str) -> Draft:
    """The same message for another channel."""
    return msgspec.structs.replace(draft, channel=channel)


def draft_of(publication: Content, channel: str, limits: Limits) -> Draft:
    """Check a decoded publication that goes to *channel*.

    Raises:
        BadRequest: if a part of it may not be as it is.
        Forbidden: if no client may publish there.
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
    return Draft(check_target(channel), data, event, headers, binary, key, ttl_ms, version)


def drafts_of_batch(publications: Sequence[Content], limits: Limits) -> list[Draft]:
    """Check the publications of a batch, which is taken whole or not at all.

    Raises:
        BadRequest: if a message may not be as it is; the detail names it by its index.
        Forbidden: if no client may publish there.
        TooLarge: if there are too many, or one is over the limit.
    """
    too_many = TooLarge(
        f"a batch may have {limits.batch} messages, and {limits.copies} bytes of copies to several "
        "recipients: divide it"
    )
    if len(publications) > limits.batch:
        raise too_many
    drafts: list[Draft] = []
    copies = 0
    for index, publication in enumerate(publications):
        try:
            made = drafts_of(publication, limits)
        except TidewireError as error:
            error.detail = f"messages[{index}]: {error.detail}"
            raise
        drafts += made
        if len(made) > 1:
            copies += sum(len(draft.data) for draft in made)
        if len(drafts) > limits.batch or copies > limits.copies:
            raise too_many
    return drafts


_FIELDS = tuple(field for field in _Body.__struct_fields__ if field != "messages")


def check_alone(batch: Content) -> None:
    """Refuse fields of a message beside ``messages``: they would be ignored.

    Raises:
        BadRequest: naming the first.
    """
    for name in _FIELDS:
        if getattr(batch, name):
            raise BadRequest(f'"{name}" stands beside "messages": put it into each of them')


def drafts_of_json(body: bytes, limits: Limits) -> tuple[list[Draft], bool]:
    """The drafts of a JSON body, and whether its answer is a list.

    Raises:
        BadRequest: if the body is not JSON of either form.
        BadRequest, Forbidden, TooLarge: as ``drafts_of`` and ``drafts_of_batch`` do.
    """
    check_depth(body, limits.json_depth)
    try:
        if not body.isascii():
            str(body, "utf-8")
        wanted = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not a publication: {error}") from None
    publications = wanted.messages
    if publications is None:
        if not wanted.data:
            raise BadRequest('the body lacks "data": send {"channel":…,"data":…}')
        if (channel := plain_channel(wanted)) is not None:
            return [draft_of(wanted, channel, limits)], False
        return drafts_of(wanted, limits), is_for_many(wanted)
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
        Forbidden: if no client may publish there.
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
        check_target(channel),
        data,
        None if event is None else check_event(event),
        None,
        binary,
        None if key is None else check_key(key),
        None if ttl is None else check_ttl(float(ttl) if _SECONDS.fullmatch(ttl) else 0),
        None if version is None else check_version(_whole(version)),
    )


def recipient_of(given: Mapping[str, str]) -> str:
    """The channel that the parameters of a URL name: ``channel``, ``user`` or ``all=true``.

    Raises:
        BadRequest: if they name none, or more than one.
    """
    if given.get("all", "true") not in ("true", "false"):
        raise BadRequest("all: use true or false", code="invalid_recipient")
    form = _Body(
        channel=given.get("channel"),
        user=given.get("user"),
        device=given.get("device"),
        all=given.get("all") == "true",
    )
    (channel,) = recipients_of(form)
    return channel


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
