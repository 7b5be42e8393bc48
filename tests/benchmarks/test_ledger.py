"""The ledger against an oracle that compares whole lists."""

from __future__ import annotations

from collections import Counter

from benchmarks.loadgen.ledger import Ledger
from hypothesis import given
from hypothesis import strategies as st


def book(published: int, arrivals: list[int]) -> Ledger:
    ledger = Ledger()
    account = ledger.join()
    assert ledger.publish(published) == 1
    for number in arrivals:
        account.enter(number)
    return ledger


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(1, n)))))
def test_any_arrivals_are_sorted_into_received_missing_duplicate_and_late(
    case: tuple[int, list[int]],
) -> None:
    published, arrivals = case
    ledger = book(published, arrivals)
    first_times = list(dict.fromkeys(arrivals))
    late = sum(number < max(first_times[:at], default=0) for at, number in enumerate(first_times))
    assert ledger.received == len(set(arrivals))
    assert ledger.missing == published - len(set(arrivals))
    assert ledger.duplicates == sum(count - 1 for count in Counter(arrivals).values())
    assert ledger.out_of_order == late


def test_a_subscriber_owes_nothing_for_what_was_published_before_it_came() -> None:
    ledger = Ledger()
    first = ledger.join()
    ledger.publish(2)
    second = ledger.join()
    ledger.publish(1)
    assert ledger.expected == 3 + 1
    for number in (1, 2, 3):
        first.enter(number)
    second.enter(3)
    assert (ledger.received, ledger.missing, ledger.duplicates) == (4, 0, 0)
    second.enter(1)  # from before its time: nobody should have sent it this
    assert ledger.duplicates == 1
