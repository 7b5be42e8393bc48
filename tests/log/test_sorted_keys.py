"""Keys in order, although they come in any and go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidewire.log.sorted_keys import SortedKeys

names = st.text("ab ", max_size=4)
steps = st.lists(st.tuples(st.sampled_from(["put", "drop", "look"]), names, names), max_size=200)


@given(steps=steps)
def test_it_has_what_the_table_has(steps: list[tuple[str, str, str]]) -> None:
    table: dict[str, None] = {}
    keys = SortedKeys(table)
    for step, name, other in steps:
        if step == "put":
            if name not in table:
                table[name] = None
                keys.add(name)
        elif step == "drop":
            table.pop(name, None)
        else:
            expected = sorted(key for key in table if key > other and key.startswith(name))
            assert list(keys.above(other, name)) == expected


def test_what_has_gone_is_forgotten() -> None:
    table: dict[str, None] = {}
    keys = SortedKeys(table)
    for n in range(10_000):
        table[str(n)] = None
        keys.add(str(n))
        del table[str(n)]
    assert len(keys._keys) + len(keys._new) < 200
    assert list(keys.above("", "")) == []
