"""What each transport sends of who asks, and what it does when the server does not take it."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest

from tests.client.scripted_server import (
    Step,
    Then,
    answer,
    binary_frame,
    close_frame,
    event_stream,
    scripted,
    text_frame,
    web_socket,
)
from tests.client.test_reconnecting import block, message, page, ready
from tests.client.tokens import token_of
from tidewire.client import (
    Client,
    Credentials,
    Forbidden,
    Publication,
    Publisher,
    Refused,
    ServerAddress,
    Unanswered,
    Unauthorized,
    open_http,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.client.scripted_server import Request, ScriptedServer
    from tidewire.client import Delivery, Subscription

HOLD = Then.HOLD
TRANSPORTS = pytest.mark.parametrize("name", ["ws", "sse", "longpoll", "poll"])
STREAMS = pytest.mark.parametrize("name", ["ws", "sse"])
SECRET = "very.secret.indeed"


class Issuer:
    """Gives ``token-1``, ``token-2`` …, or tokens that are good for so many seconds."""

    def __init__(self, lasts: float | None = None) -> None:
        self.given: list[str] = []
        self._lasts = lasts

    async def __call__(self) -> str:
        number = len(self.given) + 1
        if self._lasts is None:
            self.given.append(f"token-{number}")
        else:
            self.given.append(token_of(jti=number, exp=time.time() + self._lasts))
        return self.given[-1]


def refusal(code: str, status: str = "401 Unauthorized") -> Step:
    problem = {"title": "Unauthorized", "detail": "the token is not accepted", "code": code}
    return answer(status, problem, Content_Type="application/problem+json")


def with_password(server: ScriptedServer) -> str:
    """The server's address with what a proxy before it asks for."""
    return server.url.replace("http://", f"http://user:{SECRET}@")


def good(name: str, number: int = 1) -> Step:
    """The answer that brings one message."""
    return {
        "ws": web_socket(text_frame(message(number)), then=HOLD),
        "sse": event_stream(block(message(number)), then=HOLD),
    }.get(name, answer(body=page(message(number), cursor=number, interval=1)))


def bearers(requests: list[Request]) -> list[str | None]:
    """The tokens that were shown."""
    shown = [request.headers.get("authorization") for request in requests]
    return [None if one is None else one.removeprefix("Bearer ") for one in shown]


async def first(name: str, url: str, **given: Any) -> Any:
    """The first message that comes to who shows this."""
    async with Client(url, **given) as client:
        return (await anext(client.subscribe(["news"], transport=name, cursor="e-0"))).data


@asynccontextmanager
async def listening(subscription: Subscription) -> AsyncGenerator[asyncio.Task[Delivery]]:
    """Inside of the block the subscription takes what comes, of which there is nothing yet."""
    task = asyncio.ensure_future(anext(subscription))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


# In headers alone


@TRANSPORTS
@pytest.mark.parametrize(
    ("given", "header", "value"),
    [("token", "authorization", f"Bearer {SECRET}"), ("api_key", "x-api-key", SECRET)],
)
async def test_it_is_in_the_header_of_each_request_and_nowhere_else(
    name: str, given: str, header: str, value: str
) -> None:
    steps = [good(name), good(name, 2)] if name.endswith("poll") else [good(name)]
    async with scripted(*steps) as server:
        secret: dict[str, Any] = {given: SECRET}
        async with Client(server.url, **secret) as client:
            subscription = client.subscribe(["news"], transport=name, cursor="e-0")
            for _ in steps:
                await anext(subscription)
        assert len(server.requests) == len(steps)
        for request in server.requests:
            assert request.headers[header] == value
            assert SECRET not in f"{request.path} {request.pairs}"
            assert len({"authorization", "x-api-key"} & request.headers.keys()) == 1


async def test_publishing_shows_it_too() -> None:
    receipt = answer(body={"channel": "news", "id": "e-1", "seq": 1})
    async with scripted(receipt) as server, Client(server.url, api_key=SECRET) as client:
        await client.publish("news", 1)
        assert server.requests[0].headers["x-api-key"] == SECRET


@TRANSPORTS
async def test_nothing_is_shown_where_nothing_is_given(name: str) -> None:
    async with scripted(good(name)) as server:
        assert await first(name, server.url) == 1
        assert {"authorization", "x-api-key"}.isdisjoint(server.requests[0].headers)


@TRANSPORTS
@pytest.mark.parametrize("given", ["token", "api_key"])
async def test_another_server_that_it_is_sent_to_is_not_shown_it(name: str, given: str) -> None:
    async with scripted(good(name)) as other:
        scheme = "ws" if name == "ws" else "http"
        where = f"{other.url.replace('http', scheme)}/elsewhere"
        async with scripted(answer("307 Temporary Redirect", Location=where)) as server:
            assert await first(name, server.url, **{given: SECRET}) == 1
        assert other.requests[0].path == "/elsewhere"
        assert {"authorization", "x-api-key"}.isdisjoint(other.requests[0].headers)


async def test_a_websocket_does_not_follow_to_where_no_certificate_is_checked() -> None:
    tls = answer("307 Temporary Redirect", Location="wss://127.0.0.1:1/")
    async with scripted(tls) as server:
        with pytest.raises(Refused, match="use its https address"):
            await first("ws", server.url, token=SECRET)


@TRANSPORTS
async def test_a_key_gets_through_a_proxy_that_asks_for_a_password(name: str) -> None:
    async with scripted(good(name)) as server:
        assert await first(name, with_password(server), api_key="key") == 1
        headers = server.requests[0].headers
        pair = base64.b64encode(f"user:{SECRET}".encode()).decode()
        assert headers["authorization"] == f"Basic {pair}"
        assert headers["x-api-key"] == "key"


@TRANSPORTS
async def test_neither_logs_nor_errors_have_it(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """All that is logged is written down here, at its most detailed."""
    caplog.set_level(logging.DEBUG)
    for logger in ("tidewire.client", "tidewire.client.websockets", "websockets", "httpx"):
        caplog.set_level(logging.DEBUG, logger=logger)
    ways: list[dict[str, Any]]
    ways = [{"token": SECRET}, {"api_key": SECRET}, {"get_token": lambda: SECRET}]
    for given in ways:
        steps = [good(name), refusal("invalid_token"), refusal("invalid_token")]
        async with scripted(*steps) as server, Client(with_password(server), **given) as client:
            await anext(client.subscribe(["news"], transport=name, cursor="e-0"))
            with pytest.raises(Unauthorized) as raised:
                await anext(client.subscribe(["news"], transport=name, cursor="e-0"))
            assert f"{client!r}" == object.__repr__(client)
        assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert ("HTTP" in caplog.text) is (name != "ws")
    assert SECRET not in caplog.text


# Refused


@TRANSPORTS
@pytest.mark.parametrize("code", ["invalid_token", "token_expired"])
async def test_after_a_401_it_goes_on_with_a_new_token(name: str, code: str) -> None:
    issuer = Issuer()
    async with scripted(refusal(code), good(name)) as server:
        assert await first(name, server.url, get_token=issuer) == 1
        assert bearers(server.requests) == ["token-1", "token-2"]
        assert server.requests[0].pairs == server.requests[1].pairs


@TRANSPORTS
async def test_a_new_token_that_is_refused_too_is_the_end(name: str) -> None:
    issuer = Issuer()
    async with scripted(refusal("token_expired"), refusal("invalid_token")) as server:
        with pytest.raises(Unauthorized, match="a new one was refused, too") as raised:
            await first(name, server.url, get_token=issuer)
        assert (raised.value.status, raised.value.code) == (401, "invalid_token")
        assert bearers(server.requests) == ["token-1", "token-2"]


@TRANSPORTS
@pytest.mark.parametrize(
    ("given", "code"),
    [("token", "token_expired"), ("api_key", "unknown_key"), ("get_token", "no_credentials")],
)
async def test_what_no_other_token_would_change_is_the_end_at_once(
    name: str, given: str, code: str
) -> None:
    value = (lambda: SECRET) if given == "get_token" else SECRET
    async with scripted(refusal(code)) as server:
        with pytest.raises(Unauthorized, match=r"not accepted \(HTTP 401\)$") as raised:
            await first(name, server.url, **{given: value})
        assert raised.value.code == code
        assert len(server.requests) == 1


@TRANSPORTS
async def test_who_may_not_is_told_so(name: str) -> None:
    async with scripted(refusal("forbidden", "403 Forbidden")) as server:
        with pytest.raises(Forbidden):
            await first(name, server.url, get_token=Issuer())
        assert len(server.requests) == 1


@STREAMS
async def test_a_stream_that_its_token_ends_goes_on_where_it_was(name: str) -> None:
    close = {"type": "close", "code": 4401, "reason": "the token has expired"}
    envelopes = (ready(0), message(1), close)
    step = {
        "ws": web_socket(*map(text_frame, envelopes), close_frame(4401)),
        "sse": event_stream(*map(block, envelopes), then=Then.CLOSE),
    }[name]
    issuer = Issuer()
    async with scripted(step, good(name, 2)) as server:
        async with Client(server.url, get_token=issuer) as client:
            subscription = client.subscribe(["news"], transport=name)
            assert [(await anext(subscription)).data for _ in range(2)] == [1, 2]
        assert bearers(server.requests) == ["token-1", "token-2"]
        assert server.requests[1].query["cursor"] == "e-1"


@STREAMS
async def test_a_stream_that_no_token_opens_is_the_end(name: str) -> None:
    close = {"type": "close", "code": 4401, "reason": "not welcome"}
    step = {
        "ws": web_socket(text_frame(close), close_frame(4401), then=Then.CLOSE),
        "sse": event_stream(block(close), then=Then.CLOSE),
    }[name]
    async with scripted(step, step) as server:
        with pytest.raises(Unauthorized, match="4401 not welcome; a new one was refused, too"):
            await first(name, server.url, get_token=Issuer())
        assert bearers(server.requests) == ["token-1", "token-2"]


async def test_a_publish_is_sent_again_with_the_same_key() -> None:
    receipt = answer(body={"channel": "news", "id": "e-1", "seq": 1})
    async with scripted(refusal("token_expired"), receipt) as server:
        async with Client(server.url, get_token=Issuer()) as client:
            assert (await client.publish("news", 1)).seq == 1
        assert bearers(server.requests) == ["token-1", "token-2"]
        assert server.requests[0].body == server.requests[1].body


async def test_a_get_token_that_fails_is_asked_again_while_there_is_time() -> None:
    async def get_token() -> str:
        raise ConnectionError

    async with scripted() as server:
        address = ServerAddress.parse(server.url)
        async with open_http(address, Credentials(get_token=get_token)) as http:
            with pytest.raises(Unanswered, match="get_token has failed: ConnectionError"):
                await Publisher(http, address, within=0.1).publish(
                    [Publication("news", msgspec.Raw(b"1"))]
                )
        assert server.requests == []


# In good time


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_a_websocket_is_told_of_each_next_token(codec: Literal["json", "msgpack"]) -> None:
    issuer = Issuer(lasts=0.5)
    told: list[dict[str, Any]] = []
    decode = json.loads if codec == "json" else msgspec.msgpack.decode

    def frame(envelope: dict[str, Any]) -> bytes:
        if codec == "json":
            return text_frame(envelope)
        return binary_frame(msgspec.msgpack.encode(envelope))

    def talk(payload: bytes) -> bytes:
        told.append(decode(payload))
        return frame({"type": "ok", "ref": told[-1]["ref"], "expires": 1})

    step = web_socket(frame(ready(0)), talk=talk, codec=codec)
    async with scripted(step) as server, Client(server.url, get_token=issuer) as client:
        async with listening(client.subscribe(["news"], codec=codec)):
            await server.until(lambda: len(told) >= 3)
        assert [one["type"] for one in told] == ["refresh"] * len(told)
        assert [one["token"] for one in told] == issuer.given[1 : len(told) + 1]
        assert bearers(server.requests) == issuer.given[:1]


async def test_the_server_of_an_event_stream_is_told_too() -> None:
    issuer = Issuer(lasts=0.5)
    renewed = answer(body={"session": "s", "expires": 1})
    stream = event_stream(block(ready(0)), then=HOLD)
    async with scripted(stream, renewed, renewed) as server:
        async with (
            Client(server.url, get_token=issuer) as client,
            listening(client.subscribe(["news"], transport="sse")),
        ):
            await server.until(lambda: len(server.requests) >= 3)
        stream_request, *refreshes = server.requests
        for request in refreshes:
            assert (request.method, request.path) == ("POST", "/refresh")
            assert request.query == {"session": "s"}
        assert bearers(server.requests) == issuer.given[: len(server.requests)]
        assert stream_request.path == "/sse"


async def test_polls_show_the_next_token_in_time() -> None:
    issuer = Issuer(lasts=0.5)
    nothing = answer("204 No Content", Tidewire_Cursor="e-0")
    async with scripted(*[nothing] * 100_000) as server:
        async with (
            Client(server.url, get_token=issuer) as client,
            listening(client.subscribe(["news"], transport="longpoll", cursor="e-0")),
        ):
            await server.until(lambda: len(issuer.given) >= 3)
        shown = list(dict.fromkeys(bearers(server.requests)))
        assert shown == issuer.given[: len(shown)]


async def test_a_next_token_that_is_refused_leaves_the_stream_as_it_is() -> None:
    """Until the one before it ends it."""
    issuer = Issuer(lasts=0.5)
    close = {"type": "close", "code": 4401, "reason": "the token has expired"}

    def talk(payload: bytes) -> bytes:
        error = {"type": "error", "ref": 1, "code": "invalid_token", "message": "not accepted"}
        return b"".join(map(text_frame, (error, message(1), close))) + close_frame(4401)

    async with scripted(web_socket(text_frame(ready(0)), talk=talk), good("ws", 2)) as server:
        async with Client(server.url, get_token=issuer) as client:
            subscription = client.subscribe(["news"])
            assert [(await anext(subscription)).data for _ in range(2)] == [1, 2]
        old, new = bearers(server.requests)
        assert old == issuer.given[0]
        assert new in issuer.given[1:]


async def test_a_server_that_has_not_the_stream_is_no_reason_to_end_it() -> None:
    """Behind a balancer the request for the next token may come to another one."""
    issuer = Issuer(lasts=0.5)
    problem = {"title": "Not found", "detail": "no such session here", "code": "unknown_session"}
    elsewhere = answer("404 Not Found", problem, Content_Type="application/problem+json")
    stream = event_stream(block(ready(0)), then=HOLD)
    async with (
        scripted(stream, elsewhere) as server,
        Client(server.url, get_token=issuer) as client,
        listening(client.subscribe(["news"], transport="sse")) as waiting,
    ):
        await server.until(lambda: len(server.requests) == 2)
        assert not waiting.done()


async def test_an_upload_is_told_of_the_next_token_too(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    issuer = Issuer(lasts=0.5)
    commands: list[dict[str, Any]] = []

    def talk(payload: bytes) -> bytes:
        if not payload.startswith(b"{"):
            return b""
        commands.append(json.loads(payload))
        ref = commands[-1]["ref"]
        if commands[-1]["type"] == "upload":
            return text_frame({"type": "ok", "ref": ref, "upload": "x", "number": 7, "offset": 0})
        refused = {"type": "error", "ref": ref, "code": "invalid_token", "message": "no"}
        if len(commands) == 2:
            return text_frame(refused)
        return text_frame({"type": "ok", "ref": 1, "id": "e-9", "channel": "files", "seq": 3})

    async with scripted(web_socket(text_frame(ready(0)), talk=talk)) as server:
        async with Client(server.url, get_token=issuer) as client:
            assert (await client.upload("files", path)).id == "e-9"
        assert [one["type"] for one in commands] == ["upload", "refresh", "refresh"]
        assert [one["token"] for one in commands[1:]] == issuer.given[1:3]
        assert bearers(server.requests) == issuer.given[:1]
