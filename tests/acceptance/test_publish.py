"""Publishing over HTTP and reading back: bodies of every type, batches, keys, history in pages."""

from __future__ import annotations

import base64
import itertools
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.acceptance.checker import (
    Message,
    check_log,
    check_received,
    from_answer,
    from_envelope,
    position,
)
from tests.acceptance.raw_http import RawConnection, Response
from tests.acceptance.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

names = (f"publish-{n}" for n in itertools.count())


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def server(request: pytest.FixtureRequest, start_shared: StartServer) -> ServerProcess:
    """A server with each engine."""
    engine = "memory:" if request.param == "memory" else "sqlite:///publish.db"
    return start_shared(engine=engine)


@pytest.fixture
def connection(server: ServerProcess) -> Iterator[RawConnection]:
    """A connection of the test's own."""
    with RawConnection(server.address) as connection:
        yield connection


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses."""
    return next(names)


def history(connection: RawConnection, channel: str, **parameters: object) -> dict[str, Any]:
    """One page of the history."""
    extra = "".join(f"&{name}={value}" for name, value in parameters.items())
    answer = connection.get(f"/history?channel={quote(channel, safe='')}{extra}")
    assert answer.status == 200, answer
    page: dict[str, Any] = answer.json()
    return page


def envelopes(connection: RawConnection, channel: str) -> list[dict[str, Any]]:
    """All envelopes of a channel."""
    messages: list[dict[str, Any]] = history(connection, channel)["messages"]
    return messages


def ok(answer: Response) -> dict[str, Any]:
    """The body of an answer that must be a success."""
    assert answer.status == 200, answer
    assert answer.headers["content-type"].startswith("application/json")
    body: dict[str, Any] = answer.json()
    return body


def test_publish_one(connection: RawConnection, channel: str) -> None:
    command = {
        "channel": channel,
        "data": {"any": ["JSON", 1.5, None, True]},
        "event": "headline",
        "headers": {"lang": "en", "é": "\u2028"},
        "key": "once",
    }
    answer = ok(connection.post("/publish", command))
    assert set(answer) == {"channel", "id", "seq"}
    assert answer["seq"] == 1
    (envelope,) = envelopes(connection, channel)
    assert envelope["type"] == "message"
    check_received([from_answer(command, answer)], [from_envelope(envelope)])
    assert set(envelope) == {"type", "id", "channel", "seq", "time", "event", "data", "headers"}
    assert abs(envelope["time"] - position(envelope["id"])[1] // 1000) < 60_000


@pytest.mark.parametrize(
    "data",
    [
        None,
        True,
        0,
        -1,
        0.1,
        1e300,
        2**53,
        -(2**63),
        "",
        "text",
        [],
        {},
        [[]],
        {"": ""},
        "\0\r\n\x7f",
    ],
    ids=repr,
)
def test_any_json_value(connection: RawConnection, channel: str, data: Any) -> None:
    ok(connection.post("/publish", {"channel": channel, "data": data}))
    (envelope,) = envelopes(connection, channel)
    assert "data" in envelope
    assert envelope["data"] == data


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)  # fmt: skip


@given(data=values, indent=st.sampled_from([None, 0, 2]), ascii_only=st.booleans())
@settings(max_examples=100)
def test_data_comes_back_as_it_was(
    server: ServerProcess, data: Any, indent: int | None, ascii_only: bool
) -> None:
    channel = next(names)
    command = {"channel": channel, "data": data}
    body = json.dumps(command, indent=indent, ensure_ascii=ascii_only).encode()
    with RawConnection(server.address) as connection:
        connection.request("POST", "/publish", {"Content-Type": "application/json"}, body)
        ok(connection.response())
        (envelope,) = envelopes(connection, channel)
        assert envelope["data"] == data
        if isinstance(data, int):
            assert type(envelope["data"]) is type(data)


def test_numbers_keep_their_digits(connection: RawConnection, channel: str) -> None:
    body = f'{{"channel":"{channel}","data":[12345678901234567890123, 1.10, 1E5]}}'.encode()
    connection.request("POST", "/publish", {"Content-Type": "application/json"}, body)
    ok(connection.response())
    answer = connection.get(f"/history?channel={channel}")
    assert b"12345678901234567890123" in answer.body


def test_a_batch_is_answered_in_its_order(connection: RawConnection, channel: str) -> None:
    commands = [{"channel": f"{channel}-{n % 3}", "data": n} for n in range(30)]
    results = ok(connection.post("/publish", {"messages": commands}))["results"]
    published = [from_answer(*pair) for pair in zip(commands, results, strict=True)]
    check_log(published)
    for n in range(3):
        name = f"{channel}-{n}"
        received = [from_envelope(e) for e in envelopes(connection, name)]
        check_received([m for m in published if m.channel == name], received)


def test_an_empty_batch(connection: RawConnection) -> None:
    answer = connection.post("/publish", {"messages": []})
    if answer.status == 200:  # nothing to do, or nothing asked for: both are right
        assert answer.json() == {"results": []}
    else:
        assert answer.status == 400
        assert answer.problem["code"]


@pytest.mark.parametrize(
    "bad",
    [
        {"channel": "a b", "data": 1},
        {"channel": "", "data": 1},
        {"data": 1},
        {"channel": "a"},
        {"channel": "a", "data": 1, "event": "a\nb"},
        {"channel": "a", "data": 1, "key": ""},
        {"channel": "a", "data": 1, "key": "x" * 256},
        {"channel": "a", "data": "?", "encoding": "base64"},
        {"channel": "a", "data": 1, "encoding": "rot13"},
        {"channel": "a", "data": 1, "headers": {"n": 1}},
        {"channel": "a", "data": 1, "surprise": 1},
        "no object",
    ],
    ids=repr,
)
def test_a_batch_with_one_bad_message_is_refused_whole(
    connection: RawConnection, channel: str, bad: object
) -> None:
    good = {"channel": channel, "data": 1, "key": "good"}
    answer = connection.post("/publish", {"messages": [good, good, bad, good]})
    assert answer.status == 400
    assert "2" in answer.problem["detail"], "which one it was is not said"
    assert envelopes(connection, channel) == []
    # ... and its keys are not used up.
    assert ok(connection.post("/publish", good))["seq"] == 1


def test_a_key_publishes_once(connection: RawConnection, channel: str) -> None:
    keyed = {"channel": channel, "data": 1, "key": "k" * 255}
    first = ok(connection.post("/publish", keyed))
    ok(connection.post("/publish", {"channel": channel, "data": "between"}))
    assert ok(connection.post("/publish", keyed)) == first
    assert ok(connection.post("/publish", {**keyed, "data": "other"})) == first
    other = ok(connection.post("/publish", {**keyed, "channel": f"{channel}-other"}))
    assert other["id"] != first["id"], "keys are per channel"
    assert [e["data"] for e in envelopes(connection, channel)] == [1, "between"]


def test_keys_within_one_batch(connection: RawConnection, channel: str) -> None:
    batch = [{"channel": channel, "data": n, "key": f"key {n % 2}"} for n in range(6)]
    results = ok(connection.post("/publish", {"messages": batch}))["results"]
    assert [result["seq"] for result in results] == [1, 2, 1, 2, 1, 2]
    assert len({result["id"] for result in results}) == 2
    assert ok(connection.post("/publish", {"messages": batch}))["results"] == results
    assert [e["data"] for e in envelopes(connection, channel)] == [0, 1]


def test_a_key_is_forgotten_after_its_window(start: StartServer, engine: str) -> None:
    server = start(engine=engine, idempotency_window=3)  # for a machine that stands still as well
    with RawConnection(server.address) as connection:
        keyed = {"channel": "a", "data": 1, "key": "k"}
        first = ok(connection.post("/publish", keyed))
        assert ok(connection.post("/publish", keyed)) == first
        wait_until(lambda: ok(connection.post("/publish", keyed))["seq"] == 2)


def test_concurrent_publishes_of_one_key(server: ServerProcess, channel: str) -> None:
    connections = [RawConnection(server.address) for _ in range(20)]
    body = json.dumps({"channel": channel, "data": 1, "key": "same"}).encode()
    for connection in connections:
        connection.request("POST", "/publish", {"Content-Type": "application/json"}, body)
    results = [ok(connection.response()) for connection in connections]
    assert all(result == results[0] for result in results)
    assert len(envelopes(connections[0], channel)) == 1
    for connection in connections:
        connection.socket.close()


@pytest.mark.parametrize(
    ("content_type", "body", "expected", "binary"),
    [
        ("text/plain", "naïve\r\ntext\u2028".encode(), "naïve\r\ntext\u2028", False),
        ("text/plain; charset=utf-8", b"", "", False),
        ("text/html", b"<b>x</b>", "<b>x</b>", False),
        ("application/json", b'{"a": [1, 2]}', {"a": [1, 2]}, False),
        ("application/json; charset=utf-8", b' "x"\n', "x", False),
        ("application/octet-stream", bytes(range(256)), bytes(range(256)), True),
        ("image/png", b"\x89PNG\r\n", b"\x89PNG\r\n", True),
        (None, b"\xff\xfe", b"\xff\xfe", True),
        ("application/octet-stream", b"", b"", True),
    ],
)
def test_a_body_of_any_type(
    connection: RawConnection,
    channel: str,
    content_type: str | None,
    body: bytes,
    expected: Any,
    binary: bool,
) -> None:
    target = f"/publish?channel={channel}"
    connection.request("POST", target, {"Content-Type": content_type}, body)
    answer = ok(connection.response())
    assert (answer["channel"], answer["seq"]) == (channel, 1)
    (envelope,) = envelopes(connection, channel)
    if binary:
        assert envelope["encoding"] == "base64"
        assert base64.b64decode(envelope["data"], validate=True) == expected
    else:
        assert "encoding" not in envelope
        assert envelope["data"] == expected


def test_a_body_with_event_and_key_in_the_query(connection: RawConnection, channel: str) -> None:
    target = f"/publish?channel={channel}&event=head%20line&key=k%2C1"
    results = []
    for _ in range(2):
        connection.request("POST", target, {"Content-Type": "text/plain"}, b"text")
        results.append(ok(connection.response()))
    assert results[0] == results[1]
    (envelope,) = envelopes(connection, channel)
    assert envelope["event"] == "head line"


def test_text_that_is_not_utf_8_is_refused(connection: RawConnection, channel: str) -> None:
    target = f"/publish?channel={channel}"
    connection.request("POST", target, {"Content-Type": "text/plain"}, b"\xff\xfe")
    answer = connection.response()
    assert answer.status == 400
    assert answer.problem["code"]


def test_base64_in(connection: RawConnection, channel: str) -> None:
    data = base64.b64encode(bytes(range(256))).decode()
    ok(connection.post("/publish", {"channel": channel, "data": data, "encoding": "base64"}))
    (envelope,) = envelopes(connection, channel)
    assert (envelope["data"], envelope["encoding"]) == (data, "base64")


@pytest.mark.parametrize("name", ["a", "A-Z_a.z:0/9@#", "x" * 255, "/", "#", ":", ":::"])
def test_channel_names(connection: RawConnection, name: str) -> None:
    answer = ok(connection.post("/publish", {"channel": name, "data": "named"}))
    assert envelopes(connection, name)[-1]["id"] == answer["id"]
    polled = connection.get(f"/poll?channels={quote(name, safe='')}&since=-1")
    assert polled.json()["messages"][0]["channel"] == name


# History


def published(connection: RawConnection, channel: str, count: int) -> list[Message]:
    """Publish numbered messages in one batch."""
    commands = [{"channel": channel, "data": n} for n in range(count)]
    results = ok(connection.post("/publish", {"messages": commands}))["results"]
    return [from_answer(*pair) for pair in zip(commands, results, strict=True)]


def test_history_in_pages(connection: RawConnection, channel: str) -> None:
    messages = published(connection, channel, 25)
    received: list[Message] = []
    page = history(connection, channel, limit=10)
    sizes = []
    while True:
        sizes.append(len(page["messages"]))
        received += map(from_envelope, page["messages"])
        assert page["gaps"] == []
        if not page["more"]:
            break
        page = history(connection, channel, limit=10, cursor=page["cursor"])
    assert sizes == [10, 10, 5]
    check_received(messages, received)
    again = history(connection, channel, cursor=page["cursor"])
    assert (again["messages"], again["more"]) == ([], False)


def test_history_by_cursor_and_since(connection: RawConnection, channel: str) -> None:
    messages = published(connection, channel, 10)
    cursor = f"{messages[3].epoch}-{messages[3].position}"
    for parameters, expected in [
        ({"cursor": cursor}, messages[4:]),
        ({"since": "start"}, messages),
        ({"since": "-3"}, messages[-3:]),
        ({"since": "-100"}, messages),
        ({"since": "now"}, []),
        ({"since": "0"}, messages),
        ({"cursor": cursor, "limit": 2}, messages[4:6]),
    ]:
        page = history(connection, channel, **parameters)  # type: ignore[arg-type]
        check_received(expected, [from_envelope(e) for e in page["messages"]])


def test_a_page_that_ends_with_the_history_has_no_more(
    connection: RawConnection, channel: str
) -> None:
    published(connection, channel, 10)
    page = history(connection, channel, limit=10)
    assert len(page["messages"]) == 10
    if page["more"]:  # it may not know yet; then the next page is empty and says so
        page = history(connection, channel, limit=10, cursor=page["cursor"])
        assert (page["messages"], page["more"]) == ([], False)


def test_history_of_an_unknown_channel(connection: RawConnection, channel: str) -> None:
    page = history(connection, channel)
    assert (page["messages"], page["more"], page["gaps"]) == ([], False, [])
    messages = published(connection, channel, 1)
    page = history(connection, channel, cursor=page["cursor"])
    check_received(messages, [from_envelope(e) for e in page["messages"]])


def test_history_has_gaps(start: StartServer, engine: str) -> None:
    server = start(engine=engine, history_size=5)
    with RawConnection(server.address) as connection:
        messages = published(connection, "a", 12)
        cursor = f"{messages[0].epoch}-{messages[0].position}"
        page = history(connection, "a", cursor=cursor)
        check_received(messages[-5:], [from_envelope(e) for e in page["messages"]])
        assert [(gap["channel"], gap["reason"]) for gap in page["gaps"]] == [("a", "expired")]
        page = history(connection, "a", cursor=f"zzzzzz-{messages[0].position}")
        assert [(gap["channel"], gap["reason"]) for gap in page["gaps"]] == [("a", "reset")]
        check_received(messages[-5:], [from_envelope(e) for e in page["messages"]])


def test_history_by_namespace(start: StartServer, engine: str) -> None:
    server = start(engine=engine, namespaces='{"chat": {"history_size": 3}}')
    with RawConnection(server.address) as connection:
        for name, kept in [("chat:a", 3), ("chatter:a", 10), ("other", 10)]:
            messages = published(connection, name, 10)
            received = [from_envelope(e) for e in envelopes(connection, name)]
            check_received(messages[-kept:], received)


def test_no_history_at_all(start: StartServer, engine: str) -> None:
    server = start(engine=engine, history_size=0)
    with RawConnection(server.address) as reader, RawConnection(server.address) as connection:
        reader.request("GET", "/sse?channels=a")
        reader.read_until(b'"type":"ready"')
        messages = published(connection, "a", 2)
        assert envelopes(connection, "a") == []
        assert f'"id":"{messages[1].epoch}-{messages[1].position}"'.encode() in reader.read_until(
            b'"seq":2'
        )
