"""Consumers: what they acknowledge, how, and when; and that nothing unfinished is acknowledged."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.client.scripted_server import (
    Request,
    Step,
    Then,
    answer,
    binary_frame,
    scripted,
    text_frame,
    web_socket,
)
from tidewire.client import Acknowledger, Backoff, Client, Gap, Refused, Watcher
from tidewire.client.envelope import Message

if TYPE_CHECKING:
    from collections.abc import Callable

HOLD = Then.HOLD
OK = answer("204 No Content")


def message(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "message", "id": f"e-{number}", "channel": "jobs", "seq": number,
            "time": 5, "data": number, **more}  # fmt: skip


def poll(*messages: dict[str, Any]) -> Step:
    return answer(body={"messages": list(messages), "cursor": messages[-1]["id"], "more": True})


def acknowledged(requests: list[Request]) -> list[tuple[list[str], bool]]:
    """The ids of each acknowledgement, and whether they stood for themselves alone."""
    found = []
    for one in requests:
        if one.path == "/ack":
            assert one.method == "POST"
            assert one.query["consumer"] == "worker"
            ids = [value for name, value in one.pairs if name == "eventId"]
            found.append((ids, one.query.get("single") == "true"))
    return found


async def test_acknowledgements_go_together_and_the_last_at_the_close() -> None:
    async with scripted(poll(message(1), message(2), message(3)), OK) as server:
        async with Client(server.url) as client:
            jobs = client.subscribe(["jobs"], transport="poll", consumer="worker")
            for number in (1, 2, 3):
                one = await anext(jobs)
                assert one.data == number
                await one.ack()
        assert server.requests[0].query["consumer"] == "worker"
        assert acknowledged(server.requests) == [(["e-3"], False)]


async def test_sixty_four_do_not_wait_for_the_time_to_be_over() -> None:
    batch = [message(number) for number in range(1, 65)]
    async with scripted(OK, OK) as server, Client(server.url) as client:
        acks = Acknowledger(client.operations, "worker", every=3600)
        for one in batch:
            envelope = msgspec.convert(one, Message)
            assert acks.give(envelope)
            acks.finish(envelope.id)
        await server.until(lambda: bool(server.requests))
        await acks.close()
        assert acknowledged(server.requests)[0] == (["e-64"], False)


async def test_what_is_at_work_is_not_acknowledged_by_what_comes_after_it() -> None:
    async with scripted(poll(message(1), message(2), message(3)), OK, OK) as server:
        async with Client(server.url) as client:
            jobs = client.subscribe(["jobs"], transport="poll", consumer="worker")
            one, two, three = [await anext(jobs) for _ in range(3)]
            await one.ack()
            await three.ack()
            await jobs.flush()
        assert two.deliveries == 1
        assert acknowledged(server.requests) == [(["e-1"], False), (["e-3"], True)]


async def test_automatic_is_what_the_loop_has_asked_beyond() -> None:
    steps = poll(message(1), message(2), message(3)), OK
    async with scripted(*steps) as server, Client(server.url) as client:
        async with client.subscribe(
            ["jobs"], transport="poll", consumer="worker", ack="auto"
        ) as jobs:
            async for one in jobs:
                if one.data == 3:
                    break  # not finished: the loop did not ask for another
        assert acknowledged(server.requests) == [(["e-2"], False)]


async def test_a_refused_message_is_told_at_once_and_left_out_of_the_rest() -> None:
    steps = poll(message(1), message(2), message(3)), OK, OK, OK
    async with scripted(*steps) as server, Client(server.url) as client:
        async with client.subscribe(
            ["jobs"], transport="poll", consumer="worker", ack="auto"
        ) as jobs:
            await (await anext(jobs)).nack(delay=2.5)
            await (await anext(jobs)).nack(reject=True)
            await (await anext(jobs)).ack()
        nacks = [dict(one.query) for one in server.requests if one.path == "/nack"]
        assert nacks == [
            {"eventId": "e-1", "consumer": "worker", "delay": "2.5"},
            {"eventId": "e-2", "consumer": "worker", "reject": "true"},
        ]
        # The first is to come again, so the third stands for itself; of the second all is said.
        assert acknowledged(server.requests) == [(["e-3"], True)]


async def test_what_was_finished_does_not_reach_the_program_again() -> None:
    """It came again because its acknowledgement was still under way, or had got lost."""
    again = [message(1, deliveries=2), message(2, deliveries=2), message(3)]
    steps = poll(message(1), message(2)), poll(*again), OK, OK
    async with scripted(*steps) as server, Client(server.url) as client:
        acks = Acknowledger(client.operations, "worker", every=3600)
        jobs = client.subscribe(["jobs"], transport="poll", consumer="worker")
        jobs._acks = acks
        await anext(jobs)
        await (await anext(jobs)).ack()
        one, three = await anext(jobs), await anext(jobs)
        assert [(each.data, each.deliveries) for each in (one, three)] == [(1, 2), (3, 1)]


async def test_a_message_that_comes_again_does_not_move_the_position_back() -> None:
    lost = Step(b"", Then.RESET)
    steps = poll(message(5)), poll(message(6), message(1, deliveries=2)), lost
    async with scripted(*steps, *steps) as server, Client(server.url) as client:
        jobs = client.subscribe(["jobs"], transport="poll", consumer="worker")
        taken = [(await anext(jobs)).data for _ in range(3)]
        assert taken == [5, 6, 1]
        assert jobs.position.cursor == "e-6"


async def test_a_lost_answer_is_asked_for_again() -> None:
    lost = Step(b"", Then.RESET)
    steps = poll(message(1)), lost, lost, OK, OK
    async with scripted(*steps) as server, Client(server.url) as client:
        acks = Acknowledger(client.operations, "worker", every=0, backoff=Backoff(draw=lambda: 0.0))
        jobs = client.subscribe(["jobs"], transport="poll", consumer="worker")
        jobs._acks = acks
        await (await anext(jobs)).ack()
        await server.until(lambda: len(acknowledged(server.requests)) == 3)
        assert acknowledged(server.requests) == [(["e-1"], False)] * 3


async def test_a_refused_acknowledgement_ends_the_subscription_with_the_reason() -> None:
    problem = {"title": "Not found", "detail": "there is no consumer 'worker'",
               "code": "unknown_consumer"}  # fmt: skip
    gone = answer("404 Not Found", problem, Content_Type="application/problem+json")
    steps = poll(message(1)), gone, poll(message(2)), gone, gone
    async with scripted(*steps) as server, Client(server.url) as client:
        acks = Acknowledger(client.operations, "worker", every=0)
        jobs = client.subscribe(["jobs"], transport="poll", consumer="worker")
        jobs._acks = acks
        await (await anext(jobs)).ack()
        await server.until(lambda: bool(acknowledged(server.requests)))
        with pytest.raises(Refused, match="there is no consumer 'worker'"):
            await anext(jobs)
        with pytest.raises(Refused, match="there is no consumer 'worker'"):
            await jobs.flush()


async def test_too_many_singles_wait_for_the_one_before_them() -> None:
    problem = {"title": "Conflict", "detail": "too many", "code": "too_many_single_acks"}
    full = answer("409 Conflict", problem, Content_Type="application/problem+json")
    async with scripted(full, OK, OK) as server, Client(server.url) as client:
        acks = Acknowledger(client.operations, "worker", every=0, backoff=Backoff(draw=lambda: 0.0))
        for number in (1, 2):
            acks.give(msgspec.convert(message(number), Message))
        acks.finish("e-2")
        await server.until(lambda: bool(server.requests))
        acks.finish("e-1")
        await server.until(lambda: (["e-2"], False) in acknowledged(server.requests))
        await acks.close()


# Over a WebSocket


def talk(said: list[dict[str, Any]], *answers: dict[str, Any]) -> Callable[[bytes], bytes]:
    """Answers to commands, in turn, each with the ``ref`` of its command."""
    left = list(answers)

    def reply(frame: bytes) -> bytes:
        command = json.loads(frame)
        ref = command.pop("ref")
        said.append(command)
        return text_frame(left.pop(0) | {"ref": ref})

    return reply


async def test_a_websocket_acknowledges_by_commands() -> None:
    said: list[dict[str, Any]] = []
    frames = [text_frame(message(number)) for number in (1, 2, 3)]
    ok = {"type": "ok"}
    step = web_socket(*frames, talk=talk(said, ok, ok), then=HOLD)
    async with scripted(step, *[OK] * 8) as server, Client(server.url) as client:
        jobs = client.subscribe(["jobs"], consumer="worker")
        one, _, three = [await anext(jobs) for _ in range(3)]
        await one.ack()
        await three.ack()
        waiting = asyncio.create_task(anext(jobs))  # answers are read while messages are asked for
        await server.until(lambda: len(said) == 2)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert said == [
            {"type": "ack", "id": "e-1"},
            {"type": "ack", "ids": ["e-3"], "single": True},
        ]


async def test_a_websocket_that_breaks_leaves_it_to_http() -> None:
    frames = [text_frame(message(1)), text_frame(message(2))]

    def break_off(_: bytes) -> bytes:
        raise EOFError

    step = web_socket(*frames, talk=break_off)
    async with scripted(step, OK, OK, OK) as server, Client(server.url) as client:
        jobs = client.subscribe(["jobs"], consumer="worker")
        await (await anext(jobs)).ack()
        await (await anext(jobs)).ack()
        await jobs.flush()
        assert (["e-2"], False) in acknowledged(server.requests)


async def test_messagepack() -> None:
    said: list[Any] = []

    def reply(frame: bytes) -> bytes:
        command = msgspec.msgpack.decode(frame)
        said.append(command)
        return binary_frame(msgspec.msgpack.encode({"type": "ok", "ref": command["ref"]}))

    packed = [
        binary_frame(msgspec.msgpack.encode(message(1) | {"data": b"\x00\xff"})),
        binary_frame(msgspec.msgpack.encode(message(2) | {"later": 1})),
    ]
    step = web_socket(*packed, talk=reply, then=HOLD, codec="msgpack")
    async with scripted(step, *[OK] * 8) as server, Client(server.url) as client:
        jobs = client.subscribe(["jobs"], consumer="worker", codec="msgpack")
        one = await anext(jobs)
        assert one.data == b"\x00\xff"
        await one.ack()
        assert (await anext(jobs)).data == 2
        waiting = asyncio.create_task(anext(jobs))
        await server.until(lambda: bool(said))
        waiting.cancel()
        await asyncio.wait([waiting])
    assert server.requests[0].headers["sec-websocket-protocol"] == "tidewire.v1.msgpack"
    assert said == [{"type": "ack", "id": "e-1", "ref": 1}]


# Everyone


async def test_gaps_are_told_to_the_watcher() -> None:
    gaps: list[Gap] = []

    class Seen(Watcher):
        def missed(self, gap: Gap) -> None:
            gaps.append(gap)

    gap = {"type": "gap", "id": "e-1", "channel": "jobs", "reason": "slow", "skipped": 7}
    step = web_socket(text_frame(gap), text_frame(message(2)), then=HOLD)
    async with scripted(step) as server, Client(server.url) as client:
        messages = client.subscribe(["jobs"], policy="latest", watcher=Seen())
        assert (await anext(messages)).data == 2
        assert server.requests[0].query == {"channels": "jobs", "policy": "latest"}
    assert gaps == [Gap("e-1", "jobs", "slow", 7)]


async def test_only_a_consumer_acknowledges() -> None:
    step = web_socket(text_frame(message(1)), then=HOLD)
    async with scripted(step) as server, Client(server.url) as client:
        one = await anext(client.subscribe(["jobs"]))
        with pytest.raises(RuntimeError, match="subscribe with consumer=NAME"):
            await one.ack()


async def test_a_session_brings_its_channels_back() -> None:
    ready = {"type": "ready", "id": "e-4", "session": "abc", "channels": ["a", "b"]}
    steps = (
        web_socket(text_frame(ready), text_frame(message(5))),
        web_socket(text_frame(ready), text_frame(message(6)), then=HOLD),
    )
    async with scripted(*steps) as server, Client(server.url) as client:
        messages = client.subscribe(session="abc")
        assert [(await anext(messages)).data for _ in range(2)] == [5, 6]
        first, second = server.requests
    assert first.query == {"session": "abc"}
    assert second.query == {"channels": "a,b", "cursor": "e-5", "session": "abc"}
