"""Of what a node does not want, the feed brings traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.log.harness import draft, facts
from tests.log.redis_storage import Node

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_what_is_not_wanted_comes_as_one_trace_of_each_batch(
    redis_log: Callable[[], str],
) -> None:
    url = redis_log()
    async with Node(url) as one, Node(url) as other, Node(url) as whole:
        other.engine.wanted = {"a"}
        receipts = await one.append(*(draft(name) for name in "babcab"))
        await other.until(lambda: other.fed and other.fed[-1].id == receipts[-1].id)
        assert [(m.channel, m.seq, m.is_trace) for m in other.fed] == [
            ("a", 1, False), ("c", 1, True), ("a", 2, False), ("b", 3, True),
        ]  # fmt: skip
        assert [m.id for m in other.fed] == [receipts[n].id for n in (1, 3, 4, 5)]
        await whole.until_fed(receipts[-1].id)
        known = {message.id: facts(message) for message in whole.fed}
        assert all(facts(m) == known[m.id] for m in other.fed if not m.is_trace)


async def test_what_a_node_appends_itself_comes_whole(redis_log: Callable[[], str]) -> None:
    async with Node(redis_log()) as node:
        node.engine.wanted = ()
        await node.append(draft("a"), draft("b"))
        assert not any(message.is_trace for message in node.fed)


async def test_a_purge_is_told_wanted_or_not(redis_log: Callable[[], str]) -> None:
    url = redis_log()
    async with Node(url) as one, Node(url) as other:
        other.engine.wanted = ()
        await one.append(draft("a"), draft("a"))
        purged = one.engine.purge("a", forget=True)
        one.engine.append([draft("a")])
        await purged
        [last] = await one.append(draft("a"))
        await other.until_fed(last.id)
        assert [(m.seq, m.gap) for m in other.fed if m.gap] == [(0, "reset")]
        assert other.fed[-1].seq == 2
        [last] = await one.append(draft("a"))
        await other.until_fed(last.id)
        assert other.fed[-1].is_trace
        assert other.fed[-1].seq == 3


async def test_of_a_batch_with_superfluous_items_the_others_come(
    redis_log: Callable[[], str],
) -> None:
    url = redis_log()
    async with Node(url) as one, Node(url) as other, Node(url) as whole:
        other.engine.wanted = {"b"}
        await one.append(draft("a", key="k"))
        receipts = await one.append(
            draft("c"), draft("a", key="k"), draft("b", b"1"), draft("a"), draft("b", b"2")
        )
        await other.until_fed(receipts[-1].id)
        await whole.until_fed(receipts[-1].id)
        assert [(m.channel, m.seq, m.data) for m in other.fed[1:]] == [
            ("c", 1, b""), ("b", 1, b"1"), ("a", 2, b""), ("b", 2, b"2"),
        ]  # fmt: skip
        assert [m.id for m in whole.fed[1:]] == [m.id for m in other.fed[1:]]
