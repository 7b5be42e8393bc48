"""A subscriber's query, the same on all transports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.model import BadRequest, Cursor, InvalidCursor, Since
from tidewire.model.subscription import NOW, START
from tidewire.transports.query import (
    Query,
    named_in,
    parameters,
    parse_cursors,
    parse_query,
    preferred_wait,
)


def read(query: str, last_event_id: str | None = None) -> Query:
    """What *query* asks for, with a limit of four channels."""
    return parse_query(parameters(query.encode()), last_event_id, 4)


def refusal(query: str, last_event_id: str | None = None) -> str:
    """The code with which *query* is refused."""
    with pytest.raises(BadRequest) as raised:
        read(query, last_event_id)
    assert raised.value.status == 400
    return raised.value.code


# Parameters


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (b"", {}),
        (b"&&", {}),
        (b"a=1", {"a": ["1"]}),
        (b"a=1&b=2&a=3", {"a": ["1", "3"], "b": ["2"]}),
        (b"a", {"a": [""]}),
        (b"a=", {"a": [""]}),
        (b"=1", {"": ["1"]}),
        (b"a=b=c", {"a": ["b=c"]}),
        (b"a=x+y", {"a": ["x y"]}),
        (b"a=x%2By", {"a": ["x+y"]}),
        (b"a=%26%3D%25", {"a": ["&=%"]}),
        (b"%61=%C3%a9", {"a": ["\xe9"]}),
        (b"a=%zz%", {"a": ["%zz%"]}),
        (b"a=1;b=2", {"a": ["1;b=2"]}),
    ],
)
def test_parameters(query: bytes, values: dict[str, list[str]]) -> None:
    assert parameters(query) == values


@pytest.mark.parametrize("query", [b"a=%ff", b"%ff=1", b"a=\xff", b"a=%c3", b"a=%ed%a0%80"])
def test_parameters_are_utf8(query: bytes) -> None:
    with pytest.raises(BadRequest):
        parameters(query)


@given(query=st.binary(max_size=60))
def test_any_query_is_read_or_refused(query: bytes) -> None:
    try:
        values = parameters(query)
        parse_query(values, None, 4)
    except BadRequest as error:
        assert len(error.detail) < 300  # noqa: PT017 - any other way it must not end


# Channels


@pytest.mark.parametrize(
    ("query", "channels"),
    [
        ("", ()),
        ("cursor=e-1", ()),
        ("channels=a", ("a",)),
        ("channels=a,b", ("a", "b")),
        ("channels=a&channels=b", ("a", "b")),
        ("channels=b,a&channels=b,c", ("b", "a", "c")),
        ("channels=a%2Cb", ("a", "b")),
        ("channels=room:1/%23x@y", ("room:1/#x@y",)),
        ("channels=a,b,c,d", ("a", "b", "c", "d")),
        ("channels=a,b,c,d,a,b", ("a", "b", "c", "d")),
    ],
)
def test_channels(query: str, channels: tuple[str, ...]) -> None:
    assert read(query).subscription.channels == channels


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("channels=", "no_channels"),
        ("channels=,", "no_channels"),
        ("channels=a,,b", "invalid_channel"),
        ("channels=a,", "invalid_channel"),
        ("channels=a,b,c,d,e", "too_many_channels"),
        ("channels=a+b", "invalid_channel"),
        ("channels=a%0Ab", "invalid_channel"),
        ("channels=%C3%A9", "invalid_channel"),
        ("channels=" + "x" * 256, "invalid_channel"),
    ],
)
def test_wrong_channels(query: str, code: str) -> None:
    assert refusal(query) == code


# Where to start


@pytest.mark.parametrize(
    ("query", "header", "cursors"),
    [
        ("channels=a", None, ()),
        ("channels=a&cursor=", None, ()),
        ("channels=a&cursor=e-1", None, (Cursor("e", 1),)),
        ("channels=a&lastEventId=e-2", None, (Cursor("e", 2),)),
        ("channels=a&cursor=e-1&lastEventId=e-2", None, (Cursor("e", 1),)),
        ("channels=a&cursor=e-1&last_event_id=e-2", None, (Cursor("e", 2),)),
        ("channels=a&cursor=e-1&lastEventId=e-2", "e-3", (Cursor("e", 3),)),
        ("channels=a", "e-3", (Cursor("e", 3),)),
        ("channels=a&cursor=e-1", "", (Cursor("e", 1),)),
        ("channels=a,b&cursor=e-1", None, (Cursor("e", 1),)),
        ("channels=a,b&cursor=e-1,f-2", None, (Cursor("e", 1), Cursor("f", 2))),
        ("channels=a,b&cursor=e-1&cursor=f-2", None, (Cursor("e", 1), Cursor("f", 2))),
        ("channels=a,b", "e-1,e-2", (Cursor("e", 1), Cursor("e", 2))),
    ],
)
def test_cursors(query: str, header: str | None, cursors: tuple[Cursor, ...]) -> None:
    assert read(query, header).subscription.cursors == cursors


@pytest.mark.parametrize(
    ("query", "header"),
    [
        ("channels=a&cursor=x", None),
        ("channels=a&cursor=e-", None),
        ("channels=a&cursor=e-1,", None),
        ("channels=a&cursor=e-1%0A", None),
        ("channels=a&cursor=e-1,e-2", None),
        ("channels=a,b,c&cursor=e-1,e-2", None),
        ("channels=a,a&cursor=e-1,e-2", None),
        ("cursor=e-1,e-2", None),
        ("channels=a&cursor=e-1", "nonsense"),
        ("channels=a", "e-1,e-2"),
    ],
)
def test_wrong_cursors(query: str, header: str | None) -> None:
    assert refusal(query, header) == "invalid_cursor"


def test_a_list_of_cursors() -> None:
    assert parse_cursors("") == ()
    assert parse_cursors("a-1,b-22") == (Cursor("a", 1), Cursor("b", 22))
    with pytest.raises(InvalidCursor):
        parse_cursors("a-1,,b-2")


@pytest.mark.parametrize(
    ("query", "since"),
    [
        ("channels=a", NOW),
        ("channels=a&since=now", NOW),
        ("channels=a&since=start", START),
        ("channels=a&since=-5", Since("last", 5)),
        ("channels=a&since=1795392012345", Since("time", 1_795_392_012_345)),
        ("channels=a&since=start&since=now", NOW),
        ("channels=a&since=start&cursor=e-1", START),
    ],
)
def test_since(query: str, since: Since) -> None:
    assert read(query).subscription.since == since


@pytest.mark.parametrize("since", ["", "later", "-0", "1.5", "%2B1"])
def test_wrong_since(since: str) -> None:
    assert refusal(f"channels=a&since={since}") == "invalid_since"


# Format and wait


@pytest.mark.parametrize(
    ("query", "raw"),
    [
        ("channels=a", False),
        ("channels=a&format=envelope", False),
        ("channels=a,b&format=envelope", False),
        ("channels=a&format=raw", True),
        ("channels=a,a&format=raw", True),
        ("channels=a&format=raw&format=envelope", False),
        ("format=raw", True),
    ],
)
def test_format(query: str, raw: bool) -> None:
    assert read(query).raw is raw


@pytest.mark.parametrize(
    "query",
    [
        "format=",
        "format=RAW",
        "format=xml",
        "channels=a,b&format=raw",
        "channels=a&format=raw&named=false",
    ],
)
def test_wrong_format(query: str) -> None:
    assert refusal(query) == "invalid_format"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("", True),
        ("named=true", True),
        ("named=false", False),
        ("named=true&named=false", False),
        ("format=envelope&named=false", False),
        ("format=raw&named=true", True),
    ],
)
def test_names_of_events(query: str, named: bool) -> None:
    assert read(query).named is named
    assert named_in(query.encode()) is named


@pytest.mark.parametrize("named", ["", "0", "no", "False", "x" * 5000])
def test_wrong_names_of_events(named: str) -> None:
    assert refusal(f"named={named}") == "malformed"
    assert named_in(f"named={named}".encode())


@pytest.mark.parametrize(
    ("query", "named"),
    [(b"channels=,&cursor=x&named=false", False), (b"named=false&channels=%ff", True)],
)
def test_names_of_events_in_a_query_that_is_wrong(query: bytes, named: bool) -> None:
    assert named_in(query) is named


@pytest.mark.parametrize("name", ["session", "beside"])
def test_sessions(name: str) -> None:
    assert getattr(read(""), name) is None
    assert getattr(read(f"{name}=a&{name}=Az09_-"), name) == "Az09_-"
    for wrong in ("", "a.b", "%C3%A9", "x" * 65):
        assert refusal(f"{name}={wrong}") == "invalid_session"
    with pytest.raises(BadRequest, match=f"^{name}='a.b'"):
        read(f"{name}=a.b")


@pytest.mark.parametrize(
    ("query", "wait"),
    [("", None), ("wait=1", 1.0), ("wait=60", 60.0), ("wait=2.5", 2.5), ("wait=1&wait=3", 3.0)],
)
def test_wait(query: str, wait: float | None) -> None:
    assert read(query).wait == wait


@pytest.mark.parametrize(
    "wait", ["", "0", "0.999", "60.1", "-1", "nan", "inf", "-inf", "1e9", "x", "1s", "%C2%B2"]
)
def test_wrong_wait(wait: str) -> None:
    assert refusal(f"wait={wait}") == "invalid_wait"


@pytest.mark.parametrize(
    ("prefer", "wait"),
    [
        ("", None),
        ("respond-async", None),
        ("wait", None),
        ("wait=", None),
        ("wait=x", None),
        ("wait=-5", None),
        ("wait=1.5", None),
        ("wait=\xb2", None),  # a superscript is a digit, but no number
        ("await=5", None),
        ("wait=10", 10.0),
        ('wait="10"', 10.0),
        ("Wait = 10", 10.0),
        ("wait=10; strict", 10.0),
        ("respond-async, wait=10", 10.0),
        ("wait=x, wait=10", 10.0),
        ("wait=0", 1.0),
        ("wait=600", 60.0),
        ("wait=" + "9" * 5000, 60.0),
    ],
)
def test_preferred_wait(prefer: str, wait: float | None) -> None:
    assert preferred_wait(prefer) == wait
