"""Short polling: answered at once, mostly with "nothing new".

The answer carries an ``ETag``, the id of the newest message of the polled channels, and a
``Last-Modified``. While those hold, a client that sends them back gets 304 and no body. Which is
decided from memory alone: no message is read.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from tidewire.hub import Hub, Opening
from tidewire.model import Subscription
from tidewire.model.subscription import NOW
from tidewire.transports.fragments import WHOLE
from tidewire.transports.polling import (
    entity_tag,
    gap_notices,
    gone_on,
    http_date,
    last_modified,
    matches,
    poll_form,
    position_after,
    unmodified_since,
)
from tidewire.transports.query import Query

_MOST_VALIDATORS = 10_000


class Answer(NamedTuple):
    """Status, header lines, body.

    ``more``: the client is to come back at once for the rest; ``brief``: it is right for less than
    the rest of this second.
    """

    status: int
    headers: bytes
    body: bytes
    more: bool = False
    brief: bool = False


class ShortPolls:
    """Answers short polls. *interval* is what clients are told to wait, in seconds.

    *headers* are the constant lines of every answer, ``extra`` is what each body has besides. Who
    asks for fragments gets envelopes over *fragment_size* bytes in parts.
    """

    def __init__(
        self, hub: Hub, interval: float, headers: bytes, fragment_size: int = WHOLE
    ) -> None:
        self._hub = hub
        self._fragment_size = fragment_size
        self.extra = b',"interval":%d' % round(interval * 1000)
        self._headers = headers + b"Tidewire-Poll-Interval: %g\r\n" % interval
        self._validators: dict[tuple[str, ...], tuple[int, int, bytes]] = {}

    def answer_now(
        self, query: Query, if_none_match: bytes | None, if_modified_since: str | None
    ) -> Answer | None:
        """The answer, if memory alone can give it."""
        wanted = query.subscription
        recent = self._hub.recent
        newest = recent.newest(wanted.channels)
        if newest is None:
            return None
        newest_id, newest_ms = newest
        if if_none_match is not None:
            # With If-None-Match the date counts for nothing (RFC 9110 section 13.1.3).
            if matches(if_none_match, entity_tag(self._hub.engine.epoch, newest_id)):
                return Answer(304, self._lines(wanted.channels, newest_id, newest_ms), b"")
            wanted = _gone_on(wanted, if_none_match)
        elif (
            if_modified_since is not None
            and newest_id
            and unmodified_since(if_modified_since, newest_ms)
        ):
            return Answer(304, self._lines(wanted.channels, newest_id, newest_ms), b"")
        if self._has_all(wanted, newest_id):
            body = poll_form(raw=query.raw, recovered=bool(wanted.cursors)).answer(
                [], self._hub.cursor(recent.head).encode(), [], extra=self.extra
            )
            return Answer(200, self._lines(wanted.channels, newest_id, newest_ms), body)
        opening = self._hub.open_now(wanted, recent.head, policy=query.policy)
        return None if opening is None else self._page(query, wanted, opening, newest)

    async def answer(
        self, query: Query, if_none_match: bytes | None, if_modified_since: str | None
    ) -> Answer:
        """The answer, with the engine's help.

        Raises:
            BadRequest, EngineUnavailable: as ``Hub.open`` does.
        """
        hub = self._hub
        channels = query.subscription.channels
        if hub.recent.newest(channels) is None:
            hub.recent.learn(await hub.engine.newest(channels, hub.recent.head))
            if (answer := self.answer_now(query, if_none_match, if_modified_since)) is not None:
                return answer
        wanted = query.subscription
        if if_none_match is not None:
            wanted = _gone_on(wanted, if_none_match)
        upto = hub.recent.head
        newest = hub.recent.newest(channels) or (upto, 0)
        return self._page(query, wanted, await hub.open(wanted, upto, policy=query.policy), newest)

    def _has_all(self, wanted: Subscription, newest: int) -> bool:
        """Whether the client has every message there is, by its cursors."""
        if not wanted.cursors:
            return wanted.since == NOW
        epoch, head = self._hub.engine.epoch, self._hub.recent.head
        return all(
            cursor.epoch == epoch and newest <= cursor.id <= head for cursor in wanted.cursors
        )

    def _page(
        self, query: Query, wanted: Subscription, opening: Opening, newest: tuple[int, int]
    ) -> Answer:
        hub = self._hub
        start, page, recovered = opening
        gaps = gap_notices(start.gaps, page.gaps, hub.engine.epoch)
        hub.count_gaps(start.gaps + page.gaps)
        cursor = hub.cursor(position_after(page, start.after)).encode()
        size = self._fragment_size if query.fragments else WHOLE
        body = poll_form(raw=query.raw, recovered=recovered, fragment_size=size).answer(
            page.messages, cursor, gaps, more=page.more, extra=self.extra
        )
        # A page that has more behind it must not be taken for the newest.
        complete = min(newest[0], page.position)
        lines = self._lines(wanted.channels, complete, newest[1], whole=not page.more)
        # A message that is withdrawn within this second must not be shown to its end.
        soon = (int(time.time()) + 1) * 1000
        brief = any(0 < message.expires < soon for message in page.messages)
        return Answer(200, lines, body, page.more, brief)

    def _lines(
        self, channels: tuple[str, ...], newest: int, newest_ms: int, *, whole: bool = True
    ) -> bytes:
        """The header lines with the validators of an answer."""
        modified = last_modified(newest_ms, time.time()) if newest else 0
        known = self._validators.get(channels)
        if known is not None and known[0] == newest and known[1] == modified and whole:
            return known[2]
        lines = b"%bETag: %b\r\n" % (self._headers, entity_tag(self._hub.engine.epoch, newest))
        # Always there, or a client may send back the answer's Date instead (RFC 9110 section
        # 13.1.3), and miss what comes in the rest of that second.
        lines += b"Last-Modified: %b\r\n" % http_date(modified if whole else 0).encode()
        if whole:
            if len(self._validators) >= _MOST_VALIDATORS:
                self._validators.clear()
            self._validators[channels] = (newest, modified, lines)
        return lines


def _gone_on(wanted: Subscription, if_none_match: bytes) -> Subscription:
    """A poll for ``now`` that shows what it last saw goes on from there.

    One that names its start in the URL may come from a cache, which asks whether it can give that
    answer again: then the same is wanted as it is now.
    """
    return gone_on(wanted, if_none_match) if wanted.starts_now else wanted
