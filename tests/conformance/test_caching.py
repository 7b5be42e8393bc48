"""What one user was answered is for no other: not from a cache, and not by mistake for a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.raw_http import RawConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server_process import ServerProcess

WHO_AND_WHAT = {
    *{"accept", "authorization", "cookie", "last-event-id", "origin", "prefer", "x-api-key"},
}
"""Headers that decide who asks, and for what: no two requests that differ there share an answer."""


@pytest.fixture
def connection(server: ServerProcess) -> Iterator[RawConnection]:
    """A connection of the test's own."""
    with RawConnection(server.address) as connection:
        connection.post("/publish", {"channel": "news", "data": "for one user"})
        yield connection


def check_headers(headers: dict[str, str]) -> None:
    """An answer that no cache may give to another request without asking, and no browser sniffs."""
    control = {part.strip() for part in headers["cache-control"].split(",")}
    assert "no-cache" in control
    assert not control & {"public", "immutable"}
    assert not any(part.startswith(("max-age", "s-maxage")) for part in control)
    assert "expires" not in headers
    assert {name.strip().lower() for name in headers["vary"].split(",")} >= WHO_AND_WHAT
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_event_streams(connection: RawConnection, method: str) -> None:
    connection.request(method, "/sse?channels=news", {"Accept": "text/event-stream"})
    status, headers = connection.head()
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    check_headers(headers)
    assert headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/longpoll?channels=news&since=start", 200),
        ("/longpoll?channels=quiet&wait=1", 204),
        ("/longpoll?channels=news&since=start&format=raw", 200),
        ("/poll?channels=news&since=start", 200),
        ("/poll?channels=quiet", 200),
        ("/poll?channels=news&since=start&consumer=c", 200),
        ("/subscribe?channels=news", 200),
    ],
)
def test_polls(connection: RawConnection, target: str, status: int) -> None:
    answer = connection.get(target)
    assert answer.status == status
    check_headers(answer.headers)


def test_a_poll_that_has_nothing_new(connection: RawConnection) -> None:
    target = "/poll?channels=news"
    tag = connection.get(target).headers["etag"]
    answer = connection.get(target, {"If-None-Match": tag})
    assert answer.status == 304
    check_headers(answer.headers)


def test_long_polls_are_not_to_be_stored(connection: RawConnection) -> None:
    """A cache that asks again would send the tag of an answer that its client never got."""
    for target in ("/longpoll?channels=news&since=start", "/longpoll?channels=quiet&wait=1"):
        assert "no-store" in connection.get(target).headers["cache-control"]


@pytest.mark.parametrize("path", ["/sse", "/longpoll", "/poll", "/subscribe"])
def test_refusals_are_not_to_be_stored(connection: RawConnection, path: str) -> None:
    answer = connection.get(f"{path}?channels=news&cursor=malformed")
    assert answer.status == 400
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
