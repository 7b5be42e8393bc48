"""Writing who comes and goes: in batches, in order, and again when the log was away."""

from __future__ import annotations

import asyncio

import pytest

from tests.hub.presence_world import CHANNEL, GRACE, SOON, PresenceWorld, run
from tidewire.hub.presence import REFRESH_SECONDS
from tidewire.hub.presence_records import COUNTS, TABLE, client_of_session
from tidewire.model import EngineUnavailable


def test_records_are_written_again_before_they_end() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        node.open("a", CHANNEL)
        await asyncio.sleep(5 * REFRESH_SECONDS)
        assert world.told("a") == ["join a"]
        assert await node.clients() == [client_of_session("a")]
        node.close("a")
        await asyncio.sleep(GRACE + 1)
        assert world.told("a") == ["join a", "leave a"]

    run(story)


def test_many_at_once_are_few_messages_a_turn_and_counted_once_a_second() -> None:
    async def story(world: PresenceWorld) -> None:
        node, other = await world.some("ab")
        for n in range(1_200):
            node.open(f"s{n}", CHANNEL)
        await asyncio.sleep(2)
        assert len(world.news) == 1_200
        assert await node.count() == await other.count() == 1_200
        pages, after = [], ""
        while True:
            page = await other.presence.members(CHANNEL, after, 500)
            pages.append([member.client for member in page.members])
            if page.next is None:
                break
            after = page.next
        assert [len(page) for page in pages] == [500, 500, 200]
        clients = [client for page in pages for client in page]
        assert clients == sorted(client_of_session(f"s{n}") for n in range(1_200))

    run(story)


def test_the_log_is_away_for_a_while() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        node.open("a", CHANNEL)
        await asyncio.sleep(SOON)
        node.access.away = True
        node.close("a")
        node.open("b", CHANNEL)
        with pytest.raises(EngineUnavailable):
            await node.presence.snapshot(CHANNEL)
        await asyncio.sleep(10)
        assert world.told("a", "b") == ["join a"]
        node.access.come_back()
        await asyncio.sleep(3)
        assert sorted(world.told("a", "b")) == ["join a", "join b", "leave a"]
        assert await node.clients() == [client_of_session("b")]
        assert await world.counts() == {(CHANNEL, node.id): 1}

    run(story)


def test_there_is_a_count_before_there_is_a_record() -> None:
    """Else nobody would find the members of a node that dies in between."""

    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        changed: list[str] = []
        change = node.access.change

        def noting(table: str, *rest: object) -> object:
            changed.append(table)
            return change(table, *rest)  # type: ignore[arg-type]

        node.access.change = noting  # type: ignore[assignment,method-assign]
        node.open("s", CHANNEL)
        await asyncio.sleep(SOON)
        node.close("s")
        await asyncio.sleep(10)
        ours = [table for table in changed if table in (TABLE, COUNTS)]
        assert ours == [COUNTS, TABLE, TABLE, COUNTS]

    run(story)


def test_a_leave_that_is_told_late_is_put_right() -> None:
    """The join of another node may get before the leave: it is told once more then."""

    async def story(world: PresenceWorld) -> None:
        a, b = await world.some("ab")
        a.open("s", CHANNEL)
        await asyncio.sleep(SOON)
        a.close("s")
        append, held = a.access.append, asyncio.Event()

        def late(drafts: object) -> object:
            if any(draft.event == "leave" for draft in drafts):  # type: ignore[attr-defined]
                return asyncio.ensure_future(later(drafts))
            return append(drafts)  # type: ignore[arg-type]

        async def later(drafts: object) -> object:
            await held.wait()
            return await append(drafts)  # type: ignore[arg-type]

        a.access.append = late  # type: ignore[assignment,method-assign]
        await asyncio.sleep(GRACE + 1)
        b.open("s", CHANNEL)
        await asyncio.sleep(1)
        assert world.told("s") == ["join s", "join s"]
        held.set()
        await asyncio.sleep(1)
        assert world.told("s") == ["join s", "join s", "leave s", "join s"]
        assert await a.clients() == [client_of_session("s")]

    run(story)


@pytest.mark.parametrize("away", [0.0, 10.0])
def test_who_leaves_while_a_record_is_to_be_written_again(away: float) -> None:
    """The older record is there all the same: it must not be forgotten."""

    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        node.open("a", CHANNEL)
        await asyncio.sleep(SOON)
        node.access.away = away > 0
        node.presence.write_again()
        node.close("a")
        await asyncio.sleep(away)
        node.access.come_back()
        await asyncio.sleep(10)
        assert world.told("a") == ["join a", "leave a"]
        assert not await world.records()
        assert not await world.counts()

    run(story)


def test_what_could_not_be_written_again_is_written_later() -> None:
    async def story(world: PresenceWorld) -> None:
        node = await world.node()
        node.open("a", CHANNEL)
        await asyncio.sleep(SOON)
        node.access.away = True
        node.presence.write_again()
        await asyncio.sleep(5)
        [key] = await world.records()
        await world.log.change(TABLE, key, lambda old: None, 1)  # another has reaped it
        node.access.come_back()
        await asyncio.sleep(3)
        assert await node.clients() == [client_of_session("a")]

    run(story)


def test_the_log_is_away_just_before_the_last_look() -> None:
    async def story(world: PresenceWorld) -> None:
        a, b = await world.some("ab")
        a.open("s", CHANNEL)
        await asyncio.sleep(SOON)
        append = a.access.append

        def last(drafts: object) -> object:
            answer = append(drafts)  # type: ignore[arg-type]
            if any(draft.event == "leave" for draft in drafts):  # type: ignore[attr-defined]
                b.open("s", CHANNEL)
                a.access.away = True
            return answer

        a.access.append = last  # type: ignore[assignment,method-assign]
        a.close("s")
        await asyncio.sleep(GRACE + 5)
        a.access.come_back()
        await asyncio.sleep(3)
        assert world.told("s")[-1] == "join s"
        assert await b.clients() == [client_of_session("s")]

    run(story)
