"""Durable consumers under faults: nothing lost, again only what was not acknowledged.

Consumers of the four transports run at the same time; each is a test. With memory and SQLite they
have one server; with Redis two, and each of their connections goes to the other one.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.acceptance.subscribers import TRANSPORTS, collect, http_client, publish
from tests.acceptance.waiting import until
from tests.faults.clients import Publisher
from tests.faults.consumers import Consumer, judge_consumer
from tests.faults.engines import ENGINES, REDIS, engine_url
from tests.faults.lanes import Outcome, end, failed, warm_up
from tests.faults.model import Published
from tests.faults.proxy import FaultyProxy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.faults.report import Report
    from tests.server_process import ServerProcess

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

FAULTS = ("cut", "stall", "twice", "no answer")
CHANNELS = ["a", "b", "c"]
FAULTS_EACH = 5
MESSAGES = 500
KILLS = 6
SETTLES_WITHIN = 40.0
"""Seconds until all is acknowledged; far above the usual one, for a loaded machine."""

SETTINGS = {"history_size": 1_000_000, "max_deliver": 0}
PATIENCE = 0.5


def consumers(patience: float) -> dict[str, Consumer]:
    """One consumer for each transport."""
    return {
        transport: Consumer(f"of-{transport}", transport, CHANNELS, patience=patience)
        for transport in TRANSPORTS
    }


def publishers(published: Published, stop: asyncio.Event, patience: float) -> list[Publisher]:
    """One publisher of single messages and one of batches."""
    return [
        Publisher(name, published, CHANNELS, stop, patience=patience)
        for name in ("single", "batch")
    ]


async def check_at_rest(server: ServerProcess) -> None:
    """All is acknowledged: a new connection brings only what is new."""
    async with http_client(server.url) as client:
        last = await publish(client, {"channel": CHANNELS[0], "data": "the end"})
    for transport in TRANSPORTS:
        envelopes = await collect(
            server.url,
            transport,
            CHANNELS,
            until=lambda envelope: envelope["type"] == "message",
            parameters={"consumer": f"of-{transport}"},
        )
        assert envelopes[-1]["id"] == f"{last.epoch}-{last.position}", transport


async def perform(servers: list[ServerProcess], fault: str) -> Outcome:
    """Run until every consumer has had its faults; heal; wait until all is acknowledged."""
    url, start = servers[0].url, await warm_up(servers[0])
    published, stop = Published(), asyncio.Event()
    readers = consumers(PATIENCE)
    single, batch = publishers(published, stop, PATIENCE)
    healing: list[FaultyProxy] = []
    injected: dict[str, Counter[str]] = {}
    urls: dict[str, list[str]] = {}
    async with AsyncExitStack() as stack:
        for name in ("single", "batch", *readers):
            proxies: list[FaultyProxy] = []
            for server in servers:
                proxy = FaultyProxy(
                    server.address,
                    fault,
                    seed=f"consumers {fault} {name}",
                    beside=proxies[0] if proxies else None,
                )
                proxies.append(await stack.enter_async_context(proxy))
            healing += proxies
            injected[name] = proxies[0].injected
            urls[name] = [proxy.url for proxy in proxies]
        for consumer in readers.values():
            await consumer.create(url, start)
        publishing = [
            asyncio.create_task(single.over_http(urls["single"], count=1, pause=0.02)),
            asyncio.create_task(batch.over_http(urls["batch"], count=8, pause=0.04)),
        ]
        tasks = publishing + [
            asyncio.create_task(consumer.listen(urls[name])) for name, consumer in readers.items()
        ]
        try:
            await until(
                lambda: (
                    failed(tasks)
                    or (
                        len(published.acknowledged) >= MESSAGES
                        and all(injected[name].total() >= FAULTS_EACH for name in readers)
                    )
                ),
                within=60,
            )
            for proxy in healing:
                proxy.heal()
            stop.set()
            await settled(url, published, readers, publishing, tasks)
        finally:
            await end(tasks)
    await check_at_rest(servers[-1])
    # Another server counts from what the last one has noted, which may lack what it sent last.
    outcome = judged(published, readers, counts=len(servers) == 1)
    outcome.injected.update(injected)
    return outcome


async def settled(
    url: str,
    published: Published,
    readers: dict[str, Consumer],
    publishing: list[asyncio.Task[None]],
    tasks: list[asyncio.Task[None]],
) -> None:
    """Wait until everything is published, and then acknowledged by everybody.

    Each message: the newest may be acknowledged by itself, while an older one is to come again.
    """
    await until(
        lambda: failed(tasks) or all(task.done() for task in publishing), within=SETTLES_WITHIN
    )
    told = {each.name: each.done() for each in readers.values()}
    async with asyncio.timeout(SETTLES_WITHIN), http_client(url) as client:
        for message in published.acknowledged.values():
            behind = {name for name, done in told.items() if not done.has(message.position)}
            # By the receipts: an acknowledgement may be kept though its answer was lost.
            id = f"{message.epoch}-{message.position}"
            query = urlencode({"channel": message.channel, "eventId": id})
            while behind and not failed(tasks):
                receipts = (await client.get(f"/receipts?{query}")).json()["consumers"]
                behind -= {each["consumer"] for each in receipts if each["acknowledged"]}
                if behind:
                    await asyncio.sleep(0.05)


def judged(published: Published, readers: dict[str, Consumer], *, counts: bool) -> Outcome:
    """A verdict on each consumer."""
    return Outcome(
        {
            name: judge_consumer(
                published, consumer.events, counts=counts, in_order=consumer.transport == "ws"
            )
            for name, consumer in readers.items()
        }
    )


@pytest.fixture(
    scope="module", params=list(itertools.product(FAULTS, [*ENGINES, REDIS])), ids="-".join
)
def outcome(
    request: pytest.FixtureRequest,
    start_shared: StartServer,
    tmp_path_factory: pytest.TempPathFactory,
    redis_log: Callable[[], str],
    report: Report,
) -> Outcome:
    """What one fault did to the consumers of one engine."""
    fault, engine = request.param
    url = redis_log() if engine == REDIS else engine_url(engine, tmp_path_factory.mktemp("log"))
    servers = [start_shared(engine=url, **SETTINGS) for _ in range(2 if engine == REDIS else 1)]
    outcome = asyncio.run(perform(servers, fault))
    for server in servers:
        server.terminate()
        assert server.wait() == 0
    report.add(f"consumers, {fault}, {engine}", outcome)
    return outcome


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nothing_is_lost_and_what_is_acknowledged_never_comes_again(
    outcome: Outcome, transport: str
) -> None:
    assert outcome.injected[transport].total() >= FAULTS_EACH, "the network was too good"
    verdict = outcome.verdicts[transport]
    verdict.check()
    assert (verdict.lost, verdict.duplicated) == (0, 0)


@pytest.mark.crash
async def test_kills_of_a_server_with_consumers(
    start: StartServer, tmp_path: Path, report: Report
) -> None:
    """What was acknowledged stays so. Counts of deliveries may be behind by what was sent last."""
    restart = partial(start, engine=engine_url("sqlite", tmp_path), **SETTINGS)
    server = restart()
    url = server.url
    cursor = await warm_up(server)
    published, stop = Published(), asyncio.Event()
    readers = consumers(1.0)
    single, batch = publishers(published, stop, 5.0)
    for consumer in readers.values():
        await consumer.create(url, cursor)
    publishing = [
        asyncio.create_task(single.over_http(url, count=1, pause=0.01)),
        asyncio.create_task(batch.over_http(url, count=8, pause=0.02)),
    ]
    tasks = publishing + [asyncio.create_task(each.listen(url)) for each in readers.values()]
    choice = random.Random("kills of consumers")
    try:
        for _ in range(KILLS):
            enough = len(published.acknowledged) + choice.randrange(20, 200)
            await until(lambda: failed(tasks) or len(published.acknowledged) > enough)  # noqa: B023
            server.kill()
            server = await asyncio.to_thread(restart, port=server.port)
        stop.set()
        await settled(url, published, readers, publishing, tasks)
    finally:
        await end(tasks)
    await check_at_rest(server)
    outcome = judged(published, readers, counts=False)
    outcome.injected["server"] = Counter({"kill -9": KILLS})
    report.add("consumers, kill -9, sqlite", outcome)
    for verdict in outcome.verdicts.values():
        verdict.check()
