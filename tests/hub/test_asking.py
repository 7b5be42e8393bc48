"""Questions to the fleet: who answers, who is missing, and how many may be asked."""

from __future__ import annotations

import asyncio

import pytest

from tests.hub.fleet_world import FleetWorld, Node, run
from tidewire.hub import asking
from tidewire.model import Unavailable


def echoes(node: Node) -> None:
    """Have *node* answer with its id and the question."""
    node.fleet.answer("echo", lambda question: node.id.encode() + b" " + question)


async def three(world: FleetWorld) -> tuple[Node, Node, Node]:
    nodes = await world.three()
    for node in nodes:
        echoes(node)
    return nodes


def test_all_answer() -> None:
    async def story(world: FleetWorld) -> None:
        nodes = await three(world)
        before = world.loop.time()
        answers = await nodes[1].fleet.ask("echo", b"hello")
        assert answers.by_node == {node.id: node.id.encode() + b" hello" for node in nodes}
        assert answers.missing == []
        assert world.loop.time() - before < 1

    run(story)


def test_a_single_node_answers_itself_without_a_message() -> None:
    async def story(world: FleetWorld) -> None:
        node = await world.node()
        echoes(node)
        appends = world.log.appends
        answers = await node.fleet.ask("echo", b"x")
        assert answers.by_node == {node.id: node.id.encode() + b" x"}
        assert world.log.appends == appends

    run(story)


def test_only_those_who_are_asked_answer() -> None:
    async def story(world: FleetWorld) -> None:
        a, b, c = await three(world)
        answers = await a.fleet.ask("echo", b"x", nodes=[b.id, "nobody"])
        assert list(answers.by_node) == [b.id]
        assert answers.missing == ["nobody"]
        appends = world.log.appends
        assert list((await c.fleet.ask("echo", b"x", nodes=[c.id])).by_node) == [c.id]
        assert await c.fleet.ask("echo", b"x", nodes=[]) == ({}, [])
        assert world.log.appends == appends

    run(story)


def test_who_is_silent_is_missing_after_the_time() -> None:
    async def story(world: FleetWorld) -> None:
        a, b, c = await three(world)
        c.access.away = True
        before = world.loop.time()
        answers = await a.fleet.ask("echo", b"x", timeout=2)
        assert set(answers.by_node) == {a.id, b.id}
        assert answers.missing == [c.id]
        assert world.loop.time() - before == pytest.approx(2, abs=0.1)

    run(story)


def test_who_says_goodbye_meanwhile_is_not_waited_for() -> None:
    async def story(world: FleetWorld) -> None:
        a, b, c = await three(world)
        c.fleet.answer("echo", lambda _: asyncio.sleep(60, b""))
        question = asyncio.ensure_future(a.fleet.ask("echo", b"x"))
        await asyncio.sleep(0.01)
        before = world.loop.time()
        await c.fleet.stop()
        answers = await question
        assert set(answers.by_node) == {a.id, b.id}
        assert answers.missing == []
        assert world.loop.time() - before < 1

    run(story)


def test_who_fails_is_missing_and_is_not_waited_for() -> None:
    async def story(world: FleetWorld) -> None:
        a, b, c = await three(world)
        b.fleet.answer("echo", lambda _: bytes(asking.MOST_BYTES + 1))

        def fail(question: bytes) -> bytes:
            raise RuntimeError(question)

        c.fleet.answer("echo", fail)
        before = world.loop.time()
        answers = await a.fleet.ask("echo", b"x")
        assert list(answers.by_node) == [a.id]
        assert answers.missing == sorted([b.id, c.id])
        assert world.loop.time() - before < 1
        # One that does not know the question, itself included.
        answers = await a.fleet.ask("what", b"x")
        assert answers == ({}, sorted([a.id, b.id, c.id]))

    run(story)


def test_an_answer_may_take_its_time() -> None:
    async def story(world: FleetWorld) -> None:
        nodes = await three(world)
        for node in nodes:
            node.fleet.answer("slow", lambda question: asyncio.sleep(1, question))
        answers = await nodes[0].fleet.ask("slow", b"x")
        assert set(answers.by_node) == {node.id for node in nodes}
        answers = await nodes[0].fleet.ask("slow", b"x", timeout=0.5)
        assert answers == ({}, sorted(node.id for node in nodes))

    run(story)


def test_without_the_log_the_others_are_missing_at_once() -> None:
    async def story(world: FleetWorld) -> None:
        a, b, c = await three(world)
        a.access.away = True
        before = world.loop.time()
        answers = await a.fleet.ask("echo", b"x")
        assert list(answers.by_node) == [a.id]
        assert answers.missing == sorted([b.id, c.id])
        assert world.loop.time() - before < 1

    run(story)


def test_a_node_waits_for_so_many_answers_only() -> None:
    async def story(world: FleetWorld) -> None:
        a, b, _ = await three(world)
        b.access.away = True
        asked = [asyncio.ensure_future(a.fleet.ask("echo", b"")) for _ in range(asking.MOST_ASKED)]
        await asyncio.sleep(0.01)
        with pytest.raises(Unavailable):
            await a.fleet.ask("echo", b"")
        assert all(b.id in answers.missing for answers in await asyncio.gather(*asked))
        await a.fleet.ask("echo", b"", nodes=[a.id])

    run(story)


def test_questions_that_come_too_fast_are_not_kept() -> None:
    async def story(world: FleetWorld) -> None:
        a, b, _ = await three(world)
        release = asyncio.Event()

        async def answer(question: bytes) -> bytes:
            await release.wait()
            return question

        b.fleet.answer("slow", answer)
        a.hub._listeners.clear()  # it hears no answers, so it may ask on
        most = asking.MOST_WAITING + asking.AT_ONCE
        for _ in range(most + 10):
            body = asking._encode(asking._Question(a.id, 1, "slow", b"", [b.id]))
            a.fleet._asking._send(asking.ASK, body, asking._not_answered)
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert b.hub.drops["unanswered"] == 10
        appends = world.log.appends
        release.set()
        await asyncio.sleep(0.1)
        assert world.log.appends == appends + most

    run(story)


def test_answers_that_hang_do_not_hold_up_others_for_ever() -> None:
    async def story(world: FleetWorld) -> None:
        a, b, _ = await three(world)
        b.fleet.answer("never", lambda _: asyncio.sleep(3_600, b""))
        for _ in range(asking.AT_ONCE):
            assert (await a.fleet.ask("never", b"", 0.1, [b.id])).missing == [b.id]
        assert (await a.fleet.ask("echo", b"", 1, [b.id])).missing == [b.id]
        await asyncio.sleep(asking.MOST_SECONDS)
        assert list((await a.fleet.ask("echo", b"", 1, [b.id])).by_node) == [b.id]

    run(story)


def test_a_question_is_bounded() -> None:
    async def story(world: FleetWorld) -> None:
        a = await world.node()
        with pytest.raises(ValueError, match="bytes"):
            await a.fleet.ask("echo", bytes(asking.MOST_BYTES + 1))

    run(story)
