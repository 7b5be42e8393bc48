"""The small pure parts: addresses, answers, envelopes, positions."""

from __future__ import annotations

import base64
import errno
import ssl

import pytest

from tidewire.client.address import ServerAddress
from tidewire.client.answers import failure, retry_after
from tidewire.client.envelope import (
    Close,
    Gap,
    Message,
    Other,
    Reached,
    Ready,
    Received,
    end_of_stream,
    parse_envelope,
)
from tidewire.client.errors import Interrupted, Refused, broken, reason_of
from tidewire.client.position import Position

# Addresses


def test_addresses_keep_a_path_prefix() -> None:
    address = ServerAddress.parse("https://example.org:8443/realtime/")
    assert address.http("/publish") == "https://example.org:8443/realtime/publish"
    query = [("channels", "chat:a b,x/y#z&")]
    assert address.websocket("/ws", query) == (
        "wss://example.org:8443/realtime/ws?channels=chat:a%20b,x/y%23z%26"
    )


def test_a_password_in_an_address_is_kept_apart() -> None:
    address = ServerAddress.parse("https://us%40er:pass:w%2Ford@example.org/realtime")
    assert address.websocket("/ws") == "wss://example.org/realtime/ws"
    assert address.proxy is not None
    kind, _, pair = address.proxy.partition(" ")
    assert (kind, base64.b64decode(pair)) == ("Basic", b"us@er:pass:w/ord")
    assert address.proxy not in f"{address!r} {address}"
    assert ServerAddress.parse("https://example.org/@:/").proxy is None
    with pytest.raises(ValueError, match=r"'http://host\?a=1' has a query"):
        ServerAddress.parse("http://user:secret@host?a=1")


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1:8480", "ws://host", "http://", "http://host:port", "http://h/?a=1", "http://h/#a",
     "", "http://[::1", "http://host:0"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"URL|address|port"):
        ServerAddress.parse(text)


# Answers


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-1", None),
        ("1e3", None),
        ("nan", None),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=1000.0) == seconds


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int) -> None:
    error = failure(status, {"retry-after": "4"}, b"")
    assert isinstance(error, Interrupted)
    assert error.retry_after == 4


@pytest.mark.parametrize("status", [204, 301, 400, 401, 403, 404, 405, 409, 413, 414, 431, 501])
def test_what_will_not_pass_is_not(status: int) -> None:
    error = failure(status, {}, b"")
    assert isinstance(error, Refused)
    assert error.status == status
    assert error.reason == f"the server answered HTTP {status}"


def test_a_problem_document_says_why() -> None:
    headers = {"content-type": "application/problem+json; charset=utf-8"}
    body = b'{"title":"Bad request","status":400,"detail":"no such thing","code":"x"}'
    assert failure(400, headers, body).reason == "no such thing (HTTP 400)"
    assert failure(400, headers, b'{"title":"Bad request"}').reason == "Bad request (HTTP 400)"
    assert failure(400, headers, b"<html>").reason == "the server answered HTTP 400"
    assert failure(400, {}, body).reason == "the server answered HTTP 400"


def test_the_innermost_cause_is_told() -> None:
    error = RuntimeError("All connection attempts failed")
    error.__cause__ = OSError("nothing to say")
    error.__cause__.__context__ = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")
    assert reason_of(error) == "connection refused"
    assert reason_of(TimeoutError()) == "no answer in time"
    assert reason_of(EOFError("stream ends")) == "stream ends"
    assert reason_of(EOFError()) == "EOFError"
    plain = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)")
    plain.reason = "WRONG_VERSION_NUMBER"
    assert reason_of(plain) == "no TLS with the server: wrong version number"


@pytest.mark.parametrize(
    ("code", "message", "kind", "hint"),
    [
        (10, "certificate has expired", Interrupted, False),  # a newer one may come
        (19, "self-signed certificate in certificate chain", Refused, True),
        (62, "Hostname mismatch", Refused, False),
    ],
)
def test_a_certificate_that_is_not_trusted(
    code: int, message: str, kind: type[Exception], hint: bool
) -> None:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.verify_code, error.verify_message = code, message
    wrapped = RuntimeError("All connection attempts failed")
    wrapped.__cause__ = error
    found = broken(wrapped)
    assert type(found) is kind
    assert found.reason.startswith(f"the server's certificate is not trusted: {message}")
    assert ("SSL_CERT_FILE" in found.reason) is hint


# Envelopes


def test_envelopes_are_read_and_kept_as_they_came() -> None:
    text = b'{"type":"message","id":"e-1","channel":"a","seq":1,"time":5,"data":[1.0],"new":{}}'
    received = parse_envelope(text)
    assert received == Received(Message("e-1", "a", 1, 5, [1.0]), text)
    assert parse_envelope(b'{"type":"later","x":1}').envelope == Other("later")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'"hello"', b"{}", b'{"type":5}', b'{"type":"message","id":"e-1"}']
)
def test_what_is_no_envelope_is_refused(text: bytes) -> None:
    with pytest.raises(Refused, match="not a Tidewire envelope"):
        parse_envelope(text)


def test_a_close_says_whether_to_come_back() -> None:
    again = end_of_stream(Close(1012, "the server restarts", 1500))
    assert isinstance(again, Interrupted)
    assert again.retry_after == 1.5
    never = end_of_stream(Close(4403, "not allowed"))
    assert isinstance(never, Refused)
    assert never.reason == "the server closed the stream: 4403 not allowed"


# Positions


def message(cursor: str, channel: str) -> Received:
    return Received(Message(cursor, channel, 1, 1), b"")


def gap(cursor: str, channel: str, *, moves: bool = True) -> Received:
    return Received(Gap(cursor, channel, "expired"), b"", moves)


def test_a_position_starts_from_since_until_there_is_a_cursor() -> None:
    position = Position(["a", "b", "a"], since="-5")
    assert position.query() == [("channels", "a,b"), ("since", "-5")]
    position.advance(Received(Ready("e-1"), b""))
    assert position.query() == [("channels", "a,b"), ("cursor", "e-1")]
    position.advance(message("e-2", "a"))
    assert position.cursor == "e-2"
    position.advance(gap("e-3", "b"))
    assert position.cursor == "e-3"
    position.advance(Received(Close(1012), b""))
    position.advance(Received(Other("later"), b""))
    assert position.cursor == "e-3"


def test_a_polls_gaps_do_not_move_beyond_its_messages() -> None:
    position = Position(["a", "b"], cursor="e-1")
    position.advance(gap("e-9", "a", moves=False))
    assert position.cursor == "e-1"
    position.advance(message("e-2", "b"))
    position.advance(Reached("e-10"))
    assert position.cursor == "e-10"


def test_channels_with_cursors_of_their_own_are_followed_one_by_one() -> None:
    position = Position(["a", "b"], cursor="e-1,e-50")
    position.advance(Received(Ready("e-1"), b""))
    assert position.cursor == "e-1,e-50"
    position.advance(message("e-7", "a"))
    position.advance(Reached("e-7"))
    assert position.query() == [("channels", "a,b"), ("cursor", "e-7,e-50")]
    position.advance(gap("e-60", "b", moves=False))
    assert position.cursor == "e-7,e-60"


def test_what_me_stands_for_is_followed_from_one_place() -> None:
    position = Position(["a", "@me"], cursor="e-1,e-2")
    position.advance(message("e-3", "user:#42"))
    position.advance(message("e-4", "user:tv#42"))
    assert position.cursor == "e-1,e-4"


def test_cursors_must_fit_the_channels() -> None:
    with pytest.raises(ValueError, match="3 cursors do not fit 2 channels"):
        Position(["a", "b"], cursor="e-1,e-2,e-3")
    assert Position(["a", "b"], cursor="e-1").cursor == "e-1"
    assert Position(["a", "b"], cursor="").cursor is None
