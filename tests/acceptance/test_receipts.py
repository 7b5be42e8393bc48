"""Receipts: which consumers have acknowledged a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.consumers import CHANNEL, acknowledge, ask, make, publish, reading, refuse

if TYPE_CHECKING:
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess


async def receipts(url: str, id: str, channel: str = CHANNEL, **parameters: Any) -> dict[str, Any]:
    """The receipts of a message."""
    status, answer = await ask(url, "GET", "/receipts", channel=channel, eventId=id, **parameters)
    assert status == 200
    assert (answer["id"], answer["channel"]) == (id, channel)
    return dict(answer)


async def names(url: str, id: str, channel: str = CHANNEL) -> list[str]:
    """Who is to acknowledge a message."""
    return [one["consumer"] for one in (await receipts(url, id, channel))["consumers"]]


async def test_what_each_consumer_made_of_a_message(start: StartServer, engine: str) -> None:
    url = start(engine=engine).url
    for name in ("ann", "bob", "cleo"):
        await make(url, name)
    first, second = await publish(url, 1, 2)
    assert await receipts(url, first) == {
        "id": first,
        "channel": CHANNEL,
        "consumers": [{"consumer": name, "acknowledged": False} for name in ("ann", "bob", "cleo")],
        "acknowledged": 0,
        "pending": 3,
        "more": False,
    }
    async with reading(url, consumer="ann") as reader:
        await reader.messages(2)
        await refuse(url, second, consumer="ann")
        await reader.messages(1)
        await acknowledge(url, first, consumer="ann", single=True)
        await acknowledge(url, second, consumer="bob")
        found = await receipts(url, second)
    assert found["consumers"] == [
        {"consumer": "ann", "acknowledged": False, "deliveries": 2},
        {"consumer": "bob", "acknowledged": True},
        {"consumer": "cleo", "acknowledged": False},
    ]
    assert (found["acknowledged"], found["pending"]) == (1, 2)
    found = await receipts(url, first)
    assert [one["acknowledged"] for one in found["consumers"]] == [True, True, False]


async def test_delivered_and_read_are_two_consumers(server: ServerProcess) -> None:
    """As in a messenger: one that acknowledges what came, one that acknowledges what was seen."""
    channel = "chat:1"
    for name in ("bob:delivered", "bob:read"):
        await make(server.url, name, channels=channel)
    (id,) = await publish(server.url, "hello", channel=channel)
    await acknowledge(server.url, id, consumer="bob:delivered")
    found = await receipts(server.url, id, channel)
    assert found["consumers"] == [
        {"consumer": "bob:delivered", "acknowledged": True},
        {"consumer": "bob:read", "acknowledged": False},
    ]


async def test_they_come_in_pages(server: ServerProcess) -> None:
    channel = "crowded"
    everybody = [f"reader-{number:02}" for number in range(25)]
    for name in everybody:
        await make(server.url, name, channels=channel)
    (id,) = await publish(server.url, 1, channel=channel)
    found: list[str] = []
    more = True
    while more:
        start = {"after": found[-1]} if found else {}
        page = await receipts(server.url, id, channel, limit=10, **start)
        found += [one["consumer"] for one in page["consumers"]]
        assert page["pending"] == len(page["consumers"]) <= 10
        more = page["more"]
    assert found == everybody


async def test_only_those_for_whom_the_message_is(server: ServerProcess) -> None:
    channel = "some"
    await make(server.url, "early", channels=channel)
    await make(server.url, "elsewhere", channels="some-other")
    (id,) = await publish(server.url, 1, channel=channel)
    await make(server.url, "too-late", channels=channel)
    assert await names(server.url, id, channel) == ["early"]


async def test_who_has_left_a_channel_is_not_waited_for(server: ServerProcess) -> None:
    await make(server.url, "mover", channels="left,kept")
    (id,) = await publish(server.url, 1, channel="left")
    assert await names(server.url, id, "left") == ["mover"]
    await make(server.url, "mover", channels="kept")
    assert await names(server.url, id, "left") == []


async def test_they_outlive_a_crash(start: StartServer, shared_engine: str) -> None:
    server = start(engine=shared_engine)
    await make(server.url)
    first, second = await publish(server.url, 1, 2)
    await acknowledge(server.url, first)
    server.kill()
    url = start(engine=shared_engine).url
    assert [(await receipts(url, id))["acknowledged"] for id in (first, second)] == [1, 0]


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, "invalid_channel"),
        ({"channel": CHANNEL}, "invalid_cursor"),
        ({"channel": CHANNEL, "eventId": "other1-5"}, "invalid_cursor"),
        ({"channel": CHANNEL, "eventId": "{id}", "limit": 0}, "invalid_limit"),
        ({"channel": CHANNEL, "eventId": "{id}", "limit": 1_001}, "invalid_limit"),
        ({"channel": CHANNEL, "eventId": "{id}", "after": "b b"}, "invalid_consumer"),
        ({"channel": CHANNEL, "eventId": "{id}", "colour": "red"}, "malformed"),
    ],
)
async def test_requests_that_are_refused(
    server: ServerProcess, parameters: dict[str, Any], code: str
) -> None:
    (id,) = await publish(server.url, 1)
    wanted = {name: str(value).replace("{id}", id) for name, value in parameters.items()}
    status, problem = await ask(server.url, "GET", "/receipts", **wanted)
    assert (status, problem["code"]) == (400, code)
