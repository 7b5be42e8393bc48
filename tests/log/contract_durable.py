"""Durable engines: the log is there when it is opened again, and goes on where it was."""

from __future__ import annotations

from tests.log.contract_base import Contract
from tests.log.harness import HOUR, Clock, Logs, draft, drafts, facts, ids
from tidewire.model import Gap


class DurableContract(Contract):
    """What holds across closing and opening again."""

    async def test_nothing_is_fed_again(self, logs: Logs) -> None:
        log = await logs.open()
        receipts = await log.append(*drafts(5))
        await logs.close(log)
        again = await logs.open()
        assert again.head_at_open == receipts[-1].id == await again.engine.head()
        await again.append(draft())
        assert [message.seq for message in again.fed] == [6]

    async def test_the_epoch_stays(self, logs: Logs) -> None:
        epochs = set()
        for _ in range(3):
            log = await logs.open()
            epochs.add(log.engine.epoch)
            await logs.close(log)
        assert len(epochs) == 1

    async def test_every_message_is_there(self, logs: Logs) -> None:
        log = await logs.open()
        for number in range(10):
            await log.append(*drafts(10, "abc"[number % 3]))
        await logs.close(log)
        again = await logs.open()
        messages, gaps = await again.read_all({"a": 0, "b": 0, "c": 0}, limit=7)
        assert [facts(message) for message in messages] == [facts(message) for message in log.fed]
        assert gaps == []
        for message in log.fed[-3:]:
            assert await again.newest(message.channel, message.id) == (message.id, message.time)

    async def test_seq_and_ids_go_on(self, logs: Logs, clock: Clock) -> None:
        log = await logs.open()
        receipts = await log.append(draft("a"), draft("b"), draft("a"))
        await logs.close(log)
        clock.move(-HOUR)
        again = await logs.open()
        more = await again.append(draft("b"), draft("c"), draft("a"))
        last = receipts[-1].id
        assert [(r.id, r.seq) for r in more] == [(last + 1, 2), (last + 2, 1), (last + 3, 3)]
        clock.move(2 * HOUR)
        [receipt] = await again.append(draft("a"))
        assert (receipt.id, receipt.seq) == (clock.us, 4)

    async def test_keys_are_remembered(self, logs: Logs, clock: Clock) -> None:
        log = await logs.open(window=120)
        [first] = await log.append(draft("a", key="k"))
        await logs.close(log)
        clock.move(100)
        again = await logs.open(window=120)
        assert await again.append(draft("a", key="k")) == [first]
        assert again.fed == []
        clock.move(30)
        assert (await again.append(draft("a", key="k")))[0].seq == 2

    async def test_what_was_discarded_stays_known(self, logs: Logs, clock: Clock) -> None:
        log = await logs.open(size=5)
        a = [receipt.id for receipt in await log.append(*drafts(20))]
        clock.move(100)
        await log.clean()
        await logs.close(log)
        again = await logs.open(size=5)
        page = await again.read({"a": a[3]})
        assert (ids(page), page.gaps) == (a[15:], [Gap("a", a[14], "expired")])
        await logs.close(again)
        clock.move(25 * HOUR)
        again = await logs.open(size=5)
        await again.clean()
        await logs.close(again)
        again = await logs.open(size=5)
        page = await again.read({"a": a[3]})
        assert (ids(page), page.gaps) == ([], [Gap("a", a[19], "expired")])
        [receipt] = await again.append(draft())
        assert receipt.seq == 21

    async def test_a_smaller_size_counts_at_once(self, logs: Logs) -> None:
        log = await logs.open(size=100)
        a = [receipt.id for receipt in await log.append(*drafts(20))]
        await logs.close(log)
        again = await logs.open(size=3)
        page = await again.read({"a": 0})
        assert (ids(page), page.gaps) == (a[17:], [Gap("a", a[16], "expired")])

    async def test_an_append_that_nobody_awaited_is_there(self, logs: Logs) -> None:
        log = await logs.open()
        log.engine.append(drafts(3))
        await logs.close(log)
        again = await logs.open()
        assert [m.seq for m in (await again.read({"a": 0})).messages] == [1, 2, 3]

    async def test_a_purge_is_remembered(self, logs: Logs) -> None:
        log = await logs.open()
        [first, *_] = await log.append(draft("a", key="k"), draft("b", key="k"))
        purged = await log.engine.purge("a", forget=False)
        forgotten = await log.engine.purge("b", forget=True)
        await logs.close(log)
        again = await logs.open()
        assert again.head_at_open == forgotten.id
        page = await again.read({"a": 0, "b": 0})
        assert page.messages == []
        assert page.gaps == [Gap("a", purged.id, "expired"), Gap("b", forgotten.id, "reset")]
        receipts = await again.append(draft("a", key="k"), draft("b", key="k"), draft("a"))
        assert receipts[0] == first
        assert [receipt.seq for receipt in receipts] == [1, 1, 2]

    async def test_a_time_to_live_and_a_version_are_remembered(
        self, logs: Logs, clock: Clock
    ) -> None:
        log = await logs.open()
        [first] = await log.append(draft(version=5, ttl=10))
        await logs.close(log)
        again = await logs.open()
        assert await again.append(draft(version=5)) == [first]
        assert len((await again.read({"a": 0})).messages) == 1
        clock.move(10)
        assert (await again.read({"a": 0})).gaps == [Gap("a", first.id, "expired", 1)]
        assert (await again.append(draft(version=6)))[0].seq == 2

    async def test_records_are_there(self, logs: Logs, clock: Clock) -> None:
        log = await logs.open()
        await log.engine.change("t", "brief", lambda _: b"1", 10)
        log.engine.change("t", "k", lambda _: b"2", HOUR)  # nobody awaits it
        await logs.close(log)
        again = await logs.open()
        assert await again.engine.scan("t", "", "", 10) == [("brief", b"1"), ("k", b"2")]
        clock.move(11)
        assert await again.engine.get("t", "brief") is None
        assert await again.engine.change("t", "k", lambda old: (old or b"") + b"3", 9) == b"23"
