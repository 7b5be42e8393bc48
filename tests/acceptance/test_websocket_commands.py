"""WebSocket commands and their answers; channels that are added later and filled up."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.checker import Message, check_received, from_answer, from_envelope, position
from tests.acceptance.subscribers import (
    TRANSPORTS,
    Subscriber,
    http_client,
    numbered,
    publish,
    publish_batch,
)
from tests.acceptance.waiting import until
from tests.acceptance.websocket_client import client, cursor_of, fill

if TYPE_CHECKING:
    import httpx

    from tests.server_process import ServerProcess

names = (f"command-{n}" for n in itertools.count())


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses."""
    return next(names)


@pytest.fixture
def other() -> str:
    """One more of them."""
    return next(names)


async def test_ready_comes_first(server: ServerProcess, channel: str) -> None:
    async with client(server, f"?channels={channel},b&channels=c") as one:
        ready = one.envelopes[0]
        assert sorted(ready["channels"]) == sorted([channel, "b", "c"])
        assert ready["recovered"] is False
        assert ready["session"]
        position(ready["id"])
        async with client(server) as two:
            assert two.envelopes[0]["channels"] == []
            assert two.envelopes[0]["session"] != ready["session"]


async def test_the_id_of_ready_resumes_a_client_that_never_saw_a_message(
    server: ServerProcess, channel: str
) -> None:
    async with client(server, f"?channels={channel}") as one:
        start = one.envelopes[0]["id"]
    published = await fill(server, channel, 3)
    async with client(server, f"?channels={channel}&cursor={start}") as two:
        assert two.envelopes[0]["recovered"] is True
        await two.receive_messages(3)
        check_received(published, two.messages)


async def test_ping(server: ServerProcess) -> None:
    async with client(server) as one:
        await one.ok("ping")
        await one.socket.send('{"type":"ping","ref":"a string"}')
        assert (await one.receive())["ref"] == "a string"
        await one.socket.send('{"type":"ping"}')
        answer = await one.receive()
        assert answer["type"] == "ok"
        assert answer.get("ref") is None


async def test_subscribe_to_a_list(server: ServerProcess, channel: str, other: str) -> None:
    async with client(server) as one:
        answer = await one.ok("subscribe", channels=[channel, other])
        position(answer["id"])
        published = await fill(server, channel, 2) + await fill(server, other, 2)
        await one.receive_messages(4)
        check_received(published, one.messages)


@pytest.mark.parametrize(("since", "expected"), [("start", 10), ("-3", 3), ("now", 0), ("-99", 10)])
async def test_subscribe_since(
    server: ServerProcess, channel: str, since: str, expected: int
) -> None:
    published = await fill(server, channel, 10)
    async with client(server) as one:
        await one.ok("subscribe", channels=[channel], since=since)
        # ``ok`` comes after the backfill.
        check_received(published[10 - expected :], one.messages)
        async with client(server) as two:
            await two.ok("subscribe", channels={channel: since})
            check_received(published[10 - expected :], two.messages)


async def test_subscribe_since_a_time(server: ServerProcess, channel: str) -> None:
    async with client(server, f"?channels={channel}") as one:
        await fill(server, channel, 1)
        await one.receive_messages(1)
        first = one.envelopes[-1]["time"]
        await until(lambda: time.time() * 1000 > first + 2)
        await fill(server, channel, 1)
        await one.receive_messages(2)
        second = one.envelopes[-1]["time"]
    for since, expected in [(first - 1, [1, 2]), (first, [1, 2]), (second, [2])]:
        async with client(server) as two:
            await two.ok("subscribe", channels=[channel], since=str(since))
            assert [message.seq for message in two.messages] == expected


async def test_subscribe_with_one_cursor_for_a_list(
    server: ServerProcess, channel: str, other: str
) -> None:
    first = await fill(server, channel, 3)
    second = await fill(server, other, 3)
    async with client(server) as one:
        await one.ok("subscribe", channels=[channel, other], cursor=cursor_of(first[1]))
        check_received([first[2], *second], one.messages)


async def test_subscribe_with_a_cursor_for_each_channel(
    server: ServerProcess, channel: str, other: str
) -> None:
    first = await fill(server, channel, 3)
    second = await fill(server, other, 3)
    async with client(server) as one:
        cursors = {channel: cursor_of(first[0]), other: cursor_of(second[1])}
        await one.ok("subscribe", channels=cursors)
        check_received([*first[1:], second[2]], one.messages)


async def test_a_late_channel_is_backfilled_while_the_others_go_on(
    server: ServerProcess, channel: str, other: str
) -> None:
    old = await fill(server, other, 600)
    async with client(server, f"?channels={channel}") as one, http_client(server.url) as http:
        live = [await publish(http, {"channel": channel, "data": n}) for n in range(5)]
        await one.receive_messages(5)
        ref = await one.send("subscribe", channels={other: cursor_of(old[99])})
        for n in range(5, 40):
            target = [channel, other][n % 2]
            message = await publish(http, {"channel": target, "data": n})
            (live if target == channel else old).append(message)
        total = len(live) + len(old) - 100
        await one.receive_messages(total)
        while one.envelopes[-1].get("ref") != ref and all(
            e.get("ref") != ref for e in one.envelopes
        ):
            await one.receive()
        seen = one.messages
        check_received(live, [m for m in seen if m.channel == channel])
        check_received(old[100:], [m for m in seen if m.channel == other])
        # The ``ok`` stands behind the backfill: from there on ids ascend again.
        index = next(i for i, e in enumerate(one.envelopes) if e.get("ref") == ref)
        ok = one.envelopes[index]
        before = [from_envelope(e) for e in one.envelopes[:index] if e["type"] == "message"]
        after = [from_envelope(e) for e in one.envelopes[index:] if e["type"] == "message"]
        assert all(position(ok["id"]) >= (m.epoch, m.position) for m in before)
        assert all(position(ok["id"]) < (m.epoch, m.position) for m in after)
    # ... and its id is a right cursor for all channels, on any transport.
    for transport in TRANSPORTS:
        subscriber = Subscriber([channel, other])
        subscriber.cursor = ok["id"]
        if after:
            await subscriber.listen(server.url, transport, until=subscriber.has(len(after)))
        check_received(after, subscriber.messages)


async def test_the_last_id_in_a_channel_is_a_right_cursor_for_it_during_a_backfill(
    server: ServerProcess, channel: str, other: str
) -> None:
    old = await fill(server, other, 600)
    async with client(server, f"?channels={channel}") as one:
        live = await fill(server, channel, 3)
        await one.receive_messages(3)
        await one.send("subscribe", channels={other: "start"})
        await one.receive_messages(3 + 50)
        one.socket.transport.abort()  # cut in the middle of the backfill
        last = {message.channel: cursor_of(message) for message in one.messages}
        seen = one.messages
    live += await fill(server, channel, 2)
    async with client(server) as two:
        await two.ok("subscribe", channels=last)
        total = seen + two.messages
        check_received(live, [m for m in total if m.channel == channel])
        check_received(old, [m for m in total if m.channel == other])


async def test_subscribing_again_is_no_second_delivery(server: ServerProcess, channel: str) -> None:
    published = await fill(server, channel, 3)
    async with client(server, f"?channels={channel}") as one:
        await one.ok("subscribe", channels=[channel])
        published = await fill(server, channel, 3)
        await one.flush()
        check_received(published, one.messages)


async def test_subscribing_again_in_a_stream_of_messages_makes_no_hole(
    server: ServerProcess, channel: str
) -> None:
    published: list[Message] = []

    async def keep_publishing(http: httpx.AsyncClient) -> None:
        for first in range(0, 2_000, 10):
            published.extend(await publish_batch(http, numbered(10, [channel], first=first)))

    async with client(server, f"?channels={channel}") as one, http_client(server.url) as http:
        publishing = asyncio.create_task(keep_publishing(http))
        while not publishing.done():
            await one.ok("subscribe", channels=[channel])
        await publishing
        await one.receive_messages(len(published))
        check_received(published, one.messages)


async def test_unsubscribe(server: ServerProcess, channel: str, other: str) -> None:
    async with client(server, f"?channels={channel},{other}") as one:
        first = await fill(server, channel, 1)
        await one.ok("unsubscribe", channels=[channel])
        await fill(server, channel, 5)
        second = await fill(server, other, 1)
        await one.receive_messages(2)
        await one.flush()
        check_received([*first, *second], one.messages)
        await one.ok("subscribe", channels={channel: cursor_of(first[0])})
        assert len(one.messages) == 7


async def test_publish(server: ServerProcess, channel: str) -> None:
    async with client(server, f"?channels={channel}") as one:
        command = {"channel": channel, "data": {"a": [1, "é"]}, "event": "e", "headers": {"h": "v"}}
        answer = await one.ok("publish", **command)
        await one.receive_messages(1)
        check_received([from_answer(command, answer)], one.messages)
        batch = numbered(5, [channel])
        answer = await one.ok("publish", messages=batch)
        published = [from_answer(*pair) for pair in zip(batch, answer["results"], strict=True)]
        await one.receive_messages(6)
        check_received(published, one.messages[1:])
        keyed = {"channel": channel, "data": 1, "key": "k"}
        first = await one.ok("publish", **keyed)
        again = await one.ok("publish", **keyed)
        assert (first["id"], first["seq"]) == (again["id"], again["seq"])
        binary = base64.b64encode(bytes(range(256))).decode()
        await one.ok("publish", channel=channel, data=binary, encoding="base64")
        await one.receive_messages(8)
        assert one.envelopes[-1]["data"] == binary or one.envelopes[-2]["data"] == binary


async def test_two_clients_publish_to_each_other(server: ServerProcess, channel: str) -> None:
    async with (
        client(server, f"?channels={channel}") as one,
        client(server, f"?channels={channel}") as two,
    ):
        published = []
        for n in range(100):
            for who in (one, two):
                command = {"channel": channel, "data": [n, who is one]}
                published.append(from_answer(command, await who.ok("publish", **command)))
        for who in (one, two):
            await who.receive_messages(200)
            check_received(published, who.messages)


async def test_commands_may_be_sent_without_waiting(server: ServerProcess, channel: str) -> None:
    async with client(server, f"?channels={channel}") as one:
        refs = [await one.send("publish", channel=channel, data=n) for n in range(300)]
        await one.receive_messages(300)
        while len(one.envelopes) < 601:
            await one.receive()
        answers = {e["ref"]: e for e in one.envelopes if e["type"] == "ok"}
        published = [
            from_answer({"channel": channel, "data": n}, answers[ref]) for n, ref in enumerate(refs)
        ]
        check_received(published, one.messages)


async def test_history(server: ServerProcess, channel: str) -> None:
    published = await fill(server, channel, 10)
    async with client(server) as one:
        page = await one.ok("history", channel=channel, limit=4)
        assert [m["seq"] for m in page["messages"]] == [1, 2, 3, 4]
        assert page["more"] is True
        rest = await one.ok("history", channel=channel, cursor=page["cursor"])
        check_received(published, [from_envelope(m) for m in page["messages"] + rest["messages"]])
        assert not rest.get("more")
        last = await one.ok("history", channel=channel, since="-2")
        assert [m["seq"] for m in last["messages"]] == [9, 10]


BAD_COMMANDS = {
    "not JSON": "{",
    "no object": "[1]",
    "a number": "1",
    "empty": "",
    "no type": '{"ref":1}',
    "unknown type": '{"type":"dance","ref":1}',
    "type is no string": '{"type":1,"ref":1}',
    "ref is an object": '{"type":"ping","ref":{}}',
    "unknown field": '{"type":"ping","ref":1,"surprise":true}',
    "no channels": '{"type":"subscribe","ref":1}',
    "channels is a number": '{"type":"subscribe","ref":1,"channels":1}',
    "no channel in it": '{"type":"subscribe","ref":1,"channels":[]}',
    "bad name": '{"type":"subscribe","ref":1,"channels":["a b"]}',
    "long name": json.dumps({"type": "subscribe", "ref": 1, "channels": ["a" * 256]}),
    "bad cursor": '{"type":"subscribe","ref":1,"channels":["a"],"cursor":"nonsense"}',
    "bad cursor of a channel": '{"type":"subscribe","ref":1,"channels":{"a":"nonsense"}}',
    "cursor is a number": '{"type":"subscribe","ref":1,"channels":{"a":[1]}}',
    "bad since": '{"type":"subscribe","ref":1,"channels":["a"],"since":"yesterday"}',
    "nothing to publish": '{"type":"publish","ref":1,"channel":"a"}',
    "no channel to publish": '{"type":"publish","ref":1,"data":1}',
    "bad event": '{"type":"publish","ref":1,"channel":"a","data":1,"event":"tidewire.x"}',
    "bad base64": '{"type":"publish","ref":1,"channel":"a","data":"!","encoding":"base64"}',
    "NaN": '{"type":"publish","ref":1,"channel":"a","data":NaN}',
    "lone surrogate": '{"type":"publish","ref":1,"channel":"a","data":"\\ud800"}',
    "deep": f'{{"type":"publish","ref":1,"channel":"a","data":{"[" * 500}{"]" * 500}}}',
    "history of nothing": '{"type":"history","ref":1}',
    "bad limit": '{"type":"history","ref":1,"channel":"a","limit":-1}',
    "unsubscribe nothing": '{"type":"unsubscribe","ref":1}',
}


@pytest.mark.parametrize("text", BAD_COMMANDS.values(), ids=BAD_COMMANDS)
async def test_a_bad_command_is_answered_by_an_error(server: ServerProcess, text: str) -> None:
    async with client(server) as one:
        await one.socket.send(text)
        answer = await one.receive()
        assert answer["type"] == "error", answer
        assert answer["code"]
        assert answer["message"]
        if '"ref":1' in text:  # what is no JSON need not be looked into for it
            assert answer.get("ref", 1) == 1
        await one.ok("ping")  # the connection goes on
