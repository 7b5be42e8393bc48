"""Keys of back ends made, listed, replaced and removed; ``tidewire keys``."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.commands import Result, run
from tidewire.access.api_keys import ApiKey, ApiKeys
from tidewire.access.api_keys_file import KeyEntry, change_keys, hash_of
from tidewire.access.caller import SCOPES

if TYPE_CHECKING:
    from pathlib import Path


def keys(directory: Path, *arguments: str, **variables: Any) -> Result:
    return run("keys", *arguments, cwd=directory, **variables)


def test_a_key_is_shown_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    result = keys(tmp_path, "add", "billing")
    path = tmp_path / "keys.toml"
    key = result.out.removesuffix("\n")
    assert (result.code, len(key)) == (0, 46)
    assert "this is the key billing, which is not shown again; keys.toml has its hash" in result.err
    assert key not in path.read_text()
    assert key not in keys(tmp_path, "list").out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ApiKeys(None, path).find(key) == ApiKey("billing", frozenset({"publish"}))


def test_scopes_and_channels(tmp_path: Path) -> None:
    result = keys(
        tmp_path,
        *("add", "billing", "--scope", "publish,history", "--scope", "tickets"),
        *("--channel", "orders:*,invoices", "--channel", "news"),
    )
    assert result.code == 0
    [line] = keys(tmp_path, "list").lines
    assert line.pop("created").endswith("Z")
    assert line == {
        "name": "billing",
        "scopes": ["publish", "history", "tickets"],
        "channels": ["orders:*", "invoices", "news"],
        "old_key": False,
    }


def test_a_key_is_replaced_in_two_steps(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    old = keys(tmp_path, "add", "billing", "--scope", "*").out.strip()
    begun = keys(tmp_path, "rotate", "billing")
    new = begun.out.strip()
    assert "the old one is good until tidewire keys rotate billing --drop-old" in begun.err
    both = ApiKeys(None, path)
    assert [getattr(both.find(key), "old", None) for key in (old, new)] == [True, False]
    assert json.loads(keys(tmp_path, "list").out)["old_key"] is True

    again = keys(tmp_path, "rotate", "billing")
    assert (again.code, again.out) == (1, "")
    assert "take it away with --drop-old first" in again.err

    ended = keys(tmp_path, "rotate", "billing", "--drop-old")
    assert (ended.code, ended.out) == (0, "")
    one = ApiKeys(None, path)
    assert [getattr(one.find(key), "scopes", None) for key in (old, new)] == [None, SCOPES]
    assert "has no old key" in keys(tmp_path, "rotate", "billing", "--drop-old").err


def test_a_key_is_removed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        keys(tmp_path, "add", name)
    result = keys(tmp_path, "remove", "a")
    assert (result.code, result.out) == (0, "")
    assert [line["name"] for line in keys(tmp_path, "list").lines] == ["b"]


def test_the_file_is_the_one_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "tidewire.toml").write_text('api_keys_file = "by_file.toml"\n')
    keys(tmp_path, "add", "a")
    keys(tmp_path, "add", "b", TIDEWIRE_API_KEYS_FILE="by_variable.toml")
    keys(tmp_path, "add", "c", "--file", "by_flag.toml")
    assert {path.name for path in tmp_path.glob("by_*")} == {
        "by_file.toml",
        "by_variable.toml",
        "by_flag.toml",
    }


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["add", "a b"], 2, "'a b' is no name"),
        (["add", "a", "--scope", "write"], 2, "scopes are a list out of ack, admin,"),
        (["add", "a", "--channel", "a b"], 2, "channels are a list of names or patterns"),
        (["add", "there"], 1, "keys.toml: there is a key there already"),
        (["remove", "missing"], 1, "keys.toml: there is no key missing; tidewire keys list"),
        (["rotate", "missing"], 1, "keys.toml: there is no key missing"),
        (["rotate", "there", "--drop-old"], 1, "there has no old key; begin without --drop-old"),
        (["list", "--file", "no.toml"], 1, "no.toml: no such file or directory"),
        (["add", "a", "--file", "no/keys.toml"], 1, "no/keys.toml: no such file or directory"),
        (["list", "--file", "broken.toml"], 1, "broken.toml: it is not TOML"),
        (["add", "a", "--file", "broken.toml"], 1, "broken.toml: it is not TOML"),
    ],
)
def test_what_does_not_work(arguments: list[str], code: int, problem: str, tmp_path: Path) -> None:
    there = KeyEntry(hash_of("there"), ("publish",))
    change_keys(tmp_path / "keys.toml", lambda entries: entries.update(there=there))
    before = (tmp_path / "keys.toml").read_bytes()
    (tmp_path / "broken.toml").write_text("[keys")
    result = keys(tmp_path, *arguments)
    assert (result.code, result.out) == (code, "")
    assert problem in result.err
    assert (tmp_path / "keys.toml").read_bytes() == before
    assert (tmp_path / "broken.toml").read_text() == "[keys"
