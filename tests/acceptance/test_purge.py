"""A channel's messages are discarded, or the channel itself: every reader is told, once."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.acceptance.subscribers import TRANSPORTS, collect, http_client, publish, publish_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.checker import Envelope
    from tests.conftest import StartServer

transports = pytest.mark.parametrize("transport", TRANSPORTS)
ways = pytest.mark.parametrize(
    ("path", "reason", "next_seq"),
    [("/history", "expired", 4), ("/channels", "reset", 1)],
    ids=["purged", "forgotten"],
)


class Servers(NamedTuple):
    """Where is read and where is written: the same server, or two of one file."""

    reading: str
    writing: str


@pytest.fixture(scope="module", params=["memory", "sqlite", "two servers", "two servers on Redis"])
def servers(
    request: pytest.FixtureRequest,
    start_shared: StartServer,
    tmp_path_factory: pytest.TempPathFactory,
    redis_log: Callable[[], str],
) -> Servers:
    """They are the same for all tests; each has channels of its own."""
    if request.param == "memory":
        url = start_shared().url
        return Servers(url, url)
    file = tmp_path_factory.mktemp("log") / "log.db"
    engine = redis_log() if "Redis" in request.param else f"sqlite:///{file}"
    url = start_shared(engine=engine).url
    return Servers(url, start_shared(engine=engine).url if "two servers" in request.param else url)


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    """A channel that no other test uses."""
    return "".join(c if c.isalnum() else "_" for c in request.node.name)


async def discard(url: str, path: str, channel: str) -> str:
    """Purge or forget a channel; the cursor after that."""
    async with http_client(url) as client:
        answer = await client.delete(path, params={"channel": channel})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"channel": channel, "id": answer.json()["id"]}
    return str(answer.json()["id"])


def is_last(envelope: Envelope) -> bool:
    """Whether it is the message that ends each test."""
    return envelope.get("data") == "last"


def told(envelopes: list[Envelope]) -> list[tuple[str, str, str]]:
    """The gaps that a subscriber was told."""
    return [(e["channel"], e["id"], e["reason"]) for e in envelopes if e["type"] == "gap"]


def messages(envelopes: list[Envelope]) -> list[tuple[Any, int]]:
    """Data and seq of the messages that a subscriber got."""
    return [(e["data"], e["seq"]) for e in envelopes if e["type"] == "message"]


@transports
@ways
async def test_readers_that_are_there(
    servers: Servers, channel: str, transport: str, path: str, reason: str, next_seq: int
) -> None:
    envelopes: list[Envelope] = []
    id = ""
    async with (
        http_client(servers.writing) as client,
        aclosing(TRANSPORTS[transport](servers.reading, [channel], since="start")) as stream,
    ):
        await publish_batch(client, [{"channel": channel, "data": n} for n in (1, 2, 3)])
        async for envelope in stream:
            envelopes.append(envelope)
            if envelope.get("data") == 3:
                id = await discard(servers.writing, path, channel)
                await publish(client, {"channel": channel, "data": "last"})
            if is_last(envelope):
                break
    assert told(envelopes) == [(channel, id, reason)]
    assert messages(envelopes) == [(1, 1), (2, 2), (3, 3), ("last", next_seq)]


@transports
@ways
async def test_readers_that_come_back(
    servers: Servers, channel: str, transport: str, path: str, reason: str, next_seq: int
) -> None:
    other = f"{channel}_other"
    async with http_client(servers.writing) as client:
        batch = [{"channel": channel, "data": n} for n in (1, 2)]
        first, _ = await publish_batch(client, [*batch])
        await publish(client, {"channel": other, "data": "other"})
        await publish(client, {"channel": channel, "data": 3})
        id = await discard(servers.writing, path, channel)
        await publish(client, {"channel": channel, "data": "last"})
    # Who writes on one server and reads on another waits until that has heard of it.
    await collect(servers.reading, "longpoll", [channel], since="start", until=is_last)
    envelopes = await collect(
        servers.reading, transport, [channel, other], cursor=first.cursor, until=is_last
    )
    assert told(envelopes) == [(channel, id, reason)]
    assert messages(envelopes) == [("other", 1), ("last", next_seq)]
    assert envelopes[0]["recovered"] is False
    again = await collect(servers.reading, transport, [channel], cursor=id, until=is_last)
    assert (told(again), messages(again)) == ([], [("last", next_seq)])


@ways
async def test_it_outlives_kill_9(
    start: StartServer, shared_engine: str, path: str, reason: str, next_seq: int
) -> None:
    server = start(engine=shared_engine)
    async with http_client(server.url) as client:
        commands = [{"channel": "a", "data": n, "key": str(n)} for n in (1, 2, 3)]
        first, *_ = await publish_batch(client, commands)
    id = await discard(server.url, path, "a")
    server.kill()
    server = start(engine=shared_engine)
    async with http_client(server.url) as client:
        await publish(client, {"channel": "a", "data": "last"})
    envelopes = await collect(server.url, "ws", ["a"], cursor=first.cursor, until=is_last)
    assert told(envelopes) == [("a", id, reason)]
    assert messages(envelopes) == [("last", next_seq)]
