"""The server against the document that it serves: schemathesis makes requests of it, good and bad.

A good one must be accepted, a bad one refused, and every answer have a status, headers and a body
that the document has for it.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, settings
from schemathesis import Case, openapi
from schemathesis.checks import ignored_auth
from schemathesis.core import NotSet

from tests.acceptance.raw_http import RawConnection
from tidewire.server.openapi import document
from tidewire.server.openapi.values import CURSOR
from tidewire.settings import Settings

if TYPE_CHECKING:
    from schemathesis.schemas import BaseSchema

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

KEY = "a key of a back end, for this test only"
OPEN = document(Settings())
CLOSED = document(Settings(api_key=KEY))

STREAMS = ["/ws", "/sse"]
"""They have no end that a client could wait for. Their queries are tried with HEAD."""

HELD = ["/longpoll", "/subscribe"]
"""They have the parameters of /poll, and can take a second to answer: fewer requests are made."""

SUBSCRIBING = {"/longpoll", "/poll", "/sse", "/subscribe"}
CURSORS = ("last_event_id", "cursor", "lastEventId")
"""What has one in a URL, the first that counts first; ``Last-Event-ID`` counts before them."""

POSITIONS = {*CURSORS, "consumer", "Last-Event-ID", "If-None-Match"}
"""What decides where a subscriber goes on."""


ONE_OF = ("all", "device")
"""Of what says where a publication goes there is one way only; a channel or a user are tried."""


def operations_of(made: dict[str, Any], *, systematic: bool = True) -> BaseSchema:
    """What requests are made from; not *systematic*: from chance alone."""
    schema = openapi.from_dict(made)
    phases = schema.config.phases
    phases.coverage.enabled = systematic
    phases.fuzzing.extra_data_sources.responses = False  # else no two runs were the same
    # A list that is too long for the document may be too long for a target first.
    refusals = schema.config.checks.negative_data_rejection
    refusals.expected_statuses = [*refusals.expected_statuses, "414"]
    return schema


answered_at_once = operations_of(OPEN).exclude(path=STREAMS + HELD).exclude(method="HEAD")
streams = operations_of(OPEN).include(path="/sse", method="HEAD")
held = operations_of(OPEN, systematic=False).include(path=HELD, method="GET")
closed = operations_of(CLOSED, systematic=False).exclude(path=STREAMS).exclude(method="HEAD")


@pytest.fixture(scope="module")
def server(start_shared: StartServer) -> ServerProcess:
    """An open server, whose long polls are held for a second if they do not say for how long."""
    return start_shared(longpoll_wait=1)


@pytest.fixture(scope="module")
def published(server: ServerProcess) -> str:
    """The id of a message in the channel ``news``, which the consumer ``billing`` was sent."""
    with RawConnection(server.address) as connection:
        id = connection.post("/publish", {"channel": "news", "data": 1}).json()["id"]
        assert connection.get("/poll?channels=news&since=start&consumer=billing").status == 200
    return str(id)


def keep_in_bounds(case: Case[Any]) -> None:
    """Make of any request one that means what the document says of its parts, and soon answered."""
    if case.media_type == "application/json" and not isinstance(case.body, NotSet):
        case.query = {}  # with parameters the body would be data, whatever it is
    given = [name for name in CURSORS if name in case.query]
    for name in given[0 if case.headers.get("Last-Event-ID") else 1 :]:
        # One cursor counts, and no other is read: what is wrong with that is not seen.
        assume(re.fullmatch(f"({CURSOR})?", str(case.query.pop(name))))
    channels = case.query.get("channels")
    names = channels.split(",") if isinstance(channels, str) else channels
    if isinstance(names, list) and len(names) > Settings().max_channels:
        assume(len({*map(str, names)}) == len(names))  # what is there twice counts once
    with contextlib.suppress(KeyError, TypeError, ValueError):
        if 1 <= float(case.query["wait"]) <= 60:
            case.query["wait"] = 1  # the server cannot hold a poll for less


def fit_together(case: Case[Any], published: str) -> None:
    """Make of parts that are valid a whole that is: what the document says of it in words."""
    if not isinstance(case.body, NotSet):
        case.body = as_written(case.body)
    query = as_written(case.query)
    path = case.operation.path
    if path == "/publish":
        if query or isinstance(case.body, NotSet) or case.media_type != "application/json":
            given = {name: value for name, value in query.items() if name not in ONE_OF}
            if "channel" not in given and "user" not in given:
                given["channel"] = "news"
            elif "channel" in given:
                given.pop("user", None)
            query = given
    elif path in ("/ack", "/nack"):
        query |= {"eventId": [published]}
    elif path == "/connections" and case.method == "DELETE":
        if not query.keys() & {"user", "session", "device", "channel"}:
            query["user"] = "42"
    elif path == "/receipts":
        query |= {"eventId": published}
    elif path in SUBSCRIBING:
        query = {"channels": ["news"]} | query
        assume(query.get("format") != "raw" or len(query["channels"]) == 1)
        assume(query.get("policy") != "latest" or "consumer" not in query)
        if "wait" in query or path == "/longpoll":  # have it answered at once
            query |= {"channels": ["news"], "since": "start"}
            query = {name: query[name] for name in query.keys() - POSITIONS}
            for name in POSITIONS:
                case.headers.pop(name, None)
    case.query = query


def as_written(value: Any) -> Any:
    """*value* with numbers as people write them: 1 and not 1.0, no powers of ten."""
    if isinstance(value, dict):
        return {name: as_written(item) for name, item in value.items()}
    if isinstance(value, list):
        return [as_written(item) for item in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() else round(value, 3)
    return value


def check(case: Case[Any], server: ServerProcess, published: str) -> None:
    """Send the request, and hold the answer against the document."""
    keep_in_bounds(case)
    assert case.meta is not None
    if case.meta.generation.mode.is_positive:
        fit_together(case, published)
    case.call_and_validate(base_url=server.url)


# Requests of all kinds


@pytest.mark.timeout(300)  # hundreds of requests, of which a fast machine makes fifty a second
@answered_at_once.parametrize()
@settings(max_examples=20)
def test_requests(case: Case[Any], server: ServerProcess, published: str) -> None:
    check(case, server, published)


@held.parametrize()
@settings(max_examples=8)
def test_requests_that_can_be_held(case: Case[Any], server: ServerProcess, published: str) -> None:
    check(case, server, published)


@streams.parametrize()
@settings(max_examples=10)
def test_queries_of_streams(case: Case[Any], server: ServerProcess, published: str) -> None:
    check(case, server, published)


@pytest.fixture(scope="module")
def closed_server(start_shared: StartServer) -> ServerProcess:
    """A server that asks who comes."""
    return start_shared(api_key=KEY, longpoll_wait=1)


@closed.parametrize()
@settings(max_examples=2)
def test_nobody_gets_in_without_credentials(case: Case[Any], closed_server: ServerProcess) -> None:
    keep_in_bounds(case)
    case.call_and_validate(
        base_url=closed_server.url, headers={"X-API-Key": KEY}, checks=[ignored_auth]
    )


# What every address is for


class Walk:
    """Calls addresses by hand; each answer must be as the document says."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self.address = server.address
        self._schema = openapi.from_dict(OPEN)
        self.seen: set[tuple[str, str]] = set()

    def __call__(
        self,
        status: int,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        body: Any = None,
        media: str = "application/json",
        path_parameters: dict[str, str] | None = None,
    ) -> Any:
        """Make one request; return the JSON of its answer."""
        parts: dict[str, Any] = {"query": query or {}, "headers": headers or {}}
        if path_parameters is not None:
            parts["path_parameters"] = path_parameters
        if body is not None:
            parts |= {"body": body, "media_type": media}
        case = self._schema[path][method].Case(**parts)
        answer = case.call_and_validate(base_url=self._server.url)
        assert answer.status_code == status, answer.text
        self.seen.add((path, method))
        self.headers = answer.headers
        return answer.json() if answer.content and path != "/metrics" else None


def test_a_walk_through_all_addresses(start: StartServer) -> None:
    walk = Walk(start(longpoll_wait=1, presence=True))
    news = {"channel": "news"}
    message = news | {"data": {"any": "JSON"}, "event": "headline"}
    first = walk(200, "POST", "/publish", body=message)
    batch = {"messages": [news | {"data": "aGk=", "encoding": "base64"}, news | {"data": None}]}
    last = walk(200, "POST", "/publish", body=batch)["results"][-1]
    walk(200, "POST", "/publish", query=news | {"ttl": 60}, body="text", media="text/plain")

    one = {"user": "42", "device": "tv", "data": 1}
    assert walk(200, "POST", "/publish", body=one)["channel"] == "user:tv#42"
    some = {"users": ["42", "43"], "data": 1}
    assert len(walk(200, "POST", "/publish", body=some)["results"]) == 2
    several = {"messages": [{"channels": ["a", "b"], "data": 1}, {"all": True, "data": 1}]}
    assert len(walk(200, "POST", "/publish", body=several)["results"]) == 3
    walk(200, "POST", "/publish", query={"all": "true"}, body="text", media="text/plain")

    channels = {"channels": ["news"]}
    billing = channels | {"consumer": "billing", "cursor": first["id"]}
    assert len(walk(200, "GET", "/poll", query=billing)["messages"]) == 3
    polled = walk(200, "GET", "/poll", query=channels)
    walk(304, "GET", "/poll", query=channels, headers={"If-None-Match": walk.headers["etag"][0]})
    assert walk(200, "GET", "/poll", query=channels | {"since": "start", "format": "raw"})
    assert walk(200, "GET", "/longpoll", query=channels | {"since": "-1"})["hasNew"]
    walk(204, "GET", "/longpoll", query=channels | {"cursor": polled["cursor"]})
    walk(200, "GET", "/subscribe", query=channels)
    walk(204, "GET", "/subscribe", query=channels | {"wait": 1})

    assert len(walk(200, "GET", "/history", query=news | {"limit": 2})["messages"]) == 2
    assert walk(200, "GET", "/presence", query=news | {"members": "true"})["count"] == 1
    walk(404, "GET", "/presence", query={"channel": "@presence:news"})
    ids = {"eventId": [last["id"]], "consumer": "billing"}
    walk(204, "POST", "/nack", query=ids | {"delay": 0.5})
    walk(204, "POST", "/ack", query=ids)
    walk(404, "POST", "/ack", query=ids | {"consumer": "nobody"})
    assert walk(200, "GET", "/receipts", query=news | {"eventId": last["id"]})["acknowledged"] == 1

    assert walk(200, "POST", "/negotiate", body={"transports": ["sse", "poll"]})["transports"]
    assert walk(200, "POST", "/tickets", body={"origin": "https://app.example"})["ticket"]
    walk(404, "POST", "/refresh", query={"session": "none"})
    walk(204, "POST", "/revoke", body={"user": "42"})

    with RawConnection(walk.address) as held:
        held.request("GET", "/sse?channels=news&device=phone")
        held.read_until(b"tidewire.ready")
        listed = walk(200, "GET", "/connections", query=news | {"limit": 5})
        named = {"id": str(listed["connections"][0]["id"])}
        assert walk(200, "GET", "/connections/{id}", path_parameters=named)["channels"] == ["news"]
        assert walk(200, "DELETE", "/connections/{id}", path_parameters=named)["disconnected"] == 1
    walk(404, "GET", "/connections/{id}", path_parameters=named)
    assert walk(200, "DELETE", "/connections", query={"device": "phone"})["disconnected"] == 0
    assert walk(200, "GET", "/nodes")["nodes"][0]["connections"] >= 1

    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        walk(200, "GET", path)
    assert walk(200, "DELETE", "/history", query=news)["channel"] == "news"
    assert walk(200, "DELETE", "/channels", query=news)["channel"] == "news"

    paths = OPEN["paths"].items()
    documented = {(path, method.upper()) for path, methods in paths for method in methods}
    heads = {(path, method) for path, method in documented if method == "HEAD"}
    assert documented == walk.seen | heads | {("/ws", "GET"), ("/sse", "GET")}


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(
    ("path", "status", "headers"), [("/ws", 101, HANDSHAKE), ("/sse", 200, {}), ("/ws", 426, {})]
)
def test_the_head_of_a_stream(
    server: ServerProcess, path: str, status: int, headers: dict[str, str | None]
) -> None:
    answer = OPEN["paths"][path]["get"]["responses"][str(status)]
    if "$ref" in answer:
        answer = OPEN["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    with RawConnection(server.address) as connection:
        connection.request("GET", f"{path}?channels=news", headers)
        found = connection.head()
    assert found[0] == status
    for name, header in answer["headers"].items():
        value = found[1].get(name.lower())
        assert value is not None or not header.get("required"), name
        assert value is None or header["schema"].get("const", value) == value, name
    if content := answer.get("content"):
        assert found[1]["content-type"] in content
