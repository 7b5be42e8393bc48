"""Publishing and reading history against a server that loses answers and breaks connections."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.client.scripted_server import Step, Then, answer, scripted
from tidewire.client import (
    Gap,
    Message,
    Publication,
    Publisher,
    Receipt,
    Refused,
    ServerAddress,
    Unanswered,
    history,
    open_http,
)

if TYPE_CHECKING:
    from tests.client.scripted_server import ScriptedServer

LOST = Step(b"", Then.RESET)


def publication(data: Any, key: str | None = None) -> Publication:
    return Publication("news", msgspec.Raw(json.dumps(data).encode()), key=key)


def receipt(number: int) -> dict[str, Any]:
    return {"channel": "news", "id": f"e-{number}", "seq": number}


class Time:
    """A clock that only its own sleeps move."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def publish(server: ScriptedServer, *publications: Publication) -> list[Receipt]:
    time = Time()
    address = ServerAddress.parse(server.url)
    async with open_http(address) as http:
        publisher = Publisher(http, address, clock=time.clock, sleep=time.sleep)
        return await publisher.publish(publications)


async def test_a_lost_answer_is_asked_for_again_with_the_same_key() -> None:
    async with scripted(LOST, LOST, answer(body=receipt(1))) as server:
        assert await publish(server, publication("hello")) == [Receipt("news", "e-1", 1)]
        bodies = [json.loads(request.body) for request in server.requests]
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0]["data"] == "hello"
    assert len(bodies[0]["key"]) >= 16


async def test_keys_differ_between_messages_and_given_ones_are_kept() -> None:
    results = {"results": [receipt(1), receipt(2), receipt(3)]}
    async with scripted(answer(body=results)) as server:
        receipts = await publish(server, publication(1), publication(2), publication(3, key="mine"))
        [request] = server.requests
    assert [one.seq for one in receipts] == [1, 2, 3]
    keys = [one["key"] for one in json.loads(request.body)["messages"]]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"
    assert request.path == "/publish"
    assert request.headers["content-type"] == "application/json"


async def test_data_is_sent_as_it_was_written() -> None:
    exact = Publication("news", msgspec.Raw(b'{"b":1.00,"a":12345678901234567890}'))
    async with scripted(answer(body=receipt(1))) as server:
        await publish(server, exact)
        [request] = server.requests
    assert b'"data":{"b":1.00,"a":12345678901234567890}' in request.body


async def test_nothing_to_publish_needs_no_server() -> None:
    async with scripted() as server:
        assert await publish(server) == []
        assert server.requests == []


async def test_a_busy_server_is_waited_for() -> None:
    busy = answer("503 Service Unavailable", Retry_After="2")
    async with scripted(busy, answer(body=receipt(1))) as server:
        assert await publish(server, publication(1)) == [Receipt("news", "e-1", 1)]


async def test_a_refusal_is_not_tried_again() -> None:
    async with scripted(answer("413 Content Too Large")) as server:
        with pytest.raises(Refused) as raised:
            await publish(server, publication(1))
        assert len(server.requests) == 1
    assert raised.value.status == 413


async def test_it_gives_up_within_its_time() -> None:
    async with scripted() as server:
        with pytest.raises(Unanswered):
            await publish(server, publication(1))
        # The first four waits take 15 s at most together, whatever is drawn.
        assert len(server.requests) >= 5


async def test_an_answer_that_is_none_is_not_taken_for_one() -> None:
    async with scripted(answer(body=b"<html>")) as server:
        with pytest.raises(Refused, match="not a Tidewire answer"):
            await publish(server, publication(1))


def page(first: int, last: int, **more: Any) -> dict[str, Any]:
    messages = [
        {"type": "message", "id": f"e-{n}", "channel": "news", "seq": n, "time": 5, "data": n}
        for n in range(first, last + 1)
    ]
    return {"messages": messages, "cursor": f"e-{last}", "hasNew": True, "recovered": True,
            "gaps": [], **more}  # fmt: skip


async def read(server: ScriptedServer, **wanted: Any) -> list[Any]:
    address = ServerAddress.parse(server.url)
    async with (
        open_http(address) as http,
        aclosing(history(http, address, "news", **wanted)) as messages,
    ):
        return [one.envelope async for one in messages]


async def test_history_reads_page_after_page() -> None:
    async with scripted(
        answer(body=page(1, 3, more=True)),
        answer(body=page(4, 5, more=True)),
        answer(body=page(6, 6)),
    ) as server:
        read_back = await read(server, since="start")
        queries = [request.query for request in server.requests]
    assert [one.data for one in read_back] == [1, 2, 3, 4, 5, 6]
    assert queries == [
        {"channel": "news", "since": "start"},
        {"channel": "news", "cursor": "e-3"},
        {"channel": "news", "cursor": "e-5"},
    ]


async def test_history_ends_at_its_limit() -> None:
    async with scripted(
        answer(body=page(1, 3, more=True)), answer(body=page(4, 5, more=True))
    ) as server:
        read_back = await read(server, limit=5)
        assert [request.query["limit"] for request in server.requests] == ["5", "2"]
    assert [one.data for one in read_back] == [1, 2, 3, 4, 5]


async def test_history_tells_gaps_first() -> None:
    gap = {"type": "gap", "id": "e-4", "channel": "news", "reason": "expired"}
    async with scripted(answer(body=page(5, 5, gaps=[gap]))) as server:
        read_back = await read(server, cursor="e-1")
        assert server.requests[0].query == {"channel": "news", "cursor": "e-1"}
    assert [type(one) for one in read_back] == [Gap, Message]


async def test_one_to_several_has_a_receipt_for_each() -> None:
    results = {"results": [{"channel": f"user:#{n}", "id": f"e-{n}", "seq": 1} for n in (1, 2)]}
    async with scripted(answer(body=results)) as server:
        one = msgspec.structs.replace(publication(1), channel=None, users=["1", "2"])
        receipts = await publish(server, one)
        [request] = server.requests
    assert [receipt.channel for receipt in receipts] == ["user:#1", "user:#2"]
    assert json.loads(request.body)["users"] == ["1", "2"]
