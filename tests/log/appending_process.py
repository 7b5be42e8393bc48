"""A process that appends to a log and tells what it was answered and what it was fed.

``python -m tests.log.appending_process LOG NAME ANSWERS TOTAL``: opens the log, the path of a file
for SQLite or the URL of one on Redis. It prints ``open``, waits for a line on standard input, and
appends from several tasks until it has *ANSWERS* receipts or more. For each answered append it
prints a JSON list of ``[channel, id, seq, data]``; the data begins with *NAME*. Then it waits until
its feed has *TOTAL* messages, and prints those, too, as one list.
"""

from __future__ import annotations

import asyncio
import json
import sys

from tidewire.log import Engine
from tidewire.log.redis import RedisEngine
from tidewire.log.redis_address import is_redis, parse_address
from tidewire.log.sqlite import SqliteEngine
from tidewire.model import Draft, Message, Namespaces, Retention

TASKS = 6
PATIENCE = 30
"""Seconds to wait for the messages of other processes."""


def engine_of(log: str) -> Engine:
    """An engine on *log*, which keeps all."""
    namespaces = Namespaces(Retention(10**6, 10**15))
    if is_redis(log):
        return RedisEngine(parse_address(log), namespaces)
    return SqliteEngine(log, namespaces)


async def main(log: str, name: str, answers: int, total: int) -> None:
    """Append, then wait for what others append."""
    fed: list[Message] = []
    grown = asyncio.Event()

    def feed(messages: list[Message]) -> None:
        fed.extend(messages)
        grown.set()

    engine = engine_of(log)
    await engine.open(feed)
    print("open", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    answered = 0

    async def publish(task: int) -> None:
        nonlocal answered
        step = 0
        while answered < answers:
            step += 1
            drafts = [
                Draft(
                    "abc"[(task + number) % 3],
                    b'"%s %d %d %d"' % (name.encode(), task, step, number),
                )
                for number in range(1 + step % 3)
            ]
            receipts = await engine.append(drafts)
            answered += len(receipts)
            told = [
                [receipt.channel, receipt.id, receipt.seq, draft.data.decode()]
                for draft, receipt in zip(drafts, receipts, strict=True)
            ]
            print(json.dumps(told), flush=True)

    await asyncio.gather(*(publish(task) for task in range(TASKS)))
    async with asyncio.timeout(PATIENCE):
        while len(fed) < total:
            grown.clear()
            await grown.wait()
    print(json.dumps([[m.channel, m.id, m.seq, m.data.decode()] for m in fed]))
    await engine.close()


if __name__ == "__main__":
    log, name, answers, total = sys.argv[1:]
    asyncio.run(main(log, name, int(answers), int(total)))
