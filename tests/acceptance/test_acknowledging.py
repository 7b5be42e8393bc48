"""Acknowledging: what is not acknowledged comes again, counted, and in the end is a dead letter."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.consumers import (
    CHANNEL,
    acknowledge,
    ask,
    counted,
    make,
    publish,
    reading,
    refuse,
)
from tests.acceptance.subscribers import TRANSPORTS, http_client
from tests.acceptance.websocket_client import client

if TYPE_CHECKING:
    from collections.abc import Container

    from tests.acceptance.checker import Envelope
    from tests.acceptance.consumers import Reading
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

STREAMS = ("ws", "sse")
ACK_WAIT = 1.0
NEVER = 600
"""Seconds: nothing comes again of itself."""


@pytest.fixture
def hasty(start: StartServer, engine: str) -> ServerProcess:
    """A server that waits a second for acknowledgements, and delivers three times."""
    return start(engine=engine, ack_wait=ACK_WAIT, max_deliver=3)


@pytest.fixture
def patient(start: StartServer, engine: str) -> ServerProcess:
    """A server that sends again only what it is asked for."""
    return start(engine=engine, ack_wait=NEVER)


DEAD_LETTERS: dict[str, Any] = {
    "consumer": "mourner",
    "channels": ("dead-letter:bob",),
    "since": "start",
}
"""How to read what bob was sent in vain."""


def why(letter: Envelope) -> dict[str, str]:
    """The headers of a dead letter that say what became of it, under their last words."""
    own = {"channel", "id", "deliveries", "reason"}
    return {name: letter["headers"][f"tidewire-{name}"] for name in own}


async def again(
    reader: Reading, count: int, acknowledged: Container[object], *, since: float
) -> list[tuple[Any, int]]:
    """The next messages of a *hasty* server, counted: nothing that was *acknowledged* is there.

    They were to be acknowledged within its second, which begins at *since* or later. Where a slow
    machine took longer they may have come again before, and are left out.
    """
    in_time = time.monotonic() - since < ACK_WAIT
    found: list[tuple[Any, int]] = []
    while len(found) < count:
        [one] = counted(await reader.messages(1))
        if in_time or one[0] not in acknowledged:
            found.append(one)
    return found


async def standing(url: str, id: str) -> dict[str, Any]:
    """What bob made of a message."""
    status, answer = await ask(url, "GET", "/receipts", channel=CHANNEL, eventId=id)
    assert status == 200
    (found,) = [one for one in answer["consumers"] if one["consumer"] == "bob"]
    return dict(found)


async def publish_one(url: str, body: dict[str, Any]) -> str:
    """Publish a message; return its id."""
    async with http_client(url) as http:
        return str((await http.post("/publish", json=body)).json()["id"])


# Again, and again, and no more


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_it_comes_again_with_a_growing_count_until_it_is_a_dead_letter(
    hasty: ServerProcess, transport: str
) -> None:
    await make(hasty.url)
    begin = time.monotonic()
    async with reading(hasty.url, transport) as reader:
        lost, kept = await publish(hasty.url, "lost", "kept")
        found = counted(await reader.messages(2))
        await acknowledge(hasty.url, kept, single=True)
        found += await again(reader, 2, ("kept",), since=begin)
        assert found == [("lost", 1), ("kept", 1), ("lost", 2), ("lost", 3)]
        assert time.monotonic() - begin >= 2 * ACK_WAIT, "it must not come early"
        rest = asyncio.create_task(reader.messages(1))
        async with reading(hasty.url, **DEAD_LETTERS) as cemetery:
            (letter,) = await cemetery.messages(1)
        await publish(hasty.url, "goes on")
        assert counted(await rest) == [("goes on", 1)]
    assert letter["data"] == "lost"
    assert why(letter) == {
        "channel": CHANNEL,
        "id": lost,
        "deliveries": "3",
        "reason": "max_deliver",
    }
    assert (await standing(hasty.url, lost))["acknowledged"]


@pytest.mark.parametrize("transport", STREAMS)
async def test_live_messages_go_on_while_others_come_again(
    hasty: ServerProcess, transport: str
) -> None:
    await make(hasty.url)
    async with reading(hasty.url, transport) as reader:
        await publish(hasty.url, "old")
        seen = counted(await reader.messages(1))
        while ("old", 2) not in seen:
            await publish(hasty.url, len(seen))
            seen += counted(await reader.messages(1))
            if len(seen) % 10 == 0:
                await asyncio.sleep(0.1)
        new = [value for value, _ in seen if value != "old"]
        assert new == list(range(1, len(new) + 1))


async def test_many_come_again_in_their_order(hasty: ServerProcess) -> None:
    await make(hasty.url)
    async with reading(hasty.url) as reader:
        begin = time.monotonic()
        ids = await publish(hasty.url, *range(1_000))
        await reader.messages(1_000)
        await acknowledge(hasty.url, ids[299])
        found = await again(reader, 700, range(300), since=begin)
        assert found == [(n, 2) for n in range(300, 1_000)]


# Single messages


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_out_of_order(hasty: ServerProcess, transport: str) -> None:
    await make(hasty.url)
    async with reading(hasty.url, transport) as reader:
        begin = time.monotonic()
        ids = await publish(hasty.url, *range(6))
        await reader.messages(6)
        for number in (5, 0, 3):
            await acknowledge(hasty.url, ids[number], single=True)
        found = await again(reader, 3, (5, 0, 3), since=begin)
        assert found == [(1, 2), (2, 2), (4, 2)]
        await acknowledge(hasty.url, ids[1], ids[2], ids[4], single=True)
        await publish(hasty.url, "next")
        # Their second began when they came again, which was a second after they came.
        found = await again(reader, 1, range(6), since=begin + ACK_WAIT)
        assert found == [("next", 1)]


async def test_any_number_of_single_ones_as_long_as_no_old_one_is_left(
    patient: ServerProcess,
) -> None:
    await make(patient.url)
    async with client(patient, f"?channels={CHANNEL}&consumer=bob") as connection:
        for _ in range(5):
            ids = await publish(patient.url, *range(500))
            for id in ids:
                await connection.ok("ack", id=id, single=True)
        (id,) = await publish(patient.url, "next")
    async with reading(patient.url) as reader:
        assert [e["id"] for e in await reader.messages(1)] == [id]


async def test_too_many_single_ones_above_an_old_one(patient: ServerProcess) -> None:
    await make(patient.url)
    ids = await publish(patient.url, *range(1_002))
    for begin in range(1, 1_001, 100):
        await acknowledge(patient.url, *ids[begin : begin + 100], single=True)
    parameters = {"consumer": "bob", "eventId": ids[1_001], "single": "true"}
    status, problem = await ask(patient.url, "POST", "/ack", **parameters)
    assert (status, problem["code"]) == (409, "too_many_single_acks")
    await acknowledge(patient.url, ids[0])
    await acknowledge(patient.url, ids[1_000])
    assert await ask(patient.url, "POST", "/ack", **parameters) == (204, None)


# Asked for again


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_message_that_is_refused_comes_again_at_once(
    patient: ServerProcess, transport: str
) -> None:
    await make(patient.url)
    async with reading(patient.url, transport) as reader:
        ids = await publish(patient.url, 1, 2, 3)
        await reader.messages(3)
        await refuse(patient.url, ids[1])
        assert counted(await reader.messages(1)) == [(2, 2)]
        await refuse(patient.url, ids[1], ids[2])
        assert counted(await reader.messages(2)) == [(2, 3), (3, 2)]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_message_that_is_refused_for_a_while(
    patient: ServerProcess, transport: str
) -> None:
    await make(patient.url)
    async with reading(patient.url, transport) as reader:
        ids = await publish(patient.url, 1, 2)
        await reader.messages(2)
        begin = time.monotonic()
        await refuse(patient.url, ids[0], delay=1.5)
        await publish(patient.url, 3)
        found = counted(await reader.messages(1))
        if time.monotonic() - begin < 1.5:
            assert found == [(3, 1)]
        found += counted(await reader.messages(1))
        assert sorted(found) == [(1, 2), (3, 1)]
        assert 1.5 <= time.monotonic() - begin < 10


async def test_a_delay_outlives_a_connection(patient: ServerProcess) -> None:
    await make(patient.url)
    ids = await publish(patient.url, 1, 2)
    async with reading(patient.url) as reader:
        await reader.messages(2)
        begin = time.monotonic()
        await refuse(patient.url, ids[0], delay=1.5)
    async with reading(patient.url) as reader:
        found = counted(await reader.messages(1))
        if time.monotonic() - begin < 1.5:
            assert found == [(2, 2)]
        found += counted(await reader.messages(1))
        assert sorted(found) == [(1, 2), (2, 2)]
        assert time.monotonic() - begin >= 1.5


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_message_that_is_rejected_is_a_dead_letter(
    patient: ServerProcess, transport: str
) -> None:
    await make(patient.url)
    body = {
        "channel": CHANNEL,
        "data": "AAEC",
        "encoding": "base64",
        "event": "order",
        "headers": {"lang": "en"},
    }
    id = await publish_one(patient.url, body)
    async with reading(patient.url, transport) as reader:
        await reader.messages(1)
        await refuse(patient.url, id, reject=True)
        await publish(patient.url, "next")
        assert counted(await reader.messages(1)) == [("next", 1)]
    async with reading(patient.url, **DEAD_LETTERS) as cemetery:
        (letter,) = await cemetery.messages(1)
    assert {name: letter[name] for name in ("data", "encoding", "event")} == {
        name: body[name] for name in ("data", "encoding", "event")
    }
    assert letter["headers"]["lang"] == "en"
    assert why(letter) == {
        "channel": CHANNEL,
        "id": id,
        "deliveries": "1",
        "reason": "rejected",
    }


async def test_rejecting_twice_makes_one_dead_letter(patient: ServerProcess) -> None:
    await make(patient.url)
    ids = await publish(patient.url, 1, 2)
    for id in (ids[0], ids[0], ids[1]):
        await refuse(patient.url, id, reject=True)
    async with reading(patient.url, **DEAD_LETTERS) as cemetery:
        assert counted(await cemetery.messages(2)) == [(1, 1), (2, 1)]


# Commands


async def test_the_commands_of_a_websocket(patient: ServerProcess) -> None:
    await make(patient.url)
    async with client(patient, f"?channels={CHANNEL}&consumer=bob") as connection:
        ids = await publish(patient.url, *range(6))
        await connection.receive_messages(6)
        assert await connection.ok("ack", id=ids[1]) == {"type": "ok", "ref": 1}
        await connection.ok("ack", ids=[ids[3], ids[5]], single=True)
        await connection.ok("nack", id=ids[2])
        await connection.receive_messages(7)
        await connection.ok("nack", ids=[ids[4]], delay=50)
        await connection.receive_messages(8)
        await connection.ok("nack", id=ids[4], reject=True)
        messages = [e for e in connection.envelopes if e["type"] == "message"]
        assert counted(messages[6:]) == [(2, 2), (4, 2)]
    async with reading(patient.url) as reader:
        assert counted(await reader.messages(1)) == [(2, 3)]


async def test_many_acknowledgements_at_once(patient: ServerProcess) -> None:
    await make(patient.url)
    async with client(patient, f"?channels={CHANNEL}&consumer=bob") as connection:
        ids = await publish(patient.url, *range(500))
        refs = [await connection.send("ack", id=id) for id in ids]
        while connection.envelopes[-1].get("ref") != refs[-1]:
            await connection.receive()
        answered = [e["ref"] for e in connection.envelopes if e["type"] == "ok"]
        assert answered == refs
    assert (await standing(patient.url, ids[-1]))["acknowledged"]


async def test_commands_that_are_refused(patient: ServerProcess) -> None:
    await make(patient.url)
    async with client(patient, f"?channels={CHANNEL}&consumer=bob") as connection:
        (id,) = await publish(patient.url, 1)
        wrong: list[dict[str, Any]] = [
            {},
            {"id": "rubbish"},
            {"id": "other1-5"},
            {"id": beyond(id)},
            {"ids": [id] * 1_001},
        ]
        for fields in wrong:
            assert (await connection.command("ack", **fields))["code"] == "invalid_cursor"
            assert (await connection.command("nack", **fields))["code"] == "invalid_cursor"
        assert (await connection.command("nack", id=id, delay=-1))["code"] == "invalid_delay"
        assert (await connection.command("ack", id=5))["code"] == "malformed"
    async with client(patient, f"?channels={CHANNEL}") as connection:
        assert (await connection.command("ack", id=id))["code"] == "no_consumer"
        assert (await connection.command("nack", id=id))["code"] == "no_consumer"


# Requests that are refused


def beyond(id: str) -> str:
    """An id that the log has not given yet."""
    epoch, _, number = id.partition("-")
    return f"{epoch}-{int(number) + 10**12}"


@pytest.mark.parametrize("path", ["/ack", "/nack"])
async def test_requests_that_are_refused(patient: ServerProcess, path: str) -> None:
    await make(patient.url)
    (id,) = await publish(patient.url, 1)
    for parameters, status, code in [
        ({"consumer": "bob"}, 400, "invalid_cursor"),
        ({"consumer": "bob", "eventId": "rubbish"}, 400, "invalid_cursor"),
        ({"consumer": "bob", "eventId": "other1-5"}, 400, "invalid_cursor"),
        ({"consumer": "bob", "eventId": beyond(id)}, 400, "invalid_cursor"),
        ({"eventId": id}, 400, "invalid_consumer"),
        ({"consumer": "b b", "eventId": id}, 400, "invalid_consumer"),
        ({"consumer": "stranger", "eventId": id}, 404, "unknown_consumer"),
        ({"consumer": "bob", "eventId": id, "colour": "red"}, 400, "malformed"),
    ]:
        answer, problem = await ask(patient.url, "POST", path, **parameters)
        assert (answer, problem["code"]) == (status, code), parameters
    assert (await ask(patient.url, "GET", path, consumer="bob", eventId=id))[0] == 405


async def test_values_that_are_refused(patient: ServerProcess) -> None:
    await make(patient.url)
    (id,) = await publish(patient.url, 1)
    known = {"consumer": "bob", "eventId": id}
    for path, parameters, code in [
        ("/ack", {"single": "maybe"}, "malformed"),
        ("/nack", {"reject": "1"}, "malformed"),
        ("/nack", {"delay": "-1"}, "invalid_delay"),
        ("/nack", {"delay": "86401"}, "invalid_delay"),
    ]:
        answer, problem = await ask(patient.url, "POST", path, **known, **parameters)
        assert (answer, problem["code"]) == (400, code)
    wanted = {"channels": CHANNEL, "consumer": "bob", "policy": "latest"}
    for path in ("/poll", "/longpoll", "/sse"):
        answer, problem = await ask(patient.url, "GET", path, **wanted)
        assert (answer, problem["code"]) == (400, "invalid_policy")


async def test_acknowledging_again_or_below_changes_nothing(patient: ServerProcess) -> None:
    await make(patient.url)
    ids = await publish(patient.url, 1, 2, 3)
    for id in (ids[1], ids[1], ids[0]):
        await acknowledge(patient.url, id)
        await acknowledge(patient.url, id, single=True)
        await refuse(patient.url, id)
    async with reading(patient.url) as reader:
        assert counted(await reader.messages(1)) == [(3, 1)]


async def test_without_a_ref_only_a_refusal_is_answered(patient: ServerProcess) -> None:
    """A client that acknowledges all the time need not be written to as often as it is read."""
    await make(patient.url)
    async with client(patient, f"?channels={CHANNEL}&consumer=bob") as connection:
        ids = await publish(patient.url, 1, 2)
        await connection.receive_messages(2)
        await connection.socket.send(json.dumps({"type": "ack", "id": ids[0]}))
        await connection.socket.send('{"type":"ack","id":"nothing"}')
        await connection.ok("ping")
        answers = [e for e in connection.envelopes if e["type"] in ("ok", "error")]
        assert [e.get("code") for e in answers] == ["invalid_cursor", None]
        await connection.ok("nack", id=ids[1])  # kept in the order of calls: the ack is by now
        assert (await standing(patient.url, ids[0]))["acknowledged"]
        assert not (await standing(patient.url, ids[1]))["acknowledged"]
