"""Answers as bytes."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime

import pytest

from tidewire.model import (
    BadRequest,
    EngineUnavailable,
    InvalidKey,
    InvalidToken,
    MethodNotAllowed,
    NoCredentials,
    NotFound,
    TidewireError,
    TokenExpired,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from tidewire.server import response
from tidewire.server.response import Date, answer, jittered, problem, retry_after
from tidewire.server.streams import UpgradeRequired


def headers_of(lines: bytes) -> dict[str, str]:
    """Header lines by their lower-case names; each is there once and ends in CRLF."""
    assert lines.endswith(b"\r\n")
    pairs = [line.split(": ", 1) for line in lines.decode().split("\r\n")[:-1]]
    headers = {name.lower(): value for name, value in pairs}
    assert len(headers) == len(pairs)
    return headers


def parse(data: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """The status line, the headers and the body of an answer."""
    head, _, body = data.partition(b"\r\n\r\n")
    status, _, lines = head.partition(b"\r\n")
    return status, headers_of(lines + b"\r\n"), body


def test_an_answer() -> None:
    data = answer(200, b"Content-Type: text/plain\r\nX: y\r\n", b"body", keep_alive=True)
    status, headers, body = parse(data)
    assert status == b"HTTP/1.1 200 OK"
    assert headers.pop("date")
    assert headers == {"content-type": "text/plain", "x": "y", "content-length": "4"}
    assert body == b"body"


def test_the_last_answer_of_a_connection_says_so() -> None:
    assert parse(answer(200, b"", b"", keep_alive=False))[1]["connection"] == "close"
    assert "connection" not in parse(answer(200, b"", b"", keep_alive=True))[1]


def test_head_gives_the_length_and_not_the_body() -> None:
    _, headers, body = parse(answer(200, b"", b"body", keep_alive=True, head=True))
    assert (headers["content-length"], body) == ("4", b"")


@pytest.mark.parametrize("status", [101, 204, 304])
def test_answers_that_never_have_a_body_give_no_length(status: int) -> None:
    # RFC 9110 section 8.6
    assert "content-length" not in parse(answer(status, b"", b"", keep_alive=True))[1]


def test_an_empty_body_has_a_length() -> None:
    assert parse(answer(308, b"", b"", keep_alive=True))[1]["content-length"] == "0"


def test_the_date_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 784_111_777.0
    monkeypatch.setattr(response.time, "time", lambda: now)  # type: ignore[attr-defined]
    date = Date()
    line = date.line()
    assert line == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"  # the RFC's own example
    now += 0.9
    assert date.line() is line
    now += 0.1
    assert date.line() == b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"
    now -= 10  # a clock that was set back
    assert date.line() == b"Date: Sun, 06 Nov 1994 08:49:28 GMT\r\n"


def test_the_date_is_a_date_of_http() -> None:
    line = Date().line().decode()
    assert parsedate_to_datetime(line.removeprefix("Date: ").strip()).utcoffset() is not None
    assert line.endswith(" GMT\r\n")


# Problem documents


def test_a_problem() -> None:
    status, lines, body = problem(NotFound('nothing at "/ü"', code="stable"))
    assert status == 404
    headers = headers_of(lines)
    assert headers["content-type"] == "application/problem+json"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert json.loads(body) == {
        "title": "Not found",
        "status": 404,
        "detail": 'nothing at "/ü"',
        "code": "stable",
    }


def test_which_errors_have_a_header_of_their_own() -> None:
    refused = headers_of(problem(MethodNotAllowed("no", allowed="GET, HEAD"))[1])
    assert refused["allow"] == "GET, HEAD"
    upgrade = headers_of(problem(UpgradeRequired("upgrade"))[1])
    assert upgrade["upgrade"] == "websocket"
    assert upgrade["sec-websocket-version"] == "13"
    for error in (BadRequest("no"), TidewireError("no"), NotFound("no")):
        assert "retry-after" not in headers_of(problem(error)[1])


def test_who_is_unknown_is_told_how_to_say_it() -> None:
    for error in (Unauthorized("no"), NoCredentials("no"), InvalidKey("no")):
        assert headers_of(problem(error)[1])["www-authenticate"] == "Bearer"
    for token in (InvalidToken("no", why="the signature"), TokenExpired("no")):
        _, lines, body = problem(token)
        assert headers_of(lines)["www-authenticate"] == 'Bearer error="invalid_token"'
        assert b"signature" not in lines + body


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (2.5, "3")]
)
def test_who_asks_too_often_is_told_when_to_come_back(seconds: float, told: str) -> None:
    # Rounded down, it would come too early again.
    lines = problem(TooManyRequests("slow", retry_after=seconds))[1]
    assert headers_of(lines)["retry-after"] == told


@pytest.mark.parametrize("error", [Unavailable("full"), EngineUnavailable("away")])
def test_a_server_that_is_full_spreads_its_clients(error: TidewireError) -> None:
    told = {int(headers_of(problem(error)[1])["retry-after"]) for _ in range(500)}
    assert told >= {1, 2, 3, 4}
    assert told <= {1, 2, 3, 4, 5}


def test_jitter_stays_in_its_range() -> None:
    assert {jittered(3, 5) for _ in range(500)} == {3, 4, 5}
    assert all(1 <= retry_after() <= 5 for _ in range(500))
