"""A few seconds of fuzzing with every run of the tests: the kept inputs, and variations of them."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import connections
from tests.fuzz.corpus import CORPUS, PACKAGE, kept, smallest, steps_of
from tests.fuzz.targets import TARGETS
from tidewire.transports.framing import Event, FrameParser

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_KEPT = 300_000
"""Bytes of all that is kept."""


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_kept(name: str) -> None:
    inputs = kept(name)
    assert inputs
    for data in inputs:
        TARGETS[name].run(data)


@st.composite
def variations(draw: st.DrawFn, inputs: Sequence[bytes]) -> bytes:
    """An input with some of its bytes replaced by others, or by a part of another input."""
    data = draw(st.sampled_from(inputs))
    for _ in range(draw(st.integers(0, 3))):
        begin = draw(st.integers(0, len(data)))
        end = draw(st.integers(begin, min(len(data), begin + 20)))
        other = draw(st.sampled_from(inputs))
        at = draw(st.integers(0, len(other)))
        part = st.one_of(st.binary(max_size=8), st.just(other[at : at + 20]))
        data = data[:begin] + draw(part) + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_variations(name: str) -> None:
    inputs = kept(name)

    @settings(max_examples=50)
    @given(st.one_of(st.binary(max_size=100), variations(inputs)))
    def run(data: bytes) -> None:
        TARGETS[name].run(data)

    run()


def test_what_is_kept_stays_small() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == TARGETS.keys()
    assert sum(file.stat().st_size for file in CORPUS.rglob("*.txt")) <= MOST_KEPT


class Forgetful(FrameParser):
    """A parser that takes a frame cut after its first byte for the begin of another."""

    def feed(self, data: bytes) -> list[Event]:
        events = super().feed(data)
        if len(self._buffer) == 1:
            self._buffer = b""
        return events


def test_a_wrong_parser_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "FrameParser", Forgetful)
    with pytest.raises(AssertionError):
        test_what_is_kept("frames")


def test_the_smallest_inputs_that_take_every_step() -> None:
    run = TARGETS["cursors"].run
    chosen = smallest([b"a-1", b"b-22", b"x", b"y" * 60, b"z" * 61, b"x"], run)
    assert chosen == [b"x", b"a-1", b"y" * 60]
    assert smallest(chosen, run, beside=[b"c-3"]) == [b"x", b"y" * 60]


def test_the_steps_of_an_input_are_its_own() -> None:
    """Whatever else of Tidewire is collected meanwhile."""
    others: dict[str, Any] = {}
    exec(compile("def collected(*_): pass", f"{PACKAGE}/others.py", "exec"), others)
    thresholds = gc.get_threshold()
    gc.callbacks.append(others["collected"])
    gc.set_threshold(1)
    try:
        steps = steps_of(TARGETS["cursors"].run, b"a-1")
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(others["collected"])
    assert steps
    assert others["collected"].__code__ not in {code for code, _, _ in steps}
