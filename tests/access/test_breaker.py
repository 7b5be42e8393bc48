"""The circuit breaker over a process that the test makes up, and this one."""

from __future__ import annotations

import os
import resource

import pytest

from tidewire.access.breaker import Breaker, Reserve, ThisProcess

MIB = 1 << 20


class Process:
    """A process of 1,000 descriptors."""

    def __init__(self) -> None:
        self.most = 1_000
        self.open = 0
        self.memory = 50 * MIB
        self.gave_back = 0
        self.looks = 0

    def most_files(self) -> int:
        return self.most

    def open_files(self) -> int:
        self.looks += 1
        return self.open

    def resident(self) -> int:
        return self.memory

    def give_back(self) -> None:
        self.gave_back += 1


@pytest.fixture
def process() -> Process:
    return Process()


# Descriptors


@pytest.mark.parametrize(
    ("most", "opens", "closes", "refused", "last"),
    [
        (40, 20, 10, 10, 35),
        (128, 96, 80, 16, 120),
        (1_024, 960, 912, 32, 1_008),
        (20_000, 19_488, 18_514, 256, 19_872),
        (1_000_000, 999_488, 949_514, 256, 999_872),
    ],
)
def test_what_is_kept_back(most: int, opens: int, closes: int, refused: int, last: int) -> None:
    assert Reserve.of(most) == Reserve(opens, closes, refused, last)
    assert 0 < closes < opens < opens + refused <= last < most


def test_it_opens_at_the_first_descriptor_of_the_reserve(process: Process) -> None:
    breaker = Breaker(process, 0)
    opens = breaker.reserve.opens
    assert breaker.refusal(opens - 1, 0.0, 0) is None
    assert breaker.refusal(opens, 0.1, 0) == "files"
    assert breaker.is_open("files")


def test_one_free_descriptor_does_not_close_it(process: Process) -> None:
    breaker = Breaker(process, 0)
    process.open = breaker.reserve.opens + 1
    breaker.refusal(breaker.reserve.opens, 0.0, 0)
    assert breaker.refusal(7, 5.0, 0) == "files"


def test_it_closes_when_there_is_room_again(process: Process) -> None:
    breaker = Breaker(process, 0)
    process.open = breaker.reserve.opens + 1
    breaker.refusal(breaker.reserve.opens, 0.0, 0)
    process.open = breaker.reserve.closes + 1
    assert breaker.refusal(7, 2.0, 0) == "files"
    process.open = breaker.reserve.closes
    assert breaker.refusal(7, 2.5, 0) == "files"  # not looked at yet
    assert breaker.refusal(7, 3.0, 0) is None
    assert not breaker.is_open("files")


def test_those_that_wait_for_their_refusal_do_not_keep_it_open(process: Process) -> None:
    breaker = Breaker(process, 0)
    process.open = breaker.reserve.opens + 1
    breaker.refusal(breaker.reserve.opens, 0.0, 0)
    process.open = breaker.reserve.closes + 10
    assert breaker.refusal(7, 2.0, 9) == "files"
    assert breaker.refusal(7, 4.0, 10) is None


def test_descriptors_are_counted_once_a_second_while_it_is_open(process: Process) -> None:
    breaker = Breaker(process, 0)
    for turn in range(1_000):
        breaker.refusal(7, turn / 100, 0)
    assert process.looks == 0
    process.open = 990
    for turn in range(1_000):
        breaker.refusal(990, 10 + turn / 100, 0)
    assert process.looks == 9  # not at the moment at which it opened


def test_a_limit_that_is_changed_meanwhile(process: Process) -> None:
    breaker = Breaker(process, 0)
    process.open = 990
    assert breaker.refusal(990, 0.0, 0) == "files"
    process.most = 5_000
    assert breaker.refusal(990, 2.0, 0) is None
    process.most = 500
    assert breaker.refusal(900, 3.0, 0) == "files"


# Memory


def test_it_opens_at_the_limit_of_memory(process: Process) -> None:
    breaker = Breaker(process, 100 * MIB)
    process.memory = 100 * MIB - 1
    assert breaker.refusal(7, 0.0, 0) is None
    process.memory = 100 * MIB
    assert breaker.refusal(7, 0.5, 0) is None  # not looked at yet
    assert breaker.refusal(7, 1.0, 0) == "memory"
    assert breaker.is_open("memory")


def test_many_new_clients_have_memory_looked_at_sooner(process: Process) -> None:
    breaker = Breaker(process, 100 * MIB)
    breaker.look(0.0, 0)
    process.memory = 200 * MIB
    refused = [breaker.refusal(7, 0.1, 0) for _ in range(70)]
    assert refused == [None] * 63 + ["memory"] * 7


def test_it_closes_a_little_below(process: Process) -> None:
    breaker = Breaker(process, 100 * MIB)
    process.memory = 100 * MIB
    breaker.refusal(7, 0.0, 0)
    process.memory = 95 * MIB
    assert breaker.refusal(7, 2.0, 0) == "memory"
    process.memory = 95 * MIB - 1
    assert breaker.refusal(7, 4.0, 0) is None


def test_without_a_limit_there_is_none(process: Process) -> None:
    process.memory = 1 << 50
    assert Breaker(process, 0).refusal(7, 0.0, 0) is None


def test_while_memory_is_short_it_is_given_back_now_and_then(process: Process) -> None:
    breaker = Breaker(process, 100 * MIB)
    breaker.look(0.0, 0)
    assert process.gave_back == 0
    process.memory = 200 * MIB
    for turn in range(10, 410):
        breaker.look(turn / 10, 0)
    assert process.gave_back == 4


# This process


def test_this_process_is_looked_at_as_it_is() -> None:
    own = ThisProcess()
    assert own.most_files() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    before = own.open_files()
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(10)]
    try:
        assert own.open_files() == before + 10
    finally:
        for file in files:
            os.close(file)
    assert own.open_files() == before
    assert 5 * MIB < own.resident() < 1 << 40


def test_memory_that_is_free_goes_back_to_the_system() -> None:
    own = ThisProcess()
    kept = []
    freed = []
    for _ in range(4_000):  # what stays in between keeps the C library from giving back by itself
        freed.append(bytes(20_000))
        kept.append(bytes(600))
    full = own.resident()
    freed.clear()
    own.give_back()
    assert own.resident() < full - 50 * MIB
    assert len(kept) == 4_000
