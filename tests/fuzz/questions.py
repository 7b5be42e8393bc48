"""Fuzzed: what a subscriber's URL and headers ask for."""

from __future__ import annotations

from tests.fuzz.dialogues import check_refusal
from tidewire.model import BadRequest, InvalidCursor, parse_cursor
from tidewire.transports.query import parameters, parse_query, preferred_wait

MOST_CHANNELS = 4


def cursors(data: bytes) -> None:
    """What is taken for a cursor is written the same way again; its form is checked by hand."""
    text = data.decode("latin-1")
    epoch, _, number = text.partition("-")
    good = (
        1 <= len(epoch) <= 16
        and (epoch + number).isascii()
        and epoch.isalnum()
        and number.isdigit()
        and len(number) < 20
        and str(int(number)) == number
        and int(number) < 1 << 63
    )
    try:
        cursor = parse_cursor.__wrapped__(text)  # it reads anew what it has read before
    except InvalidCursor as error:
        check_refusal(error)
        assert not good
    else:
        assert good
        assert str(cursor) == text


def queries(data: bytes) -> None:
    """A query is refused as a bad request, in few words, or keeps to what is said of it."""
    query, _, rest = data.partition(b"\n")
    last_event_id, _, prefer = rest.decode("latin-1").partition("\n")
    wait = preferred_wait(prefer)
    assert wait is None or 1 <= wait <= 60
    try:
        parsed = parse_query(parameters(query), last_event_id or None, MOST_CHANNELS)
    except BadRequest as error:
        check_refusal(error)
        return
    channels, given, _ = parsed.subscription
    assert len(channels) <= MOST_CHANNELS
    assert len(given) in (0, 1, len(channels))
    assert parsed.wait is None or 1 <= parsed.wait <= 60
    assert parsed.device is None or len(parsed.device) <= 256
