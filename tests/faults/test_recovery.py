"""The recovery table of another system's own tests, row by row, on every engine and transport.

``tests/data/recovery_cases.json`` has the facts. Its offsets are those of one channel: offset 8 is
here the id of the channel's eighth message, 0 a cursor from before its first, and one that is not
there yet an id beyond the log's end. Its mode ``cache`` is the policy ``latest``.

Where this server answers otherwise than a row says, ``BETTER`` says so and why.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from tests.acceptance.checker import Envelope, Message, body_of, from_envelope
from tests.acceptance.subscribers import (
    TRANSPORTS,
    http_client,
    numbered,
    publish,
    publish_batch,
)
from tests.acceptance.waiting import wait_until
from tests.faults.engines import ENGINES, engine_url

if TYPE_CHECKING:
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

DATA = Path(__file__).parent.parent / "data" / "recovery_cases.json"
CASES: list[dict[str, Any]] = json.loads(DATA.read_text("utf-8"))["cases"]

FUTURE = 3_600_000_000
"""How far beyond the log's end a cursor is that does not exist yet: an hour, in µs."""

SENTINEL = "the sentinel"


class Better(NamedTuple):
    """What this server answers instead: ``gap`` is the reason told for what is missing."""

    messages: int
    recovered: bool
    why: str


BETTER = {
    "from_position_limited": Better(5, True, "it reads page after page until all is there"),
    "from_position_with_server_limit": Better(5, True, "no limit ends a recovery early"),
    "from_position_already_gone": Better(10, False, "what is left is sent behind the gap"),
    "cache_empty": Better(0, True, "nothing was ever published, so nothing is missing"),
}

GONE = {
    "from_position_already_gone": "expired",
    "from_position_not_exist_yet": "reset",
    "in_expired_stream": "expired",
    "cache_expired": "expired",
}
"""Why something is missing that the answer must tell, in words that the table has not."""


class Prepared(NamedTuple):
    """A server on which every row was prepared in channels of its own, one for each transport."""

    server: ServerProcess
    before: Message
    published: dict[str, list[Message]]

    def cursor(self, case: dict[str, Any], channel: str) -> str:
        """The cursor that stands for the row's offset."""
        messages = self.published[channel]
        offset = case["since_offset"]
        known = [self.before, *messages]
        place = known[offset].position if offset < len(known) else known[-1].position + FUTURE
        return f"{self.before.epoch}-{place}"


def channel_of(case: dict[str, Any], transport: str) -> str:
    """The row's channel; its namespace keeps messages for as long as the row says."""
    return f"ttl{case['history_ttl_s']}:{case['name']}:{transport}"


@pytest.fixture(scope="module", params=ENGINES)
def prepared(
    request: pytest.FixtureRequest,
    start_shared: StartServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Prepared:
    """All that the rows ask for is published, and what is to expire has expired."""
    retentions = {(case["history_size"], case["history_ttl_s"]) for case in CASES}
    namespaces = {
        f"ttl{ttl}": {"history_size": size, "history_ttl": ttl} for size, ttl in retentions
    }
    url = engine_url(request.param, tmp_path_factory.mktemp("log"))
    server = start_shared(engine=url, namespaces=json.dumps(namespaces))
    before, published = asyncio.run(publish_all(server))
    for case in CASES:
        if case["sleep_s"]:
            for transport in TRANSPORTS:
                wait_until_expired(server, channel_of(case, transport))
    return Prepared(server, before, published)


async def publish_all(server: ServerProcess) -> tuple[Message, dict[str, list[Message]]]:
    """Publish what every row needs; the first message is before all of them."""
    async with http_client(server.url) as client:
        before = await publish(client, {"channel": "before", "data": 0})
        return before, {
            channel: await publish_batch(client, numbered(case["published"], [channel]))
            for case in CASES
            for channel in (channel_of(case, transport) for transport in TRANSPORTS)
        }


def wait_until_expired(server: ServerProcess, channel: str) -> None:
    """Wait until the channel has no message left."""

    def is_empty() -> bool:
        answer = httpx.get(f"{server.url}/history?channel={channel}", trust_env=False)
        return not answer.json()["messages"]

    wait_until(is_empty)


async def recover(
    server: ServerProcess, transport: str, channel: str, expected: int, *, held: bool, **start: Any
) -> list[Envelope]:
    """Resume; return what comes before a sentinel that is published once the rest is there.

    A long poll that finds nothing is ``held``: it says nothing before the sentinel.
    """
    stream = TRANSPORTS[transport](server.url, [channel], **start)
    envelopes: list[Envelope] = []
    sentinel = {"channel": channel, "data": SENTINEL}
    async with asyncio.timeout(10), http_client(server.url) as client, aclosing(stream):
        publishing = asyncio.create_task(publish(client, sentinel)) if held else None
        async for envelope in stream:
            if envelope["type"] == "message":
                if from_envelope(envelope).body == body_of(sentinel):
                    break
                expected -= 1
            envelopes.append(envelope)
            if publishing is None and not expected:
                publishing = asyncio.create_task(publish(client, sentinel))
        assert publishing is not None
        await publishing
    return envelopes


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
async def test_recovery(prepared: Prepared, case: dict[str, Any], transport: str) -> None:
    """A row as it stands, or as ``BETTER`` has it; what is missing is told in a gap."""
    name, channel = case["name"], channel_of(case, transport)
    expected = BETTER.get(name) or Better(
        case["expect_recovered_pubs"], case["expect_recovered"], ""
    )
    policy = "latest" if case["mode"] == "cache" else "catch_up"
    envelopes = await recover(
        prepared.server,
        transport,
        channel,
        expected.messages,
        held=transport == "longpoll" and not expected.messages and name not in GONE,
        cursor=prepared.cursor(case, channel),
        parameters={"policy": policy},
    )
    messages = [from_envelope(e) for e in envelopes if e["type"] == "message"]
    newest = prepared.published[channel][-expected.messages :] if expected.messages else []
    assert messages == newest
    (ready,) = [envelope for envelope in envelopes if envelope["type"] == "ready"]
    assert ready["recovered"] is expected.recovered
    reasons = [envelope["reason"] for envelope in envelopes if envelope["type"] == "gap"]
    if name in GONE:
        assert reasons == [GONE[name]]
    elif case["mode"] == "stream":
        assert reasons == []
