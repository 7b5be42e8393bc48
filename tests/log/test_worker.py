"""The worker: one job after the other on a thread, answers on the loop."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tidewire.log.worker import Worker
from tidewire.model import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker("test-worker", asyncio.get_running_loop())
    yield worker
    worker.stop()


def raises(error: BaseException) -> None:
    raise error


async def test_a_job_runs_on_the_threads_own(worker: Worker) -> None:
    thread = await worker.submit(threading.current_thread)
    assert thread is not threading.current_thread()
    assert thread.name == "test-worker"
    assert thread.daemon


async def test_jobs_run_one_after_the_other_in_order(worker: Worker) -> None:
    ran: list[int] = []
    running = 0

    def job(number: int) -> int:
        nonlocal running
        running += 1
        assert running == 1
        ran.append(number)
        running -= 1
        return number

    futures = [worker.submit(partial(job, number)) for number in range(100)]
    assert await asyncio.gather(*futures) == ran == list(range(100))


async def test_answers_come_in_order(worker: Worker) -> None:
    answered: list[int] = []

    def answer(number: int, future: asyncio.Future[None]) -> None:
        answered.append(number)

    futures = [worker.submit(lambda: None) for _ in range(50)]
    for number, future in enumerate(futures):
        future.add_done_callback(partial(answer, number))
    await futures[-1]
    assert answered == list(range(50))


async def test_the_loop_goes_on_while_a_job_runs(worker: Worker) -> None:
    from_the_loop = threading.Event()
    future = worker.submit(lambda: from_the_loop.wait(10))
    await asyncio.sleep(0)
    assert not future.done()
    from_the_loop.set()
    assert await future


@pytest.mark.parametrize("error", [ValueError("x"), EngineUnavailable("x"), KeyboardInterrupt()])
async def test_an_error_is_the_answer(worker: Worker, error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        await worker.submit(lambda: raises(error))
    assert raised.value is error
    assert await worker.submit(lambda: "goes on") == "goes on"


async def test_nobody_waits_any_more(worker: Worker) -> None:
    trouble: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    let_go = threading.Event()
    first = worker.submit(lambda: let_go.wait(10))
    failing = worker.submit(lambda: raises(ValueError("nobody hears it")))
    first.cancel()
    failing.cancel()
    let_go.set()
    assert await worker.submit(lambda: "goes on") == "goes on"
    assert trouble == []


async def test_stopping_finishes_what_was_given() -> None:
    worker = Worker("test-worker", asyncio.get_running_loop())
    ran: list[int] = []
    futures = [worker.submit(partial(ran.append, number)) for number in range(100)]
    worker.stop()
    assert ran == list(range(100))
    await asyncio.gather(*futures)
    assert "test-worker" not in [thread.name for thread in threading.enumerate()]


async def test_after_stopping_there_is_an_answer_all_the_same() -> None:
    worker = Worker("test-worker", asyncio.get_running_loop())
    worker.stop()
    with pytest.raises(EngineUnavailable):
        await worker.submit(lambda: None)


def test_a_loop_that_is_closed_is_no_trouble() -> None:
    async def start() -> Worker:
        worker = Worker("test-worker", asyncio.get_running_loop())
        worker.submit(lambda: closed.wait(10))
        return worker

    closed = threading.Event()
    worker = asyncio.run(start())
    closed.set()
    worker.stop()  # the thread's error, if it had one, would fail the test
