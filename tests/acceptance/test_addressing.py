"""To one user, one device, some, or everybody: on all four transports, live and resumed."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.acceptance.credentials import KEY, SECRET, bearer, token
from tests.acceptance.subscribers import TRANSPORTS, RefusedError, collect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.checker import Envelope
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

TOKEN_42 = token("42", device="tv")


@pytest.fixture(scope="module")
def server(start_shared: StartServer) -> ServerProcess:
    return start_shared(api_key=KEY, token_secret=SECRET)


@pytest.fixture(scope="module")
def http(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"X-API-Key": KEY}) as client:
        yield client


def publish(http: httpx.Client, target: str = "/publish", **publication: Any) -> Any:
    answer = http.post(target, json=publication)
    assert answer.status_code == 200, answer.text
    return answer.json()


def data(envelopes: list[Envelope]) -> list[tuple[str, object]]:
    return [(one["channel"], one["data"]) for one in envelopes if one["type"] == "message"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_reaches_a_user(
    server: ServerProcess, http: httpx.Client, transport: str
) -> None:
    ready = asyncio.Event()
    shown = {"token": TOKEN_42, "device": "tv"}

    def is_last(envelope: Envelope) -> bool:
        ready.set()
        return envelope.get("data") == "last"

    begin = publish(http, channel="elsewhere", data=0)["id"]
    listening = asyncio.create_task(
        collect(
            *(server.url, transport, ["@me", "@all"]),
            until=is_last,
            cursor=begin,
            parameters=shown,
        )
    )
    if transport in ("ws", "sse"):
        await ready.wait()
    publish(http, user="42", data="all devices")
    publish(http, user="42", device="tv", data="the tv")
    publish(http, user="42", device="phone", data="the phone")
    publish(http, user="43", data="another")
    some = publish(http, users=["41", "42"], data="some")
    several = publish(http, channels=["user:#42", "elsewhere"], data="several")
    publish(http, "/publish?user=42&device=tv", data="by the address")
    publish(http, messages=[{"all": True, "data": "all"}, {"user": "42", "data": "last"}])
    envelopes = await listening
    assert data(envelopes) == [
        ("user:#42", "all devices"),
        ("user:tv#42", "the tv"),
        ("user:#42", "some"),
        ("user:#42", "several"),
        ("user:tv#42", {"data": "by the address"}),
        ("@all", "all"),
        ("user:#42", "last"),
    ]
    if transport in ("ws", "sse"):
        assert envelopes[0]["channels"] == ["user:#42", "user:tv#42", "@all"]
    assert [one["channel"] for one in some["results"]] == ["user:#41", "user:#42"]
    assert [one["channel"] for one in several["results"]] == ["user:#42", "elsewhere"]

    # Elsewhere, and from where it was: the same names, the other transport's cursor.
    cursor = next(one["id"] for one in envelopes if one.get("data") == "some")
    for other in TRANSPORTS:
        again = await collect(
            server.url,
            other,
            ["@me", "@all"],
            until=lambda envelope: envelope.get("data") == "last",
            cursor=cursor,
            parameters=shown,
        )
        assert data(again) == data(envelopes)[3:]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("shown", "status"), [({}, 401), ({"api_key": KEY}, 403)])
async def test_who_is_no_user_has_no_channel(
    server: ServerProcess, transport: str, shown: dict[str, str], status: int
) -> None:
    with pytest.raises(RefusedError) as refused:
        await collect(server.url, transport, ["@me"], until=bool, parameters=shown)
    assert refused.value.status == status


async def test_over_a_websocket(server: ServerProcess) -> None:
    by_token = bearer(token("7", {"*": ["publish"], "user:*#8": ["publish"]}))
    url = f"{server.url.replace('http', 'ws')}/ws?device=tv"
    async with connect(url, additional_headers=by_token) as socket:
        assert json.loads(await socket.recv())["channels"] == []

        async def ask(**command: Any) -> Any:
            await socket.send(json.dumps({"ref": 1, **command}))
            while (answer := json.loads(await socket.recv())).get("ref") != 1:
                received.append(answer)
            return answer

        received: list[Any] = []
        ok = await ask(type="subscribe", channels=["@me", "@all"])
        assert ok["channels"] == ["user:#7", "user:tv#7", "@all"]
        results = (await ask(type="publish", users=["8", "8"], data=1))["results"]
        assert [one["channel"] for one in results] == ["user:#8"]
        assert (await ask(type="publish", user="8", device="tv", data=1))["channel"] == "user:tv#8"
        assert (await ask(type="publish", all=True, data="hello"))["channel"] == "@all"
        assert (await ask(type="publish", users=["8", "9"], data=1))["code"] == "forbidden"
        assert (await ask(type="publish", user="7", data=1))["code"] == "forbidden"
        assert (await ask(type="history", channel="@me"))["channel"] == "user:#7"
        assert (await ask(type="unsubscribe", channels=["@me"]))["type"] == "ok"
        assert (await ask(type="publish", all=True, data="bye"))["type"] == "ok"
        assert (await ask(type="ping"))["type"] == "ok"
        assert [one["data"] for one in received] == ["hello", "bye"]
        ok = await ask(type="subscribe", channels={"@me": "start", "user:#8": "now"})
        assert ok["code"] == "forbidden"
        ok = await ask(type="subscribe", channels={"@me": "start"})
        assert ok["channels"] == ["user:#7", "user:tv#7"]


def test_each_recipient_must_be_allowed(server: ServerProcess, http: httpx.Client) -> None:
    headers = bearer(token("7", {"user:#8": ["publish"]}))

    def status(**publication: Any) -> int:
        return httpx.post(
            f"{server.url}/publish", json={"data": 1, **publication}, headers=headers
        ).status_code

    before = http.get("/history", params={"channel": "user:#8"}).json()["messages"]
    assert status(user="8") == 200
    assert status(user="8", device="tv") == 403
    assert status(users=["8", "9"]) == 403
    assert status(channels=["user:#8", "news"]) == 403
    assert status(all=True) == 403
    assert status(user="7") == 403, "one's own channel is for others to publish to"
    after = http.get("/history", params={"channel": "user:#8"}).json()["messages"]
    assert len(after) == len(before) + 1, "what is refused is published to nobody"


def test_too_many_recipients(http: httpx.Client) -> None:
    names = [str(n) for n in range(1_001)]
    assert len(publish(http, users=names[:1_000], data=1)["results"]) == 1_000
    answer = http.post("/publish", json={"users": names, "data": 1})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    answer = http.post("/publish", json={"users": names[:100], "data": "x" * 100_000})
    assert answer.status_code == 413
    assert "copies" in answer.json()["detail"]


def test_equal_polls_of_users_are_not_equal(server: ServerProcess, http: httpx.Client) -> None:
    """Answers to polls are shared; not those that have what is a user's own."""
    publish(http, user="anna", data="for anna")
    publish(http, user="ben", data="for ben")
    for _ in range(3):
        for user in ("anna", "ben"):
            answer = httpx.get(
                f"{server.url}/poll?channels=@me&since=start", headers=bearer(token(user))
            )
            assert [one["data"] for one in answer.json()["messages"]] == [f"for {user}"]


async def test_what_is_joined_unasked(start: StartServer) -> None:
    server = start(
        api_key=KEY, token_secret=SECRET, auto_channels="@me,@all", allow_subscribe="anyone"
    )
    with httpx.Client(base_url=server.url, headers={"X-API-Key": KEY}) as http:
        publish(http, user="1", data="yours")
        publish(http, all=True, data="everybody's")
        publish(http, channel="news", data="news")
    expected: dict[str, list[object]] = {
        "": ["everybody's", "news"],
        token("1"): ["yours", "everybody's", "news"],
        token("1", limits={"channels": 1}): ["yours", "everybody's", "news"],
        token("2"): ["everybody's", "news"],
    }
    for transport in TRANSPORTS:
        for shown, messages in expected.items():
            envelopes = await collect(
                server.url,
                transport,
                ["news"],
                until=lambda envelope: envelope.get("data") == "news",
                since="start",
                parameters={"token": shown} if shown else {},
            )
            assert [one for _, one in data(envelopes)] == messages, (transport, shown)
    # Equal addresses: what a stranger was answered is not what a user gets.
    for _ in range(3):
        for shown, messages in expected.items():
            headers = bearer(shown) if shown else {}
            async with httpx.AsyncClient(base_url=server.url) as client:
                answer = await client.get("/poll?channels=news&since=start", headers=headers)
            assert [one["data"] for one in answer.json()["messages"]] == messages


async def test_a_session_keeps_what_was_joined_unasked(start: StartServer) -> None:
    server = start(auto_channels="@all")
    url = f"{server.url.replace('http', 'ws')}/ws"
    async with connect(url) as socket:
        ready = json.loads(await socket.recv())
        assert ready["channels"] == ["@all"]
        await socket.send(json.dumps({"type": "unsubscribe", "channels": ["@all"], "ref": 1}))
        await socket.recv()
        await socket.send(json.dumps({"type": "subscribe", "channels": ["a"], "ref": 2}))
        await socket.recv()
    async with connect(f"{url}?session={ready['session']}") as socket:
        assert json.loads(await socket.recv())["channels"] == ["a"]


def test_negotiating_for_ones_own_channels(server: ServerProcess) -> None:
    wishes = {"channels": ["@me", "@all"]}
    url = f"{server.url}/negotiate"
    assert httpx.post(url, json=wishes, headers=bearer(token("1"))).json()["user"] == "1"
    assert httpx.post(url, json=wishes, headers={"X-API-Key": KEY}).status_code == 403


async def test_what_is_joined_unasked_takes_nobodys_place(start: StartServer) -> None:
    server = start(auto_channels="@all,news", max_channels=2)
    async with connect(f"{server.url.replace('http', 'ws')}/ws?channels=a,b") as socket:
        assert json.loads(await socket.recv())["channels"] == ["a", "b", "@all", "news"]
        await socket.send(json.dumps({"type": "unsubscribe", "channels": ["a"], "ref": 1}))
        await socket.send(json.dumps({"type": "subscribe", "channels": ["c"], "ref": 2}))
        for ref in (1, 2):
            answer = json.loads(await socket.recv())
            assert (answer["type"], answer["ref"]) == ("ok", ref)
