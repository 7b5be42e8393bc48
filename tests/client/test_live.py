"""The client against a real server, over connections that are cut again and again."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.acceptance.cutting_proxy import CuttingProxy
from tests.cli.commands import serve
from tidewire.client import (
    Backoff,
    Client,
    Credentials,
    LongPollTransport,
    Message,
    Position,
    Publication,
    Publisher,
    Received,
    Refused,
    ServerAddress,
    ShortPollTransport,
    SseTransport,
    Watcher,
    WebSocketTransport,
    history,
    open_http,
    receive,
)
from tidewire.client.credentials import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import httpx

    from tests.server_process import ServerProcess
    from tidewire.client import Transport

MESSAGES = 1000
NAMES = ["ws", "msgpack", "sse", "longpoll", "poll"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = serve(tmp_path_factory.mktemp("live"))
    yield server
    server.kill()
    assert "Traceback" not in server.log(), server.log()


class Cutter(Watcher):
    """Gives each new connection a random number of bytes to live on."""

    def __init__(self, proxy: CuttingProxy, most: int, seed: str) -> None:
        self._proxy = proxy
        self._most = most
        self._random = random.Random(seed)
        self.waiting(0, "")

    def waiting(self, delay: float, reason: str) -> None:
        self._proxy.budget = self._random.randint(300, self._most)


async def at_once(_: float) -> None:
    """In place of a wait; others get their turn."""
    await asyncio.sleep(0)


def transport(
    name: str, http: httpx.AsyncClient, url: str, credentials: Credentials = NOBODY
) -> Transport:
    address = ServerAddress.parse(url)
    made: dict[str, Transport] = {
        "ws": WebSocketTransport(address, credentials=credentials),
        "msgpack": WebSocketTransport(address, codec="msgpack", credentials=credentials),
        "sse": SseTransport(http, address, credentials=credentials),
        "longpoll": LongPollTransport(http, address),
        "poll": ShortPollTransport(http, address, sleep=at_once),
    }
    return made[name]


async def publish(server: ServerProcess, channel: str, numbers: Sequence[int]) -> None:
    address = ServerAddress.parse(server.url)
    async with open_http(address) as http:
        publisher = Publisher(http, address)
        await publisher.publish([Publication(channel, msgspec.Raw(b"%d" % n)) for n in numbers])


async def take(
    name: str, url: str, position: Position, count: int, watcher: Watcher | None = None
) -> list[Message]:
    """Receive ``count`` messages from the position on."""
    messages: list[Message] = []
    async with open_http(ServerAddress.parse(url)) as http:
        events = receive(
            transport(name, http, url),
            position,
            backoff=Backoff(draw=lambda: 0.0),
            watcher=watcher,
            sleep=at_once,
        )
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Received) and isinstance(event.envelope, Message):
                    messages.append(event.envelope)
                    if len(messages) == count:
                        break
    return messages


@pytest.mark.parametrize(
    # A poll's answer comes whole or not at all, and may have 30 kB here; a stream comes bit by bit.
    ("name", "most"),
    [("ws", 8_000), ("msgpack", 8_000), ("sse", 8_000), ("longpoll", 40_000), ("poll", 40_000)],
)
async def test_cut_at_random_nothing_is_missing_and_nothing_double(
    name: str, most: int, server: ServerProcess
) -> None:
    channel = f"cut:{name}"
    await publish(server, channel, range(MESSAGES // 2))

    async def publish_rest() -> None:
        for first in range(MESSAGES // 2, MESSAGES, 10):
            await publish(server, channel, range(first, first + 10))

    async with CuttingProxy(server.address) as proxy:
        publishing = asyncio.create_task(publish_rest())
        position = Position([channel], since="start")
        messages = await take(name, proxy.url, position, MESSAGES, Cutter(proxy, most, seed=name))
        await publishing
        # A message has more than 100 bytes, so one connection cannot have carried them all.
        assert proxy.cuts >= MESSAGES * 100 // most - 1
    assert [message.data for message in messages] == list(range(MESSAGES))
    assert [message.seq for message in messages] == list(range(1, MESSAGES + 1))


@pytest.mark.parametrize("name", NAMES)
async def test_large_messages_come_whole_over_connections_that_break(
    name: str, server: ServerProcess
) -> None:
    """The first connection dies within the first message, the others anywhere."""
    channel = f"large:{name}"
    sizes = [50_000, 5, 100_000, 16_384, 150_000]
    address = ServerAddress.parse(server.url)
    async with open_http(address) as http:
        chance = random.Random("large")  # so that it cannot be compressed to nothing
        texts = ["".join(chance.choices("aäß€🌊", k=size)) for size in sizes]
        data = [msgspec.Raw(msgspec.json.encode(text)) for text in texts]
        await Publisher(http, address).publish([Publication(channel, one) for one in data])
    async with CuttingProxy(server.address) as proxy:
        position = Position([channel], since="start")
        cutter = Cutter(proxy, 1_500_000, seed=name)
        proxy.budget = 10_000
        messages = await take(name, proxy.url, position, len(sizes), cutter)
        assert proxy.cuts >= 1
    assert [message.data for message in messages] == texts
    assert [message.seq for message in messages] == [1, 2, 3, 4, 5]


async def test_binary_data_is_the_same_over_every_codec(server: ServerProcess) -> None:
    async with Client(server.url) as client:
        await client.publish("binary", b"\x00\xff", event="bytes", headers={"a": "b"})
        for codec in ("json", "msgpack"):
            messages = client.subscribe(["binary"], since="start", codec=codec)
            one = await anext(messages)
            assert (one.data, one.event, one.headers) == (b"\x00\xff", "bytes", {"a": "b"})


async def test_any_transport_goes_on_where_another_was(server: ServerProcess) -> None:
    channels = ["hop:a", "hop:b"]
    for first in range(0, 400, 20):
        await publish(server, channels[first // 20 % 2], range(first, first + 20))
    chance = random.Random("hop")
    position = Position(channels, since="start")
    numbers: list[int] = []
    while len(numbers) < 400:
        count = min(chance.randint(1, 30), 400 - len(numbers))
        name = chance.choice(NAMES)
        numbers += [one.data for one in await take(name, server.url, position, count)]
    assert numbers == list(range(400))


@pytest.mark.parametrize("name", NAMES)
async def test_channels_with_cursors_of_their_own(name: str, server: ServerProcess) -> None:
    """Each goes on from its own place, also after one of them has been passed by the other."""
    channels = [f"own:{name}:a", f"own:{name}:b"]
    for number in range(20):
        await publish(server, channels[number % 2], [number])
    marks = {}
    for channel in channels:
        position = Position([channel], since="start")
        await take("ws", server.url, position, 2 if channel.endswith("a") else 8)
        marks[channel] = position.cursor or ""
    position = Position(channels, cursor=",".join(marks.values()))
    # Behind: a from its third message on, b from its ninth.
    wanted = [4, 6, 8, 10, 12, 14, 16, 17, 18, 19]
    numbers: list[int] = []
    while len(numbers) < len(wanted):
        numbers += [one.data for one in await take(name, server.url, position, 1)]
    assert numbers == wanted


async def test_history_has_all_pages(server: ServerProcess) -> None:
    await publish(server, "history", range(700))
    address = ServerAddress.parse(server.url)
    async with (
        open_http(address) as http,
        aclosing(history(http, address, "history")) as messages,
    ):
        numbers = [one.envelope.data async for one in messages if isinstance(one.envelope, Message)]
    assert numbers == list(range(700))


async def test_to_users_and_to_all(server: ServerProcess) -> None:
    async with Client(server.url) as client:
        assert [one.channel for one in await client.send(1, user="a")] == ["user:#a"]
        assert [one.channel for one in await client.send(1, user="a", device="tv")] == ["user:tv#a"]
        some = await client.send(b"\x00", users=["a", "b"], event="e")
        assert [one.channel for one in some] == ["user:#a", "user:#b"]
        assert [one.channel for one in await client.send(1, channels=["c"])] == ["c"]
        assert [one.channel for one in await client.send(1, all=True)] == ["@all"]
        with pytest.raises(Refused):
            await client.send(1, user="a", all=True)
