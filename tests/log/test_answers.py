"""Answers that are seen to together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tidewire.log.answers import Answers

if TYPE_CHECKING:
    from asyncio import Future

pytestmark = pytest.mark.asyncio


class Engine:
    """Futures, and in which order their callbacks were called."""

    def __init__(self) -> None:
        self.answers = Answers()
        self.seen: list[int] = []
        self.futures: list[Future[int]] = []

    def call(self) -> Future[int]:
        """Wait for one more."""
        future: Future[int] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        self.answers.when_done(future, self.see)
        return future

    def see(self, future: Future[int]) -> None:
        """Take in an answer."""
        self.seen.append(future.result())

    def commit(self, *numbers: int) -> None:
        """Answer these, in one turn of the loop."""
        for number in numbers:
            self.futures[number].set_result(number)


async def test_those_of_a_transaction_are_seen_in_one_turn_in_their_order() -> None:
    engine = Engine()
    for _ in range(4):
        engine.call()
    engine.commit(0, 1, 2)
    assert engine.seen == []
    await asyncio.sleep(0)
    assert engine.seen == [0, 1, 2]
    engine.commit(3)
    await asyncio.sleep(0)
    assert engine.seen == [0, 1, 2, 3]


async def test_what_is_done_is_seen_at_once_if_nothing_is_before_it() -> None:
    answers = Answers()
    seen: list[Future[int]] = []
    done: Future[int] = asyncio.get_running_loop().create_future()
    done.set_result(1)
    answers.when_done(done, seen.append)
    assert seen == [done]
    first: Future[int] = asyncio.get_running_loop().create_future()
    answers.when_done(first, seen.append)
    answers.when_done(done, seen.append)
    assert seen == [done]
    first.set_result(0)
    await asyncio.sleep(0)
    assert seen == [done, first, done]


async def test_which_is_next() -> None:
    answers = Answers()
    done: Future[int] = asyncio.get_running_loop().create_future()
    first: Future[int] = asyncio.get_running_loop().create_future()
    assert not answers.is_next(done)
    done.set_result(1)
    assert answers.is_next(done)
    answers.when_done(first, lambda _: None)
    assert not answers.is_next(done), "one before it is not done"
    first.set_result(0)
    await asyncio.sleep(0)
    assert answers.is_next(done)


async def test_one_that_is_done_early_waits_for_those_before_it() -> None:
    engine = Engine()
    for _ in range(3):
        engine.call()
    engine.commit(2)
    await asyncio.sleep(0)
    assert engine.seen == []
    engine.commit(0, 1)
    await asyncio.sleep(0)
    assert engine.seen == [0, 1, 2]


async def test_what_is_called_for_meanwhile_is_seen_too() -> None:
    engine = Engine()
    first = engine.call()

    def call_again(_: Future[int]) -> None:
        engine.call()
        engine.call()

    engine.answers.when_done(first, call_again)
    engine.commit(0)
    await asyncio.sleep(0)
    engine.commit(1, 2)
    await asyncio.sleep(0)
    assert engine.seen == [0, 1, 2]


async def test_one_that_fails_is_reported_and_the_others_are_seen() -> None:
    engine = Engine()
    reported: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    for _ in range(3):
        engine.call()
    broken = RuntimeError("broken")
    engine.futures[0].set_exception(broken)
    engine.commit(1, 2)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (reported, engine.seen) == ([broken], [1, 2])
    engine.call()
    engine.commit(3)
    await asyncio.sleep(0)
    assert engine.seen == [1, 2, 3]
