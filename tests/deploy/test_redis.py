"""The example configurations for Redis: real servers start with them, and a log works there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.checker import check_received
from tests.acceptance.subscribers import Subscriber, http_client, numbered, publish_batch
from tests.acceptance.waiting import until
from tests.certificates import Authority
from tests.redis_groups import RedisCluster, SentinelGroup
from tests.redis_server import RedisServer
from tests.server_process import StartError
from tidewire.settings import Settings

if TYPE_CHECKING:
    from tests.conftest import StartServer

EXAMPLES = Path(__file__).parents[2] / "deploy" / "redis"
PASSWORD = "CHANGE-ME"


async def check_log(start: StartServer, engine: str) -> None:
    """What is published at one server comes at another."""
    first, second = start(engine=engine), start(engine=engine)
    async with http_client(first.url) as client:
        published = await publish_batch(client, numbered(20, ["a", "b"]))
    subscriber = Subscriber(["a", "b"], since="start")
    await subscriber.listen(second.url, "ws", until=subscriber.has(20))
    check_received(published, subscriber.messages)


async def test_one_server(start: StartServer, tmp_path: Path) -> None:
    include = [EXAMPLES / "redis.conf"]
    with RedisServer(tmp_path / "redis", password=PASSWORD, include=include) as redis:
        assert redis.ask("CONFIG", "GET", "maxmemory-policy")[1] == "noeviction"
        assert redis.ask("CONFIG", "GET", "appendfsync")[1] == "everysec"
        await check_log(start, redis.engine())
        redis.restart()
        await check_log(start, redis.engine(prefix="another"))


async def test_sentinel(start: StartServer, tmp_path: Path) -> None:
    text = (EXAMPLES / "sentinel.conf").read_text()
    lines = [line for line in text.splitlines() if line.startswith("sentinel ")]
    assert len(lines) == 4
    with SentinelGroup(
        tmp_path / "redis", password=PASSWORD, lines=lines, include=[EXAMPLES / "redis.conf"]
    ) as group:
        await check_log(start, group.engine())


async def test_cluster(start: StartServer, tmp_path: Path) -> None:
    include = [EXAMPLES / "redis.conf", EXAMPLES / "cluster.conf"]
    with RedisCluster(tmp_path / "redis", password=PASSWORD, include=include) as cluster:
        await check_log(start, cluster.engine())


def test_every_address_of_the_page_is_one() -> None:
    page = (EXAMPLES.parents[1] / "docs" / "deployment" / "redis.md").read_text()
    addresses = set(re.findall(r"rediss?(?:\+[a-z]+)?://[^\s'`…]+", page))
    assert len(addresses) >= 4
    for address in addresses:
        Settings(engine=address.replace("HOST:PORT", "host:1").replace("DATABASE", "1"))


async def test_encrypted_and_with_a_password_that_is_never_shown(
    start: StartServer, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    with RedisServer(tmp_path / "redis", password="very secret", tls=authority) as redis:
        await check_log(start, redis.engine())
        server = start(engine=redis.engine(), log_level="debug")
        redis.restart()
        await until(lambda: "is back" in server.log())
        with pytest.raises(StartError) as wrong:
            start(engine=redis.engine().replace("very", "quite"))
        with pytest.raises(StartError) as unknown:
            start(engine=redis.engine().partition("?")[0])
    assert "rediss://:***@127.0.0.1" in server.log()
    texts = [server.log()]
    for error, why in ((wrong, "WRONGPASS"), (unknown, "certificate verify failed")):
        _, _, log = str(error.value).partition("did not start to listen:")
        assert why in log
        texts.append(log)
    for secret in ("very secret", "very%20secret", "quite secret", "quite%20secret"):
        assert not any(secret in text for text in texts)
