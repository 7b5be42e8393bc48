"""Tickets: good once, for seconds, and for one origin."""

from __future__ import annotations

import asyncio

import pytest

from tests.log.harness import Clock
from tidewire.access.caller import OPEN, Caller, CallerLimits, Grant
from tidewire.access.tickets import TABLE, Tickets
from tidewire.log import MemoryEngine
from tidewire.model import InvalidTicket, Namespaces, Retention

ANN = Caller(
    "user",
    "ann",
    grants=[Grant("chat:*", frozenset({"subscribe"}))],
    token_id="t1",
    issued=1_000,
    expires=9_000,
    device="phone",
    limits=CallerLimits(connections=2),
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def engine(clock: Clock) -> MemoryEngine:
    engine = MemoryEngine(Namespaces(Retention(100, 10**12)), clock=clock)
    await engine.open(lambda messages: None)
    return engine


@pytest.fixture
def tickets(engine: MemoryEngine, clock: Clock) -> Tickets:
    return Tickets(engine, 30.0, clock)


async def test_it_stands_for_all_that_its_caller_is(tickets: Tickets) -> None:
    caller = await tickets.redeem(await tickets.issue(ANN, None), None)
    for name in ("kind", "name", "token_id", "issued", "expires", "device", "limits", "grants"):
        assert getattr(caller, name) == getattr(ANN, name)


async def test_it_is_good_once(tickets: Tickets) -> None:
    ticket = await tickets.issue(ANN, None)
    await tickets.redeem(ticket, None)
    for _ in range(3):
        with pytest.raises(InvalidTicket):
            await tickets.redeem(ticket, None)


async def test_of_many_at_once_one_gets_in(tickets: Tickets) -> None:
    ticket = await tickets.issue(ANN, None)
    found = await asyncio.gather(
        *(tickets.redeem(ticket, None) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(one, Caller) for one in found) == 1


async def test_it_is_good_for_a_while_only(tickets: Tickets, clock: Clock) -> None:
    first, second = await tickets.issue(ANN, None), await tickets.issue(ANN, None)
    clock.move(29)
    await tickets.redeem(first, None)
    clock.move(2)
    with pytest.raises(InvalidTicket):
        await tickets.redeem(second, None)


async def test_it_is_for_pages_of_its_origin(tickets: Tickets) -> None:
    ticket = await tickets.issue(ANN, "https://app.example")
    assert (await tickets.redeem(ticket, "https://app.example")).name == "ann"


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null", "https://app.example:1"])
async def test_on_a_page_of_another_origin_it_is_lost(tickets: Tickets, origin: str | None) -> None:
    ticket = await tickets.issue(ANN, "https://app.example")
    with pytest.raises(InvalidTicket, match="another origin"):
        await tickets.redeem(ticket, origin)
    with pytest.raises(InvalidTicket):
        await tickets.redeem(ticket, "https://app.example")


@pytest.mark.parametrize("origin", ["https://app.example:8443", "http://app.example:8443"])
async def test_a_page_of_the_servers_own_need_not_name_it(tickets: Tickets, origin: str) -> None:
    """A browser's EventSource does not; all it tells is that the origin is the same."""
    ticket = await tickets.issue(ANN, origin)
    assert (await tickets.redeem(ticket, None, "app.example:8443")).name == "ann"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "evil.example"),
        (None, "app.example:8443"),
        (None, "evil-app.example"),
        (None, ""),
        ("https://evil.example", "app.example"),
    ],
)
async def test_nor_can_another_pass_for_it(tickets: Tickets, origin: str | None, host: str) -> None:
    ticket = await tickets.issue(ANN, "https://app.example")
    with pytest.raises(InvalidTicket, match="another origin"):
        await tickets.redeem(ticket, origin, host)


@pytest.mark.parametrize("ticket", ["", "no-such-ticket", "\0", "x" * 100_000, "é\ud800"])
async def test_what_is_no_ticket(tickets: Tickets, ticket: str) -> None:
    with pytest.raises(InvalidTicket):
        await tickets.redeem(ticket, None)


async def test_the_log_does_not_hold_the_ticket_itself(
    tickets: Tickets, engine: MemoryEngine
) -> None:
    ticket = await tickets.issue(ANN, None)
    [(key, value)] = await engine.scan(TABLE, "", "", 10)
    assert ticket not in key
    assert ticket.encode() not in value


async def test_who_could_do_everything_gets_no_ticket_that_says_so(tickets: Tickets) -> None:
    """The next start of the server may ask for credentials."""
    assert (await tickets.redeem(await tickets.issue(OPEN, None), None)).kind == "anonymous"


async def test_two_are_never_the_same(tickets: Tickets) -> None:
    issued = {await tickets.issue(ANN, None) for _ in range(100)}
    assert len(issued) == 100
    assert all(len(ticket) == 43 for ticket in issued)
