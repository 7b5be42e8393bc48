"""What an attack is, and the table of them: docs/security.md says the same to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.attacks.target import Target

MiB = 1 << 20


class Attack(NamedTuple):
    """Something that an attacker tries.

    ``carry_out`` raises ``AssertionError`` if the attacker gets anything but what ``expects`` says,
    and returns what it has seen. ``counts`` are the reasons of ``tidewire_refusals_total`` that
    must have grown. ``memory`` is by how many bytes the server may have grown when it is over, of
    which 8 MiB are pages of the past that wait for whoever comes next; ``peak`` while it lasts.
    """

    name: str
    how: str
    expects: str
    carry_out: Callable[[Target], str]
    counts: tuple[str, ...]
    memory: int
    peak: int


ATTACKS: dict[str, Attack] = {}
"""By name, in the order in which they are carried out."""


def attack(
    expects: str, *, counts: tuple[str, ...] = (), memory: int = 24 * MiB, peak: int = 32 * MiB
) -> Callable[[Callable[[Target], str]], Callable[[Target], str]]:
    """Enter a function into the table; its name and docstring are those of the attack."""

    def enter(carry_out: Callable[[Target], str]) -> Callable[[Target], str]:
        name = carry_out.__name__
        how = (carry_out.__doc__ or "").split("\n")[0]
        assert name not in ATTACKS, name
        ATTACKS[name] = Attack(name, how, expects, carry_out, counts, memory, peak)
        return carry_out

    return enter
