"""The books of the honest clients find whatever an attack may have done to them."""

from __future__ import annotations

import pytest

from tests.attacks.bookkeeping import CHANNELS, Followed, channel_of

FOLLOWED = [
    CHANNELS[:1],
    CHANNELS[1:2],
    CHANNELS[3:],
    CHANNELS[:3],
    CHANNELS[1:],
    (CHANNELS[0], CHANNELS[2]),
    CHANNELS,
]


@pytest.mark.parametrize("channels", FOLLOWED)
def test_followed_messages_have_places_without_holes(channels: tuple[str, ...]) -> None:
    ledger = Followed(channels)
    followed = [number for number in range(1, 41) if channel_of(number) in channels]
    assert [ledger.place(number) for number in followed] == list(range(1, len(followed) + 1))


def publish(ledger: Followed, last: int) -> list[int]:
    """Announce the messages up to ``last``; return those that are followed."""
    for number in range(1, last + 1):
        ledger.announce(number)
    return [number for number in range(1, last + 1) if channel_of(number) in CHANNELS[:3]]


def test_who_has_everything_lacks_nothing() -> None:
    ledger = Followed(CHANNELS[:3])
    account = ledger.join()
    for number in publish(ledger, 20):
        account.enter(number)
    assert (ledger.expected, ledger.missing, ledger.duplicates, ledger.out_of_order) == (
        15,
        0,
        0,
        0,
    )


def test_what_is_left_out_is_missed() -> None:
    ledger = Followed(CHANNELS[:3])
    account = ledger.join()
    for number in publish(ledger, 20)[1:]:
        account.enter(number)
    assert ledger.missing == 1


def test_what_comes_twice_is_noticed() -> None:
    ledger = Followed(CHANNELS[:3])
    account = ledger.join()
    for number in [*publish(ledger, 20), 20]:
        account.enter(number)
    assert (ledger.missing, ledger.duplicates) == (0, 1)


def test_what_comes_late_is_out_of_order() -> None:
    ledger = Followed(CHANNELS[:3])
    account = ledger.join()
    first, *others = publish(ledger, 20)
    for number in [*others, first]:
        account.enter(number)
    assert (ledger.missing, ledger.out_of_order) == (0, 1)


def test_a_message_of_another_channel_is_an_error() -> None:
    ledger = Followed(CHANNELS[:3])
    with pytest.raises(KeyError):
        ledger.join().enter(3)


def test_who_comes_later_is_owed_what_comes_later() -> None:
    ledger = Followed(CHANNELS[:3])
    publish(ledger, 20)
    account = ledger.join()
    for number in range(21, 25):
        ledger.announce(number)
    for number in (21, 22, 24):
        account.enter(number)
    assert (ledger.expected, ledger.missing) == (3, 0)
