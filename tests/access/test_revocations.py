"""What is revoked, and who hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.log.harness import Clock
from tidewire.access.caller import OPEN, Caller
from tidewire.access.revocations import CHANNEL, Revocation, Revocations
from tidewire.log import MemoryEngine
from tidewire.model import Namespaces, Retention

if TYPE_CHECKING:
    from tidewire.model import Message


class Server:
    """One of the servers that share a log, as far as it hears of revocations."""

    def __init__(self, engine: MemoryEngine, clock: Clock, ttl: float = 1000) -> None:
        self.heard: list[Revocation] = []
        self.revocations = Revocations(engine, ttl, self.heard.append, clock)

    def feed(self, messages: list[Message]) -> None:
        for message in messages:
            if message.channel == CHANNEL:
                self.revocations.hear(message)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def servers(clock: Clock) -> list[Server]:
    """Two servers of one log."""
    engine = MemoryEngine(Namespaces(Retention(100, 10**12)), clock=clock)
    both = [Server(engine, clock), Server(engine, clock)]

    def feed(messages: list[Message]) -> None:
        for server in both:
            server.feed(messages)

    await engine.open(feed)
    return both


def user(name: str = "ann", issued: float | None = None, token_id: str | None = None) -> Caller:
    return Caller("user", name, issued=issued, token_id=token_id)


async def test_every_server_hears_of_it(servers: list[Server], clock: Clock) -> None:
    await servers[0].revocations.revoke("user", "ann")
    for server in servers:
        assert [(one.what, one.name) for one in server.heard] == [("user", "ann")]
        assert server.revocations.refuses(user(issued=clock()))


async def test_a_users_later_tokens_are_good(servers: list[Server], clock: Clock) -> None:
    await servers[0].revocations.revoke("user", "ann")
    refuses = servers[1].revocations.refuses
    assert refuses(user(issued=clock() - 1))
    assert refuses(user(issued=clock()))
    assert not refuses(user(issued=clock() + 1))
    assert refuses(user(issued=None)), "nothing shows that it was issued later"
    assert not refuses(user("bob", issued=clock() - 1))


async def test_one_token_is_refused_whenever_it_was_issued(
    servers: list[Server], clock: Clock
) -> None:
    await servers[0].revocations.revoke("token", "t1")
    refuses = servers[0].revocations.refuses
    assert refuses(user(issued=clock() + 5, token_id="t1"))
    assert not refuses(user(issued=clock(), token_id="t2"))
    assert not refuses(user(issued=clock()))


async def test_a_session_is_refused_by_its_id(servers: list[Server]) -> None:
    await servers[0].revocations.revoke("session", "s1")
    assert servers[1].revocations.has("session", "s1")
    assert not servers[1].revocations.has("session", "s2")
    assert not servers[1].revocations.has("user", "s1")


async def test_it_is_forgotten_in_the_end(servers: list[Server], clock: Clock) -> None:
    await servers[0].revocations.revoke("user", "ann")
    await servers[0].revocations.revoke("session", "s1")
    issued = clock()
    clock.move(1001)
    assert not servers[0].revocations.refuses(user(issued=issued))
    assert not servers[0].revocations.has("session", "s1")


async def test_a_server_that_starts_later_knows(servers: list[Server], clock: Clock) -> None:
    for number in range(2_500):
        await servers[0].revocations.revoke("token", f"t{number}")
    later = Server(servers[0].revocations._engine, clock)  # type: ignore[arg-type]
    await later.revocations.load()
    assert later.heard == []
    assert later.revocations.refuses(user(token_id="t0"))
    assert later.revocations.refuses(user(token_id="t2499"))


async def test_what_is_over_does_not_pile_up(servers: list[Server], clock: Clock) -> None:
    server = servers[0]
    for number in range(10_000):
        server.revocations._keep(Revocation("token", f"t{number}", clock(), clock() + 10))
    clock.move(11)
    server.revocations._keep(Revocation("token", "new", clock(), clock() + 10))
    assert len(server.revocations._known) == 1


async def test_keys_and_open_servers_are_not_concerned(servers: list[Server]) -> None:
    await servers[0].revocations.revoke("user", "shop")
    assert not servers[0].revocations.refuses(Caller("key", "shop"))
    assert not servers[0].revocations.refuses(OPEN)
