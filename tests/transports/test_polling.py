"""The bodies and the validators of polls."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transports.world import EPOCH, FIRST_ID, message
from tidewire.model import Cursor, Gap, Since, Subscription
from tidewire.model.envelope import GapNotice, Ready
from tidewire.model.subscription import NOW, START
from tidewire.transports.polling import (
    entity_tag,
    gap_notices,
    gone_on,
    http_date,
    last_modified,
    matches,
    poll_form,
    position_lines,
    tagged_cursor,
    unmodified_since,
)

SECOND = 1_700_000_000  # in the past, whenever this runs

# Bodies


def test_a_body_byte_by_byte() -> None:
    body = poll_form(raw=False, recovered=True).messages([message(b'{"a":1}')])
    assert body == (
        b'{"messages":[{"type":"message","id":"epoch1-1000000","channel":"news","seq":1,'
        b'"time":1000,"data":{"a":1}}],"cursor":"epoch1-1000000","hasNew":true,'
        b'"recovered":true,"gaps":[]}'
    )


def test_a_body_without_messages() -> None:
    body = poll_form(raw=False, recovered=False).answer([], b"e-5", [], extra=b',"interval":3000')
    assert body == (
        b'{"messages":[],"cursor":"e-5","hasNew":false,"recovered":false,"gaps":[],"interval":3000}'
    )


@pytest.mark.parametrize("recovered", [False, True])
@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("gap", [False, True])
def test_what_a_body_says_of_itself(recovered: bool, more: bool, gap: bool) -> None:
    gaps = [GapNotice("e-1", "news", "expired")] if gap else []
    form = poll_form(raw=False, recovered=recovered)
    body = json.loads(form.answer([message()], b"e-2", gaps, more=more))
    assert body["recovered"] is recovered  # who opened it knows what a gap means
    assert body.get("more", False) is more
    assert body["gaps"] == (
        [{"type": "gap", "id": "e-1", "channel": "news", "reason": "expired"}] if gap else []
    )


def test_the_cursor_is_that_of_the_last_message() -> None:
    messages = [message(id=FIRST_ID + n) for n in range(3)]
    body = json.loads(poll_form(raw=False, recovered=True).messages(messages))
    assert body["cursor"] == f"{EPOCH}-{FIRST_ID + 2}"
    assert [item["id"] for item in body["messages"]] == [
        f"{EPOCH}-{FIRST_ID + n}" for n in range(3)
    ]


def test_raw_messages_are_their_data() -> None:
    messages = [
        message(b'"text"'),
        message(b'{"a":[1.50]}'),
        message(b'"AP8="', binary=True, event="image"),
    ]
    body = poll_form(raw=True, recovered=False).messages(messages)
    assert b'"messages":["text",{"a":[1.50]},"AP8="]' in body


def test_equal_polls_have_one_form() -> None:
    forms = {poll_form(raw=raw, recovered=r) for raw in (False, True) for r in (False, True)}
    assert len(forms) == 4
    assert poll_form(raw=True, recovered=False) is poll_form(raw=True, recovered=False)


def test_a_poll_has_no_control_envelopes() -> None:
    with pytest.raises(NotImplementedError):
        poll_form(raw=False, recovered=False).control(Ready("e-1", "", False, ()), "e-1")


def test_gaps_are_told_in_their_order() -> None:
    notices = gap_notices([Gap("a", 9, "reset")], [Gap("b", 3, "expired")], "e")
    assert notices == [GapNotice("e-3", "b", "expired"), GapNotice("e-9", "a", "reset")]


# Tags

TAG = entity_tag("e", 5)


def test_a_tag() -> None:
    assert TAG == b'"e-5"'


@pytest.mark.parametrize(
    "header",
    [
        b'"e-5"',
        b'W/"e-5"',
        b"*",
        b'"x", "e-5"',
        b'"x","e-5","y"',
        b'"x" , W/"e-5" ,"y"',
        b' "e-5" ',
    ],
)
def test_headers_that_match(header: bytes) -> None:
    assert matches(header, TAG)


@pytest.mark.parametrize(
    "header",
    [b"", b"e-5", b'"e-4"', b'"e-55"', b'"f-5"', b'w/"e-5"', b'"x e-5"', b'W/ "e-5"', b",", b'"'],
)
def test_headers_that_do_not_match(header: bytes) -> None:
    assert not matches(header, TAG)


@pytest.mark.parametrize(
    ("header", "cursor"),
    [
        (b'"e-5"', Cursor("e", 5)),
        (b'W/"e-5"', Cursor("e", 5)),
        (b' "e-5" ', Cursor("e", 5)),
        (b'"e-0"', Cursor("e", 0)),
        (b'"f-5"', Cursor("f", 5)),
        (b"*", None),
        (b'""', None),
        (b"", None),
        (b'"x"', None),
        (b'"\xff"', None),
        (b'"e-5", "e-6"', None),
        (b'"e-99999999999999999999"', None),
    ],
)
def test_the_cursor_of_a_tag(header: bytes, cursor: Cursor | None) -> None:
    assert tagged_cursor(header) == cursor


@pytest.mark.parametrize("cursors", [(), (Cursor("e", 1),), (Cursor("e", 1), Cursor("e", 9))])
@pytest.mark.parametrize("since", [NOW, START])
def test_a_tag_says_what_the_client_has_whatever_its_url_began_with(
    cursors: tuple[Cursor, ...], since: Since
) -> None:
    wanted = Subscription(("a", "b"), cursors, since)
    assert gone_on(wanted, b'W/"e-5"') == Subscription(("a", "b"), (Cursor("e", 5),), since)
    assert gone_on(wanted, b'"of something else"') == wanted


def test_a_position_as_validators() -> None:
    assert position_lines(b"e-784111777999999", 784_111_777_999_999) == (
        b'ETag: "e-784111777999999"\r\n'
        b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        b"Tidewire-Cursor: e-784111777999999\r\n"
    )


def test_a_position_is_never_modified_in_the_future() -> None:
    """RFC 9110 section 8.8.2.1; ids may run ahead of a clock that was put back."""
    before = int(time.time())
    ahead = position_lines(b"e-1", (before + 3600) * 1_000_000)
    dates = [http_date(second).encode() for second in range(before, int(time.time()) + 1)]
    assert ahead.split(b"\r\n")[1].removeprefix(b"Last-Modified: ") in dates


# Dates


def test_a_date() -> None:
    assert http_date(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"  # the RFC's own example


@pytest.mark.parametrize(
    ("after", "given"),
    [(0.0, SECOND - 1), (0.999, SECOND - 1), (1.999, SECOND - 1), (2.0, SECOND), (60.0, SECOND)],
)
def test_the_date_of_a_second_that_is_not_over_is_the_one_before(after: float, given: int) -> None:
    assert last_modified(SECOND * 1000 + 1, SECOND + after) == given


def test_a_clock_that_was_put_back() -> None:
    assert last_modified(SECOND * 1000, SECOND - 100) == SECOND - 1


@given(
    times=st.lists(st.integers(0, 5000), min_size=2, max_size=2).map(sorted),
    later=st.integers(0, 5000),
    commit=st.integers(0, 1000),
)
def test_a_date_never_hides_a_message_of_the_same_second(
    times: list[int], later: int, commit: int
) -> None:
    """Nor one that was accepted before the poll, and stored after it."""
    seen, asked, accepted = (SECOND * 1000 + ms for ms in (*times, later))
    date = http_date(last_modified(seen, asked / 1000))
    if accepted >= seen and accepted + commit > asked:  # the poll has not seen it
        assert not unmodified_since(date, accepted)
    if asked // 1000 > seen // 1000 + 1:
        assert unmodified_since(date, seen)  # nothing has come since


@pytest.mark.parametrize(("since", "unmodified"), [(-1, False), (0, True), (1, True), (60, True)])
def test_dates_before_and_after_the_newest_message(since: int, unmodified: bool) -> None:
    assert unmodified_since(http_date(SECOND + since), SECOND * 1000 + 500) is unmodified


def test_a_date_of_the_future_is_not_valid() -> None:
    # RFC 9110 section 13.1.3 has a recipient ignore a date that is later than now.
    assert not unmodified_since(formatdate(time.time() + 3600, usegmt=True), 1000)
    assert unmodified_since(formatdate(time.time(), usegmt=True), 1000)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "yesterday",
        "0",
        "Sun, 06 Nov",
        "Sun, 99 Nov 2094 08:49:37 GMT",
        "Sun, 06 Nov 99999 08:49:37 GMT",
        "Sun, 06 Nov 2010 25:61:61 GMT",
        "\xff",
        "1" * 5000,
    ],
)
def test_a_malformed_date_is_ignored(header: str) -> None:
    assert not unmodified_since(header, 1000)


@pytest.mark.parametrize(
    "header",
    ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_the_old_forms_of_dates_are_read(header: str) -> None:
    assert unmodified_since(header, 784_111_777_000)
    assert not unmodified_since(header, 784_111_778_000)


@given(header=st.text(max_size=60))
def test_any_date_is_read_or_ignored(header: str) -> None:
    assert unmodified_since(header, 1000) in (False, True)
