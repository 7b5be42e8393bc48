"""Back ends' keys: found, scoped, rotated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.access.test_watched_file import Clock
from tidewire.access.api_keys import ApiKey, ApiKeys
from tidewire.access.api_keys_file import KeyEntry, change_keys, hash_of, new_key
from tidewire.access.caller import SCOPES
from tidewire.access.watched_file import UnusableFile

if TYPE_CHECKING:
    from pathlib import Path

KEY, NEXT = new_key(), new_key()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    put(path, billing=KeyEntry(hash_of(KEY), ("publish", "history"), ("orders:*",)))
    return path


def put(path: Path, **keys: KeyEntry) -> None:
    """Make these the keys of the file."""

    def change(entries: dict[str, KeyEntry]) -> None:
        entries.clear()
        entries.update(keys)

    change_keys(path, change)


def test_the_single_key_may_do_everything() -> None:
    keys = ApiKeys("any text, even a short one")
    assert keys.find("any text, even a short one") == ApiKey("api_key", SCOPES)
    for other in ("", "any text, even a short on", "Any text, even a short one", KEY):
        assert keys.find(other) is None


def test_a_key_of_the_file_may_do_what_it_says(path: Path) -> None:
    found = ApiKeys(None, path).find(KEY)
    assert found == ApiKey("billing", frozenset({"publish", "history"}), ("orders:*",))


def test_a_star_stands_for_all_scopes(path: Path) -> None:
    put(path, console=KeyEntry(hash_of(KEY), ("*",)))
    assert ApiKeys(None, path).find(KEY) == ApiKey("console", SCOPES)


def test_both_at_once(path: Path) -> None:
    keys = ApiKeys("single", path)
    assert [getattr(keys.find(text), "name", None) for text in ("single", KEY, NEXT)] == [
        "api_key",
        "billing",
        None,
    ]


@pytest.mark.parametrize(
    "text",
    ["", "tw_", KEY[:-1], KEY + "A", KEY.upper(), f" {KEY}", hash_of(KEY), "é", "\ud800"],
    ids=["nothing", "prefix", "cut", "longer", "upper", "space", "hash", "letter", "surrogate"],
)
def test_nothing_else_is_a_key(path: Path, text: str) -> None:
    assert ApiKeys("single", path).find(text) is None


def test_a_text_without_end_is_not_even_hashed(path: Path) -> None:
    assert ApiKeys("x" * 2000, path).find("x" * 2000) is None


def test_without_keys_there_is_none() -> None:
    assert ApiKeys().find("") is None


def test_a_key_is_the_same_object_until_the_file_changes(path: Path) -> None:
    clock = Clock()
    keys = ApiKeys(None, path, clock=clock)
    first = keys.find(KEY)
    clock.now = 10
    assert keys.find(KEY) is first


def test_a_key_is_replaced_without_a_restart_and_without_a_gap(path: Path) -> None:
    clock = Clock()
    keys = ApiKeys(None, path, clock=clock)
    for second, (entry, good) in enumerate(
        [
            (
                KeyEntry(hash_of(NEXT), ("publish",), old_hash=hash_of(KEY)),
                {KEY: True, NEXT: False},
            ),
            (KeyEntry(hash_of(NEXT), ("publish",)), {NEXT: False}),
        ],
        1,
    ):
        put(path, billing=entry)
        clock.now = second
        found = {text: key.old for text in (KEY, NEXT) if (key := keys.find(text)) is not None}
        assert found == good


def test_a_key_that_is_removed_is_refused_a_second_later(path: Path) -> None:
    clock = Clock()
    keys = ApiKeys(None, path, clock=clock)
    put(path)
    clock.now = 1
    assert keys.find(KEY) is None


def test_a_broken_file_keeps_the_old_keys(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    keys = ApiKeys(None, path, clock=clock)
    path.write_text("[keys.billing]\nscopes = 7\n")
    clock.now = 1
    assert keys.find(KEY) is not None
    [told] = caplog.messages
    assert told.startswith(f"{path}: keys.billing: hash is not sha256: and 64 hexadecimal digits")


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match=r"no such file.*; tidewire keys add makes such"):
        ApiKeys(None, tmp_path / "keys.toml")
