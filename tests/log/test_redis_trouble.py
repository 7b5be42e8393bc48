"""The Redis engine when Redis is away, hangs, is full, is not its own, or too old."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.certificates import Authority
from tests.listening import HOST, Listener
from tests.log.harness import HOUR, draft, drafts
from tests.log.redis_storage import NAMESPACES, WITHIN, Node, RedisStorage, Way
from tests.redis_server import RedisServer
from tidewire.log import (
    redis_connection,
    redis_directory,
    redis_link,
    redis_records,
    redis_writer,
)
from tidewire.log.redis import RedisEngine
from tidewire.log.redis_address import parse_address
from tidewire.model import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, which keeps all on its disk."""
    with RedisServer(tmp_path / "redis", appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture
def storage(server: RedisServer) -> RedisStorage:
    return RedisStorage(server)


@pytest.fixture
async def node(storage: RedisStorage) -> AsyncIterator[Node]:
    async with Node(storage.url) as node:
        yield node


@contextmanager
def hanging(server: RedisServer) -> Iterator[pytest.MonkeyPatch]:
    """Have the server stand still, which is noticed in half a second.

    Only meanwhile: on a busy machine one that does not hang may be silent for longer.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis_connection, "SILENCE_SECONDS", 0.5)
        patch.setattr(redis_connection, "BEAT_SECONDS", 0.1)
        server.stop()
        try:
            yield patch
        finally:
            server.cont()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gives up what is under way because the machine is busy."""
    monkeypatch.setattr(redis_writer, "PATIENCE_SECONDS", WITHIN)
    monkeypatch.setattr(redis_records, "PATIENCE_SECONDS", WITHIN)


async def refused(url: str) -> str:
    """Why the engine does not open."""
    engine = RedisEngine(parse_address(url), NAMESPACES)
    with pytest.raises(EngineUnavailable) as raised:
        await engine.open(lambda messages: None)
    return raised.value.detail


# Away


async def test_while_redis_is_away_nothing_is_taken_and_nothing_read(
    server: RedisServer, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tidewire.log")
    await node.append(*drafts(3))
    server.kill()
    await node.until(lambda: caplog.records)
    engine = node.engine
    for future in (
        engine.append(drafts(1)),
        engine.purge("a", forget=False),
        engine.change("t", "k", lambda _: b"1", HOUR),
    ):
        assert future.done(), "who publishes is told at once"
        with pytest.raises(EngineUnavailable, match="is away now") as raised:
            await future
        assert str(server.port) not in raised.value.detail
        assert str(server.port) in raised.value.why or raised.value.why
    for reading in (node.read(0), engine.get("t", "k"), engine.scan("t", "", "", 9)):
        with pytest.raises(EngineUnavailable, match="is away now"):
            await reading
    server.restart()
    [receipt] = await node.append_when_back(draft())
    assert receipt.seq == 4
    assert [message.seq for message in node.fed] == [1, 2, 3, 4]
    assert node.breaks == []
    assert await engine.get("t", "k") is None
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in told] == ["WARNING", "INFO"], told
    assert "is away" in told[0][1]
    assert "is back after" in told[1][1]


async def test_what_others_appended_meanwhile_is_fed(
    server: RedisServer, storage: RedisStorage
) -> None:
    async with (
        Way(server) as way,
        Node(storage.url) as one,
        Node(way.engine(prefix=storage.prefix)) as other,
    ):
        await one.append(*drafts(2))
        await other.until(lambda: len(other.fed) == 2)
        way.cut()
        for _ in range(40):  # more than is read at once
            await one.append(*drafts(3))
        way.open = True
        await other.until(lambda: len(other.fed) == 122)
        await one.append(draft())
        await other.until(lambda: len(other.fed) == 123)
        assert other.data == one.data
        assert other.breaks == []


async def test_a_feed_that_was_trimmed_is_a_break(
    server: RedisServer, storage: RedisStorage
) -> None:
    async with (
        Way(server) as way,
        Node(storage.url) as one,
        Node(way.engine(prefix=storage.prefix)) as other,
    ):
        [first] = await one.append(draft())
        await other.until(lambda: other.fed)
        way.cut()
        missed = [receipt for _ in range(3) for receipt in await one.append(draft())]
        storage.ask("XTRIM", "feed", "MAXLEN", 1)
        way.open = True
        await other.until(lambda: other.breaks)
        assert other.breaks == [(first.id, missed[-1].id)]
        [last] = await one.append(draft())
        await other.until(lambda: len(other.fed) == 2)
        assert other.fed[-1].id == last.id
        page = await other.read(first.id)
        assert [message.id for message in page.messages] == [
            *(receipt.id for receipt in missed), last.id,
        ]  # fmt: skip
        assert page.gaps == []


async def test_a_server_that_hangs_is_noticed_by_who_publishes(
    server: RedisServer, node: Node
) -> None:
    await node.append(draft())
    with hanging(server) as patch:
        patch.setattr(redis_writer, "PATIENCE_SECONDS", 0.6)
        with pytest.raises(EngineUnavailable, match="nobody can tell"):
            await node.append(draft())
        with pytest.raises(EngineUnavailable, match="is away now"):
            await node.append(draft())
    await node.append_when_back(draft())
    # The one that nobody could tell of had arrived: it is there, once, and in the feed.
    assert [message.seq for message in node.fed] == [1, 2, 3]
    assert node.breaks == []


async def test_a_server_that_hangs_is_noticed_by_who_is_idle(
    server: RedisServer, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    with hanging(server):
        await node.until(lambda: "no answer for" in caplog.text)
    await node.append_when_back(draft())


async def test_a_server_that_goes_on_in_time_answers(
    patient: None, server: RedisServer, node: Node
) -> None:
    with hanging(server):
        publishing = asyncio.ensure_future(node.engine.append(drafts(2)))
        changing = node.engine.change("t", "k", lambda old: (old or b"") + b"1", HOUR)
        await asyncio.sleep(0.5)
    assert [receipt.seq for receipt in await publishing] == [1, 2]
    assert [message.seq for message in node.fed] == [1, 2]
    assert await changing == b"1"
    assert await node.engine.get("t", "k") == b"1"


@pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "command lost"])
async def test_a_batch_whose_answer_is_lost_is_appended_once(
    patient: None, server: RedisServer, storage: RedisStorage, arrives: bool
) -> None:
    async with (
        Way(server) as way,
        Node(storage.url) as witness,
        Node(way.engine(prefix=storage.prefix)) as node,
    ):
        await node.append(draft("a", b"0"))
        if arrives:
            way.cut_behind = b"unlike any other"
        else:
            way.cut()
        appending = node.engine.append([draft("a", b'"unlike any other"'), draft("b")])
        if arrives:
            await witness.until(lambda: len(witness.fed) == 3 and way.lost)
            way.cut()
        way.open = True
        receipts = await appending
        assert [(r.channel, r.seq) for r in receipts] == [("a", 2), ("b", 1)]
        await witness.append(draft("a", b"2"))
        await node.until(lambda: len(node.fed) == 4)
        assert node.data == witness.data
        assert [m.seq for m in (await node.read(0)).messages] == [1, 2, 3]
        assert node.breaks == []


async def test_a_change_whose_answer_is_lost_is_made_once(
    patient: None, server: RedisServer, storage: RedisStorage
) -> None:
    async with (
        Way(server) as way,
        Node(storage.url) as witness,
        Node(way.engine(prefix=storage.prefix)) as node,
    ):
        way.cut_behind = b"unlike any other"
        changing = node.engine.change(
            "t", "k", lambda old: (old or b"") + b"unlike any other", HOUR
        )
        await witness.until(lambda: way.lost)
        way.cut()
        way.open = True
        assert await changing == b"unlike any other"
        assert await witness.engine.get("t", "k") == b"unlike any other"


async def test_what_waits_behind_a_batch_fails_when_the_connection_ends(
    patient: None, server: RedisServer, node: Node
) -> None:
    await node.append(draft())
    with hanging(server):
        first = node.engine.append(drafts(1))
        await asyncio.sleep(0)  # it is sent in the next turn
        await asyncio.sleep(0)
        second = node.engine.append(drafts(1))
        with pytest.raises(EngineUnavailable, match="is away now"):
            await second
        assert not first.done()
    assert (await first)[0].seq == 2
    assert [message.seq for message in node.fed] == [1, 2]


async def test_closing_while_redis_is_away(server: RedisServer, storage: RedisStorage) -> None:
    async with Node(storage.url) as node:
        await node.append(draft())
        server.kill()
        await asyncio.sleep(0.05)


async def test_closing_while_a_server_that_hangs_is_greeted(
    server: RedisServer, storage: RedisStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not greeted again, however many turns of the loop the greeting has been on its way."""
    monkeypatch.setattr(redis_link, "FIRST_WAIT", 0)
    nodes = [Node(storage.url) for _ in range(20)]
    for node in nodes:
        await node.engine.open(node.fed.extend)

    async def close_after(turns: int, engine: RedisEngine) -> None:
        greeted = asyncio.Event()
        find = engine._link.directory.find

        async def found() -> tuple[str, int]:
            greeted.set()
            return await find()

        monkeypatch.setattr(engine._link.directory, "find", found)
        await greeted.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        await engine.close()

    closings = [
        asyncio.create_task(close_after(turns, node.engine)) for turns, node in enumerate(nodes)
    ]
    await asyncio.sleep(0)  # each has begun
    with hanging(server) as patch:
        patch.setattr(redis_directory, "CONNECT_SECONDS", 0.3)
        await asyncio.wait(closings, timeout=WITHIN)
    assert all(closing.done() for closing in closings)
    await asyncio.gather(*closings)


async def test_large_batches_are_fetched_by_who_did_not_write_them(
    server: RedisServer, storage: RedisStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis would cut off those who listen, if they were published."""
    server.configure(client_output_buffer_limit="pubsub 4mb 2mb 1")
    large = b'"%b"' % (b"x" * 6_000_000)
    async with Node(storage.url) as one, Node(storage.url) as other:
        futures = [one.engine.append([draft("a", large)])]
        futures += [node.engine.append([draft("a")]) for node in (other, one) for _ in range(3)]
        futures.append(other.engine.append([draft("b", large)]))
        futures += [node.engine.append([draft("a")]) for node in (other, one) for _ in range(3)]
        receipts = [receipt for future in futures for receipt in await future]
        last = max(receipt.id for receipt in receipts)
        for node in (one, other):
            await node.until_fed(last)
            assert sorted(m.id for m in node.fed) == sorted(receipt.id for receipt in receipts)
            assert node.breaks == []
        assert one.data == other.data
        assert not caplog.records, "nobody was cut off"


# Not as it should be


async def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert "cannot be read" in await refused(f"rediss://localhost?ca={tmp_path}/none")


async def test_no_server(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        url = server.engine()
    assert "Connect" in (why := await refused(url)) or "refused" in why


async def test_a_wrong_password(tmp_path: Path) -> None:
    with RedisServer(tmp_path, password="open/sesame:@") as server:
        async with Node(server.engine()) as node:
            await node.append(draft())
        why = await refused(f"redis://:guessed@127.0.0.1:{server.port}")
        assert "WRONGPASS" in why
        assert "guessed" not in why
        assert "NOAUTH" in await refused(f"redis://127.0.0.1:{server.port}")


async def test_an_encrypted_connection(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with RedisServer(tmp_path / "redis", tls=authority) as server:
        async with Node(server.engine()) as node:
            await node.append(draft())
            assert [m.seq for m in (await node.read(0)).messages] == [1]
        assert "certificate" in await refused(f"rediss://127.0.0.1:{server.port}")


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with RedisServer(tmp_path, unixsocket=path):
        async with Node(f"redis+unix://{path}?database=3&prefix=p") as node:
            await node.append(draft())
            assert [m.seq for m in (await node.read(0)).messages] == [1]
        assert "No such file" in await refused(f"redis+unix://{path}x")


async def test_a_replica_takes_no_messages(tmp_path: Path, server: RedisServer) -> None:
    with RedisServer(tmp_path / "replica", replicaof=("127.0.0.1", server.port)) as replica:
        assert "is a replica" in await refused(replica.engine())


async def test_a_master_that_becomes_a_replica_is_left(
    tmp_path: Path, server: RedisServer, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    await node.append(draft())
    with RedisServer(tmp_path / "other") as other:
        server.ask("REPLICAOF", "127.0.0.1", other.port)
        await node.until(lambda: "READONLY" in caplog.text)
        with pytest.raises(EngineUnavailable):
            await node.append(draft())
        server.ask("REPLICAOF", "NO", "ONE")
        await node.append_when_back(draft())


async def test_an_old_version(storage: RedisStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_link, "OLDEST", (99, 0))
    assert "the log needs 99.0 or later" in await refused(storage.url)


@pytest.mark.parametrize("name", ["log", "feed"])
async def test_keys_of_something_else(storage: RedisStorage, name: str) -> None:
    async with Node(storage.url) as node:
        await node.append(draft())
    storage.ask("DEL", name)
    storage.ask("SET", name, "something else")
    assert "choose another ?prefix=" in await refused(storage.url)


async def test_a_log_of_another_version(storage: RedisStorage) -> None:
    async with Node(storage.url) as node:
        await node.append(draft())
    storage.ask("HSET", "log", "format", 7)
    assert "its format is 7, that of this version 1" in await refused(storage.url)


async def test_something_that_is_not_redis() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with Listener(serve) as listener:
        url = f"redis://{HOST}:{listener.port}"
        assert "does not speak as Redis does" in await refused(url)


async def test_scripts_that_were_forgotten(server: RedisServer, node: Node) -> None:
    await node.append(draft())
    server.ask("SCRIPT", "FLUSH")
    assert (await node.append(draft()))[0].seq == 2
    server.ask("SCRIPT", "FLUSH")
    assert await node.engine.change("t", "k", lambda _: b"1", HOUR) == b"1"
    assert [message.seq for message in node.fed] == [1, 2]


async def test_a_full_server_refuses_and_takes_again(server: RedisServer, node: Node) -> None:
    await node.append(draft())
    server.configure(maxmemory="100kb")
    with pytest.raises(EngineUnavailable, match="the log says OOM"):
        await node.append(draft())
    with pytest.raises(EngineUnavailable, match="the log says OOM"):
        await node.engine.change("t", "k", lambda _: b"1", HOUR)
    server.configure(maxmemory="0")
    assert (await node.append(draft()))[0].seq == 2
    assert [message.seq for message in node.fed] == [1, 2]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_may_throw_keys_away_is_warned_of(
    server: RedisServer, storage: RedisStorage, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.configure(maxmemory_policy=policy)
    async with Node(storage.url):
        assert not caplog.records, "without a bound it throws nothing away"
    server.configure(maxmemory="100mb")
    async with Node(storage.url):
        assert f"has maxmemory-policy {policy}" in caplog.text


# Replicas


async def test_replicas_that_do_not_hold_the_message(
    storage: RedisStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_writer, "REPLICA_SECONDS", 0.2)
    async with Node(f"{storage.url}&replicas=1") as node:
        with pytest.raises(EngineUnavailable, match="0 of 1 replicas"):
            await node.append(draft())
        assert [message.seq for message in node.fed] == [1]


async def test_replicas_that_hold_the_message(
    tmp_path: Path, server: RedisServer, storage: RedisStorage
) -> None:
    with RedisServer(tmp_path / "replica", replicaof=("127.0.0.1", server.port)) as replica:
        async with Node(f"{storage.url}&replicas=1") as node:
            await node.append(draft())
            assert replica.ask("XLEN", storage.key("m:a")) == 1
            assert await node.engine.change("t", "k", lambda _: b"1", HOUR) == b"1"
            assert replica.ask("HLEN", storage.key("records")) == 1
