"""The reader of HTTP/1.1: the same requests however the bytes come, and no second reading."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.ambiguous_requests import AMBIGUOUS, BAD_CHUNKS
from tests.server.reading import (
    BODY_LIMIT,
    CHUNKED,
    FOLLOWING,
    HOST,
    LIMITS,
    H,
    Seen,
    chunked,
    get,
    in_pieces,
    new_reader,
    post,
    read,
    read_every_way,
    request,
)
from tidewire.server.http1 import AT_ONCE, BODY, HEAD, IDLE, MAX_FIELDS, PIECE, RequestReader

if TYPE_CHECKING:
    from tidewire.server.request import Request


# Requests


def test_a_request() -> None:
    outcome = read_every_way(get(b"/a?b=%20c", b"X-One: 1", b"X-TWO:\t2 \t"))
    (request,) = outcome.requests
    assert request == Seen(
        b"GET",
        b"/a?b=%20c",
        {b"host": b"localhost", b"x-one": b"1", b"x-two": b"2"},
        "1.1",
        True,
        False,
        b"",
    )
    assert outcome[1:] == (None, None)


def test_a_body_of_known_length() -> None:
    outcome = read_every_way(post(b"\x00\r\n\r\nGET / HTTP/1.1\r\n\r\n"))
    assert [request.body for request in outcome.requests] == [b"\x00\r\n\r\nGET / HTTP/1.1\r\n\r\n"]


def test_a_chunked_body() -> None:
    outcome = read_every_way(chunked(b"a\r\n0\r\n\r\n", b"b" * 30, extension=b';q="x;y"'))
    assert [request.body for request in outcome.requests] == [b"a\r\n0\r\n\r\n" + b"b" * 30]


def test_white_space_around_the_coding_is_no_part_of_it() -> None:
    outcome = read_every_way(chunked(b"abc").replace(b": chunked", b":\t Chunked ") + get())
    assert [request.body for request in outcome.requests] == [b"abc", b""]


def test_trailers_are_ignored() -> None:
    trailers = b"Host: evil\r\nX-Trailer: x\r\nX-Trailer: y\r\n"
    outcome = read_every_way(chunked(b"abc", trailers=trailers) + get())
    assert [request.body for request in outcome.requests] == [b"abc", b""]
    assert outcome.requests[0].headers == {b"host": b"localhost", b"transfer-encoding": b"chunked"}
    assert outcome.failure is None


def test_requests_in_a_pipeline() -> None:
    data = get(b"/1") + post(b"two") + chunked(b"three") + b"\r\n" + get(b"/4")
    outcome = read_every_way(data)
    assert [request.target for request in outcome.requests] == [b"/1", b"/p", b"/c", b"/4"]
    assert [request.body for request in outcome.requests] == [b"", b"two", b"three", b""]
    assert outcome.failure is None


def test_a_long_pipeline_that_ends_within_a_head_is_not_a_long_head() -> None:
    reader = new_reader()
    assert len([*reader.feed(get() * 100 + b"GET /la"), *all_held(reader)]) == 100
    assert reader.failure is None
    assert [request.target for request in reader.feed(b"st HTTP/1.1\r\n" + HOST + b"\r\n")] == [
        b"/last"
    ]


def test_a_few_of_many_requests_come_at_a_time() -> None:
    reader = new_reader()
    data = b"".join(get(b"/%d" % number) for number in range(500))
    first = reader.feed(data)
    assert AT_ONCE <= len(first) < 100
    assert holds(reader)
    assert reader.feed(get(b"/last")) == ()  # its turn is behind the others
    targets = [one.target for one in [*first, *all_held(reader)]]
    assert targets == [*(b"/%d" % number for number in range(500)), b"/last"]
    assert not holds(reader)
    assert len(reader.feed(get())) == 1


def test_what_is_wrong_behind_many_requests_is_found_in_its_turn() -> None:
    reader = new_reader()
    found = [*reader.feed(get() * 100 + b"nonsense\r\n\r\n" + get())]
    assert holds(reader)
    found += all_held(reader)
    assert len(found) == 100
    assert reader.failure is not None
    assert not holds(reader)
    assert reader.go_on() == ()


def test_a_large_body_is_no_reason_to_wait() -> None:
    reader = new_reader()
    assert len(reader.feed(post(b"x" * BODY_LIMIT))) == 1
    assert not holds(reader)


def holds(reader: RequestReader) -> bool:
    """Whether a reader has bytes that wait."""
    return reader.held


def all_held(reader: RequestReader) -> list[Request]:
    """The requests that wait in a reader."""
    found: list[Request] = []
    while holds(reader):
        found += reader.go_on()
    return found


def test_a_repeated_header_is_joined() -> None:
    outcome = read_every_way(get(b"/a", b"Accept: a", b"X: b", b"accept: c"))
    assert outcome.requests[0].headers[b"accept"] == b"a, c"


@pytest.mark.parametrize("name", [b"Host", b"Authorization", b"Origin", b"Content-Type"])
def test_a_header_of_one_value_is_there_once(name: bytes) -> None:
    outcome = read_every_way(get(b"/a", name + b": a", name.lower() + b": a") + FOLLOWING)
    assert outcome == ([], "bad_http", None)


def test_a_host_is_needed_since_http_1_1() -> None:
    assert read_every_way(b"GET / HTTP/1.1\r\n\r\n").failure == "bad_http"
    assert read_every_way(b"GET / HTTP/1.0\r\n\r\n").failure is None


def test_which_connections_stay_open() -> None:
    assert read([get()]).requests[0].keep_alive
    assert not read([get(b"/a", b"Connection: close")]).requests[0].keep_alive
    assert not read([b"GET / HTTP/1.0\r\n\r\n"]).requests[0].keep_alive
    # It would have to be told so, and is not.
    old = read([b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"])
    assert not old.requests[0].keep_alive


def test_nothing_follows_connection_close() -> None:
    closing = get(b"/a", b"Connection: close")
    outcome = read_every_way(closing + FOLLOWING)
    assert [request.target for request in outcome.requests] == [b"/a"]
    assert outcome.failure == "bad_http"


@pytest.mark.parametrize("data", [b"GET / HTTP/2.0", b"GET / HTTP/0.9", b"GET / HTTP/3.7"])
def test_other_versions_are_not_spoken(data: bytes) -> None:
    assert read_every_way(data + b"\r\n" + HOST + b"\r\n" + FOLLOWING) == ([], "bad_http", None)


# Where the reader is


def test_the_state_follows_the_bytes() -> None:
    reader = new_reader()
    assert reader.state == IDLE
    reader.feed(b"\r\n")  # an empty line before a request is nothing (RFC 9112 section 2.2)
    assert reader.state == IDLE
    reader.feed(b"POST /p HTT")
    assert reader.state == HEAD
    reader.feed(b"P/1.1\r\nContent-Length: 2\r\n" + HOST + b"\r\n")
    assert reader.state == BODY
    reader.feed(b"a")
    assert reader.state == BODY
    assert [request.body for request in reader.feed(b"b")] == [b"ab"]
    assert reader.state == IDLE


def test_a_client_that_waits_for_100() -> None:
    reader = new_reader()
    head, body = post(b"abc", b"Expect: 100-Continue")[:-3], b"abc"
    assert not reader.feed(head)
    assert reader.wants_continue
    assert [request.body for request in reader.feed(body)] == [b"abc"]
    assert not reader.wants_continue


def test_who_does_not_wait_for_100() -> None:
    for data in (
        post(b"abc", b"Expect: 100-continue"),  # it sent the body at once
        get(b"/a", b"Expect: 100-continue"),  # it has none to send
        post(b"abc")[:-3],
        # HTTP/1.0 knows no interim answers (RFC 9110 section 10.1.1)
        post(b"abc", b"Expect: 100-continue")[:-3].replace(b"HTTP/1.1", b"HTTP/1.0"),
    ):
        reader = new_reader()
        reader.feed(data)
        assert not reader.wants_continue, data


# Limits


def test_a_target_has_a_limit() -> None:
    longest = b"/" + b"a" * (LIMITS.target_size - 1)
    assert [request.target for request in read_every_way(get(longest)).requests] == [longest]
    assert read_every_way(get(longest + b"a") + FOLLOWING) == ([], "target_too_long", None)


def test_a_head_has_a_limit_of_bytes() -> None:
    used = len(b"host" + b"localhost") + 4
    value = b"v" * (LIMITS.head_size - used - len(b"x") - 4)
    assert len(read_every_way(get(b"/a", b"X: " + value)).requests) == 1
    assert read_every_way(get(b"/a", b"X: v" + value) + FOLLOWING) == ([], "head_too_large", None)


def test_a_head_has_a_limit_of_fields() -> None:
    fields = [b"%x: 1" % n for n in range(MAX_FIELDS - 1)]  # and Host
    limits = LIMITS._replace(head_size=10_000)
    reader = RequestReader(limits, lambda request: BODY_LIMIT)
    assert len(reader.feed(get(b"/a", *fields))) == 1
    reader = RequestReader(limits, lambda request: BODY_LIMIT)
    assert not reader.feed(get(b"/a", *fields, b"more: 1"))
    assert reader.failure is not None
    assert reader.failure.status == 431
    reader = RequestReader(limits, lambda request: BODY_LIMIT)
    assert not reader.feed(get(b"/a", *[b"same: 1"] * MAX_FIELDS))
    assert reader.failure is not None


@pytest.mark.parametrize(
    "begin",
    [
        b"GET / HTTP/1.1\r\nX: ",
        b"GET / HTTP/1.1\r\n",
        get() + b"GET / HTTP/1.1\r\nX: ",
        # A trailer is thrown away, but not before its end has come
        chunked(b"abc")[:-2] + b"X: ",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1;x=",
    ],
    ids=["a value", "a name", "a value, second request", "a trailer", "a chunk's extension"],
)
@pytest.mark.parametrize("size", [1, 100])
def test_a_field_without_an_end_is_refused_early(begin: bytes, size: int) -> None:
    reader = new_reader()
    reader.feed(begin)
    sent = 0
    while reader.failure is None:
        assert not reader.feed(b"x" * size)
        sent += size
        assert sent <= LIMITS.head_size + LIMITS.target_size + size
    assert reader.failure.status == 431


def test_many_trailers_are_refused() -> None:
    trailers = b"".join(b"X-%d: %b\r\n" % (n, b"v" * 50) for n in range(18))
    assert read_every_way(chunked(b"abc", trailers=trailers)) == ([], "head_too_large", None)
    fit = trailers[: trailers.index(b"X-17")]
    assert [seen.body for seen in read_every_way(chunked(b"abc", trailers=fit)).requests] == [
        b"abc"
    ]


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_extensions_of_chunks_have_a_limit_together(size: int) -> None:
    data = chunked(*[b"x"] * 400, extension=b";" + b"e" * 200)
    assert read(in_pieces(data, size)) == ([], "head_too_large", None)


def test_one_long_extension_in_one_read() -> None:
    assert read([chunked(b"x", extension=b";" + b"e" * 100_000)]) == ([], "head_too_large", None)


def test_a_large_body_may_come_in_one_read() -> None:
    reader = RequestReader(LIMITS, lambda request: 5 * PIECE)
    bodies = [b"x" * (3 * PIECE), b"y" * (4 * PIECE)]
    requests = reader.feed(post(bodies[0]) + chunked(bodies[1]) + get(b"/last"))
    assert [request.body for request in requests] == [*bodies, b""]


def test_a_body_has_a_limit() -> None:
    body = b"x" * BODY_LIMIT
    assert [request.body for request in read_every_way(post(body)).requests] == [body]
    assert [request.body for request in read_every_way(chunked(body)).requests] == [body]
    parts = chunked(*[b"x"] * BODY_LIMIT)
    assert [request.body for request in read_every_way(parts).requests] == [body]
    assert read_every_way(post(body + b"x") + FOLLOWING) == ([], "too_large", None)
    assert read_every_way(chunked(body, b"x") + FOLLOWING) == ([], "too_large", None)


def test_a_body_too_large_is_refused_by_its_head() -> None:
    reader = new_reader()
    reader.feed(post(b"x" * (BODY_LIMIT + 1))[: -BODY_LIMIT - 1])
    assert reader.failure is not None
    assert reader.failure.status == 413
    assert not reader.wants_continue


def test_the_limit_of_a_body_is_asked_for_with_the_whole_head() -> None:
    asked: list[tuple[bytes, bytes]] = []

    def limit(request: Request) -> int:
        asked.append((request.target, request.headers[b"x"]))
        return 3

    reader = RequestReader(LIMITS, limit)
    assert len(reader.feed(get() + post(b"abc", b"X: last"))) == 2
    assert asked == [(b"/p", b"last")]


# Bytes that two servers could read in two ways


@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_ambiguous_bytes_are_refused_and_the_next_never_read(data: bytes) -> None:
    assert read_every_way(data + FOLLOWING) == ([], "bad_http", None)
    before = read_every_way(get(b"/before") + data + FOLLOWING)
    assert [request.target for request in before.requests] == [b"/before"]
    assert before[1:] == ("bad_http", None)


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_bad_chunks_are_refused_and_the_next_never_read(body: bytes) -> None:
    assert read_every_way(request(H, CHUNKED, body=body) + FOLLOWING) == ([], "bad_http", None)


def test_a_reader_that_has_failed_reads_no_more() -> None:
    reader = new_reader()
    reader.feed(b"nonsense\r\n\r\n")
    failure = reader.failure
    assert failure is not None
    assert not reader.feed(FOLLOWING)
    assert reader.failure is failure


# Upgrades

UPGRADE = get(b"/ws", b"Connection: keep-alive, Upgrade", b"Upgrade: websocket")


def test_the_bytes_behind_an_upgrade_are_not_http() -> None:
    outcome = read_every_way(get(b"/1") + UPGRADE + FOLLOWING)
    assert [request.upgrade for request in outcome.requests] == [False, True]
    assert outcome[1:] == (None, FOLLOWING)


def test_a_request_that_begins_a_websocket_has_no_body() -> None:
    """What is a body to a proxy would be frames here."""
    wish = (b"Connection: upgrade", b"Upgrade: WebSocket")
    for data in (post(b"abc", *wish), request(H, CHUNKED, *wish, body=b"0\r\n\r\n")):
        assert read_every_way(data + FOLLOWING) == ([], "bad_http", None)
    outcome = read_every_way(post(b"", *wish) + FOLLOWING)
    assert [request.upgrade for request in outcome.requests] == [True]
    assert outcome.rest == FOLLOWING


@pytest.mark.parametrize("data", [post(b"abc"), chunked(b"ab", b"c")], ids=["length", "chunked"])
def test_a_wish_for_another_protocol_leaves_the_body_a_body(data: bytes) -> None:
    """Some clients offer HTTP/2 with every request."""
    h2c = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"
    offering = data.replace(HOST, HOST + h2c)
    for stream in (offering, offering + FOLLOWING):
        (request,) = read_every_way(stream).requests if stream is offering else read([stream])[0]
        assert (request.method, request.body, request.upgrade) == (b"POST", b"abc", True)
        assert b"http2-settings" in request.headers


def test_such_a_body_has_its_limit_too() -> None:
    h2c = (b"Connection: Upgrade", b"Upgrade: h2c")
    assert read_every_way(post(b"x" * (BODY_LIMIT + 1), *h2c)).failure == "too_large"
    broken = chunked(b"abc").replace(HOST, HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n")
    assert read_every_way(broken.replace(b"3\r\n", b"+3\r\n")).failure == "bad_http"
    (waiting,) = [new_reader()]
    assert not waiting.feed(post(b"abc", *h2c, b"Expect: 100-continue")[:-3])
    assert waiting.wants_continue
    (request,) = waiting.feed(b"abc")
    assert request.body == b"abc"


def test_connect_is_an_upgrade_too() -> None:
    outcome = read_every_way(b"CONNECT a.example:443 HTTP/1.1\r\n" + HOST + b"\r\n" + FOLLOWING)
    assert [request.method for request in outcome.requests] == [b"CONNECT"]
    assert outcome.rest == FOLLOWING


def test_without_connection_upgrade_there_is_none() -> None:
    outcome = read_every_way(get(b"/ws", b"Upgrade: websocket") + FOLLOWING)
    assert [request.target for request in outcome.requests] == [b"/ws", b"/following"]
    assert not outcome.requests[0].upgrade


# The head that was seen before


def test_the_same_head_again_takes_its_new_body() -> None:
    reader = new_reader()
    for body in (b"one", b"two", b"", b"six"):
        assert [request.body for request in reader.feed(post(body))] == [body]


def test_a_request_that_is_kept_is_not_changed() -> None:
    reader = new_reader()
    kept: list[Request] = []
    for body in (b"one", b"two", b"six"):
        kept += reader.feed(post(body))
        reader.keep()
    assert [request.body for request in kept] == [b"one", b"two", b"six"]


def test_the_same_bytes_after_connection_close_are_no_request() -> None:
    reader = new_reader()
    closing = get(b"/a", b"Connection: close")
    assert len(reader.feed(closing)) == 1
    assert not reader.feed(closing)


FIELDS = st.sampled_from([b"X: 1", b"Accept: */*", b"If-None-Match: a-1", b"If-None-Match: a-2"])
GETS = st.builds(
    lambda target, fields: get(target, *fields),
    st.sampled_from([b"/a", b"/b", b"/poll?channels=a", b"/poll?channels=b"]),
    st.lists(FIELDS, max_size=2),
)
BODIES = st.sampled_from([b"", b"abc", b"xyz", b"\r\n\r\n", get(), b"a" * 20])
POSTS = st.builds(post, BODIES)
CHUNKS = st.builds(
    lambda chunks, trailers: chunked(*filter(None, chunks), trailers=trailers),
    st.lists(BODIES, max_size=3),
    st.sampled_from([b"", b"X: y\r\n"]),
)
ODD = st.sampled_from(
    [
        b"\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        get(b"/a", b"Connection: close"),
        post(b"abc", b"Expect: 100-continue"),
        UPGRADE,
        *list(AMBIGUOUS.values())[::5],
    ]
)
# Few different ones, so that the same often come after one another
STREAMS = st.lists(st.one_of(GETS, GETS, POSTS, POSTS, CHUNKS, ODD), max_size=12)


@given(STREAMS)
@settings(max_examples=300)
def test_a_remembered_head_gives_what_a_reader_without_memory_gives(pieces: list[bytes]) -> None:
    # A piece of one byte is never remembered.
    assert read(pieces) == read(in_pieces(b"".join(pieces), 1))


@given(STREAMS, st.lists(st.integers(0, 2_000), max_size=12))
@settings(max_examples=300)
def test_any_chunking_gives_the_same_requests(stream: list[bytes], cuts: list[int]) -> None:
    data = b"".join(stream)
    at = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[begin:end] for begin, end in pairwise(at)]
    assert read(pieces) == read([data])
