"""The model checker finds each kind of broken promise, and accepts what keeps it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.acceptance.checker import (
    BrokenPromiseError,
    Message,
    check_agreement,
    check_log,
    check_received,
    from_answer,
    from_envelope,
    position,
)

LOG = [
    Message(10, "e", "a", 1, '{"data": 0}'),
    Message(11, "e", "b", 1, '{"data": 1}'),
    Message(19, "e", "a", 2, '{"data": 2}'),
    Message(20, "e", "b", 2, '{"data": 3}'),
]


def test_accepts_a_log_and_its_faithful_copy() -> None:
    check_log(LOG)
    check_received(LOG, list(LOG))
    check_agreement({"one": LOG, "two": list(LOG)})


def test_finds_a_hole_in_seq() -> None:
    with pytest.raises(BrokenPromiseError, match="expected seq 2, got a#3"):
        check_log([LOG[0], LOG[1], replace(LOG[2], seq=3)])


def test_a_log_may_start_later_where_that_is_said() -> None:
    check_log([Message(5, "e", "a", 7, ""), Message(6, "e", "a", 8, "")], starts={"a": 7})
    with pytest.raises(BrokenPromiseError, match="expected seq 1, got a#7"):
        check_log([Message(5, "e", "a", 7, "")])


@pytest.mark.parametrize("later", [10, 9])
def test_finds_ids_that_do_not_ascend(later: int) -> None:
    with pytest.raises(BrokenPromiseError, match="not in the order"):
        check_log([LOG[0], replace(LOG[1], position=later)])


def test_finds_a_change_of_epoch() -> None:
    with pytest.raises(BrokenPromiseError, match="the epoch changed"):
        check_log([LOG[0], replace(LOG[1], epoch="f")])


def test_finds_a_lost_message() -> None:
    with pytest.raises(BrokenPromiseError, match="1 of 4 lost, the first of them a#2"):
        check_received(LOG, [LOG[0], LOG[1], LOG[3]])


def test_finds_a_duplicate() -> None:
    with pytest.raises(BrokenPromiseError, match="received twice: b#1"):
        check_received(LOG, [LOG[0], LOG[1], LOG[1], LOG[2], LOG[3]])


def test_finds_a_swap() -> None:
    with pytest.raises(BrokenPromiseError, match="not in the order"):
        check_received(LOG, [LOG[1], LOG[0], LOG[2], LOG[3]])


def test_finds_a_message_that_nobody_published() -> None:
    with pytest.raises(BrokenPromiseError, match="never published"):
        check_received(LOG[:3], LOG)


def test_finds_a_changed_body() -> None:
    with pytest.raises(BrokenPromiseError, match="changed on the way"):
        check_received(LOG, [*LOG[:3], replace(LOG[3], body='{"data": 4}')])


def test_an_unanswered_message_may_come_once_or_never_but_not_twice() -> None:
    extra = Message(30, "e", "a", 3, '{"data": "?"}')
    check_received(LOG, LOG, unanswered=[extra.body])
    check_received(LOG, [*LOG, extra], unanswered=[extra.body])
    with pytest.raises(BrokenPromiseError, match="never published"):
        check_received(LOG, [*LOG, extra, replace(extra, position=31)], unanswered=[extra.body])


def test_finds_clients_that_disagree() -> None:
    with pytest.raises(BrokenPromiseError, match="one and two disagree"):
        check_agreement({"one": LOG, "two": [LOG[0], LOG[2]]})
    with pytest.raises(BrokenPromiseError, match="one saw 4, two 3"):
        check_agreement({"one": LOG, "two": LOG[:3]})


def test_reads_envelopes_and_answers_alike() -> None:
    command = {"channel": "news", "data": {"b": 1, "a": [2]}, "event": "x", "key": "k"}
    answer = {"channel": "news", "id": "q7Zf-17", "seq": 4}
    envelope = {"type": "message", **answer, "time": 1, "event": "x", "data": {"a": [2], "b": 1}}
    assert from_answer(command, answer) == from_envelope(envelope)
    with pytest.raises(BrokenPromiseError, match="answered for"):
        from_answer({**command, "channel": "other"}, answer)


@pytest.mark.parametrize("cursor", ["", "17", "-17", "e-", "e-x"])
def test_refuses_what_is_no_cursor(cursor: str) -> None:
    with pytest.raises(BrokenPromiseError):
        position(cursor)
