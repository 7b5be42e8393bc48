"""What both kinds of polling answer: a page of envelopes, the cursor after it, and validators."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache

from tidewire.model import Cursor, Gap, InvalidCursor, Message, Page, Subscription, parse_cursor
from tidewire.model.envelope import Control, GapNotice, encode_control
from tidewire.transports.fragments import WHOLE, fragments_of

COMMIT_SECONDS = 1.0  # from a message's acceptance until polls see it, at most


class Poll:
    """The form of a poll's body. *recovered* is what the answer says of the client's cursor.

    A gap record among the messages makes that false.
    """

    __slots__ = ("_fragment_size", "_raw", "_recovered")

    def __init__(self, *, raw: bool, recovered: bool, fragment_size: int = WHOLE) -> None:
        self._raw = raw
        self._recovered = recovered
        self._fragment_size = WHOLE if raw else fragment_size

    def messages(self, messages: list[Message]) -> bytes:
        """The whole body of an answer that ends with the last of *messages*."""
        return self.answer(messages, messages[-1].cursor, [])

    def unrecovered(self) -> Poll:
        """The same form for an answer that does not go on from the client's cursor."""
        return poll_form(raw=self._raw, recovered=False, fragment_size=self._fragment_size)

    def control(self, envelope: Control, cursor: str) -> bytes:
        """Polls have no place for control envelopes: ``answer`` says it all."""
        raise NotImplementedError

    def answer(
        self,
        messages: list[Message],
        cursor: bytes,
        gaps: list[GapNotice],
        *,
        more: bool = False,
        extra: bytes = b"",
    ) -> bytes:
        """The body that carries *messages* and goes on from *cursor*.

        Gap records among the messages stand behind *gaps*.
        """
        notices = [encode_control(gap) for gap in gaps]
        items = []
        for message in messages:
            if message.gap is not None:
                notices.append(message.envelope)
            elif self._raw:  # the data is JSON already; binary is a string of Base64
                items.append(message.data)
            elif len(message.envelope) > self._fragment_size:
                items += fragments_of(message, self._fragment_size)
            else:
                items.append(message.envelope)
        return b'{"messages":[%b],"cursor":"%b","hasNew":%b,"recovered":%b,"gaps":[%b]%b%b}' % (
            b",".join(items),
            cursor,
            b"true" if items else b"false",
            b"true" if self._recovered and len(notices) == len(gaps) else b"false",
            b",".join(notices),
            b',"more":true' if more else b"",
            extra,
        )


_FORMS: dict[tuple[bool, bool, int], Poll] = {}


def poll_form(*, raw: bool, recovered: bool, fragment_size: int = WHOLE) -> Poll:
    """The one object of each form, so that equal polls share an audience."""
    key = (raw, recovered, fragment_size)
    return _FORMS.get(key) or _FORMS.setdefault(
        key, Poll(raw=raw, recovered=recovered, fragment_size=fragment_size)
    )


def gap_notices(gaps: list[Gap], page_gaps: list[Gap], epoch: str) -> list[GapNotice]:
    """Resets and what a page found missing, as a poll tells them."""
    return [
        GapNotice(f"{epoch}-{gap.id}", gap.channel, gap.reason, gap.skipped)
        for gap in sorted(gaps + page_gaps, key=lambda gap: gap.id)
    ]


def position_after(page: Page, after: Mapping[str, int]) -> int:
    """The position of an answer that carries *page*, read with the bounds *after*.

    It may be beyond the page's when the client's own cursors are, but only if all of them are: the
    one cursor of the answer goes on for every channel.
    """
    return page.position if page.more else max(page.position, min(after.values()))


def entity_tag(epoch: str, position: int) -> bytes:
    """The validator of an answer that is complete up to *position*.

    That is the newest message of the polled channels, so the tag changes with the next one; or
    the end of a page that has more behind it, so that the rest is never taken for old.
    """
    return b'"%b-%d"' % (epoch.encode(), position)


def tagged_cursor(if_none_match: bytes) -> Cursor | None:
    """The cursor that a single tag stands for, of this log or another."""
    tag = if_none_match.decode("latin-1").strip().removeprefix("W/").strip('"')
    try:
        return parse_cursor(tag)
    except InvalidCursor:
        return None


def gone_on(wanted: Subscription, if_none_match: bytes) -> Subscription:
    """*wanted* for a client that sends back the tag of its last answer; any other tag is ignored.

    The tag says what it has, and its URL only where it began.
    """
    cursor = tagged_cursor(if_none_match)
    return wanted if cursor is None else wanted._replace(cursors=(cursor,))


def position_lines(cursor: bytes, position: int) -> bytes:
    """The header lines that a long poll's client goes on with: *cursor*, and the same as a pair
    of validators. The date is that of the id *position*, which is in µs, and never of the future.
    """
    date = http_date(min(position // 1_000_000, int(time.time()))).encode()
    return b'ETag: "%b"\r\nLast-Modified: %b\r\nTidewire-Cursor: %b\r\n' % (cursor, date, cursor)


def last_modified(newest_ms: int, now: float) -> int:
    """The second to give as ``Last-Modified``.

    HTTP dates have whole seconds. While the second of the newest message still runs, another may
    come in it and would never be noticed by ``If-Modified-Since``: so the second before is given,
    and the client asks once more than it had to. So also while a message that was accepted in
    that second may still be on its way to the disk.
    """
    second = newest_ms // 1000
    return second if now >= second + 1 + COMMIT_SECONDS else second - 1


@lru_cache(256)
def http_date(second: float) -> str:
    """A time as HTTP writes it (RFC 9110 section 5.6.7)."""
    return formatdate(second, usegmt=True)


def unmodified_since(header: str, newest_ms: int) -> bool:
    """Whether nothing came after the date of ``If-Modified-Since``; a malformed one is ignored."""
    try:
        since = parsedate_to_datetime(header).timestamp()
    except (ValueError, IndexError, TypeError, OverflowError):
        return False
    return newest_ms // 1000 <= since <= time.time() + 1


def matches(if_none_match: bytes, tag: bytes) -> bool:
    """Whether ``If-None-Match`` lists *tag*, compared weakly (RFC 9110 section 13.1.2)."""
    if if_none_match == tag or if_none_match == b"*":
        return True
    return any(part.strip().removeprefix(b"W/") == tag for part in if_none_match.split(b","))
