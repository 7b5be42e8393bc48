"""The file with back ends' keys: read strictly, changed as a whole."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tidewire.access.api_keys_file import (
    KeyEntry,
    change_keys,
    check_channels,
    check_name,
    check_scopes,
    hash_of,
    keys_text,
    new_key,
    read_keys,
)
from tidewire.access.caller import SCOPES

if TYPE_CHECKING:
    from pathlib import Path

ONE, OTHER = hash_of("one"), hash_of("other")
BILLING = KeyEntry(
    ONE, ("publish", "history"), ("orders:*",), datetime(2026, 11, 26, 9, 30, tzinfo=UTC), OTHER
)


def entry_of(table: str) -> dict[str, KeyEntry]:
    return read_keys(f"[keys.a]\n{table}".encode())


# Keys


def test_a_new_key() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(r"tw_[A-Za-z0-9_-]{43}", key) for key in keys)


def test_what_is_kept_of_it() -> None:
    # FIPS 180-2 appendix B.1
    assert hash_of("abc") == (
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert hash_of("\ud800") != hash_of("?")  # what is no text at all is no key, and no error


# Reading


def test_what_a_file_says() -> None:
    text = f"""
        [keys.billing]
        hash = "{ONE}"
        old_hash = "{OTHER}"
        scopes = ["publish", "history", "publish"]
        channels = ["orders:*"]
        created = 2026-11-26T10:30:00+01:00
        [keys.console]
        hash = "{hash_of("third")}"
        scopes = ["*"]
    """
    assert read_keys(text.encode()) == {
        "billing": BILLING,
        "console": KeyEntry(hash_of("third"), ("*",)),
    }


def test_a_file_without_keys() -> None:
    assert read_keys(b"") == read_keys(b"# nobody\n[keys]\n") == {}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"[keys", "it is not TOML"),
        (b"\xff", "it is not UTF-8 at byte 0"),
        (b"x = " + b"[" * 100_000, "it is nested too deeply"),
        (b"a = 1", "unknown key 'a'; it has tables"),
        (b"[Keys.a]\nhash = 1", "unknown key 'Keys'"),
        (b"keys = 7", "keys is not a table"),
        (b"keys.a = 7", "keys.a: it is not a table"),
        (b'[keys."a b"]\nhash = 1', "keys.a b: 'a b' is no name"),
    ],
)
def test_what_is_no_file_of_keys(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        read_keys(data)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("", "hash is not sha256:"),
        ('scopes = ["publish"]', "hash is not sha256:"),
        ('hash = "tw_secret"', "hash is not sha256:"),
        (f'hash = "{ONE.upper()}"', "hash is not sha256:"),
        (f'hash = "{ONE}0"', "hash is not sha256:"),
        (f'hash = "{ONE}"', "scopes are a list out of ack, admin, "),
        (f'hash = "{ONE}"\nscopes = []', "scopes are a list"),
        (f'hash = "{ONE}"\nscopes = "publish"', "scopes are a list"),
        (f'hash = "{ONE}"\nscopes = ["write"]', "scopes are a list"),
        (f'hash = "{ONE}"\nscopes = [["publish"]]', "scopes are a list"),
        (f'hash = "{ONE}"\nscopes = ["*"]\nchannels = "a"', "channels are a list"),
        (f'hash = "{ONE}"\nscopes = ["*"]\nchannels = ["a b"]', "channels are a list"),
        (f'hash = "{ONE}"\nscopes = ["*"]\nchannels = [1]', "channels are a list"),
        (f'hash = "{ONE}"\nscopes = ["*"]\nchanels = []', "unknown key 'chanels'; it takes hash,"),
        (f'hash = "{ONE}"\nscopes = ["*"]\ncreated = 1', "created is not a date"),
        (f'hash = "{ONE}"\nscopes = ["*"]\ncreated = 2026-11-26', "created is not a date"),
        (f'hash = "{ONE}"\nscopes = ["*"]\ncreated = 2026-11-26T09:30:00', "with its zone"),
        (f'hash = "{ONE}"\nscopes = ["*"]\nold_hash = ""', "old_hash is not sha256:"),
        (f'hash = "{ONE}"\nscopes = ["*"]\nold_hash = "{ONE}"', "its hash is there twice"),
        (
            f'hash = "{ONE}"\nscopes = ["*"]\n[keys.b]\nhash = "{ONE}"\nscopes = ["*"]',
            "keys.b: its hash is there twice",
        ),
    ],
)
def test_what_is_no_key(table: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"^keys\.[ab]: ") as raised:
        entry_of(table)
    assert problem in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "ä", "a\n", "a" * 65, "../a"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        check_name(name)


@given(st.binary())
def test_nothing_else_is_raised(data: bytes) -> None:
    try:
        read_keys(data)
    except ValueError:
        return


# Writing

HASHES = st.binary(max_size=8).map(lambda data: hash_of(data.hex()))
ENTRIES = st.builds(
    KeyEntry,
    HASHES,
    st.lists(st.sampled_from([*sorted(SCOPES), "*"]), min_size=1).map(check_scopes),
    st.lists(st.from_regex(r"[A-Za-z0-9_\-.:/@#*]{1,20}", fullmatch=True)).map(check_channels),
    st.none() | st.datetimes(timezones=st.just(UTC)).map(lambda time: time.replace(microsecond=0)),
    st.none() | HASHES,
)


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True), ENTRIES, max_size=3))
def test_what_is_written_is_read(entries: dict[str, KeyEntry]) -> None:
    kept = [one for entry in entries.values() for one in (entry.hash, entry.old_hash) if one]
    assume(len(kept) == len(set(kept)))
    assert read_keys(keys_text(entries).encode()) == entries


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    change_keys(path, lambda entries: entries.update(billing=BILLING))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_keys(path.read_bytes()) == {"billing": BILLING}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_keeps_its_mode_and_a_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.touch()
    real.chmod(0o640)
    link.symlink_to(real)
    change_keys(link, lambda entries: entries.update(billing=BILLING))
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert "billing" in read_keys(real.read_bytes())


def test_what_goes_wrong_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    change_keys(path, lambda entries: entries.update(billing=BILLING))
    before = path.stat()

    def fail(entries: dict[str, KeyEntry]) -> None:
        entries.clear()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        change_keys(path, fail)
    assert path.stat() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_put_in_its_place_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    with pytest.raises(IsADirectoryError):
        change_keys(path, lambda entries: path.mkdir())
    assert list(tmp_path.iterdir()) == [path]


def test_a_broken_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text("[keys")
    with pytest.raises(ValueError, match="it is not TOML"):
        change_keys(path, lambda entries: entries.update(billing=BILLING))
    assert path.read_text() == "[keys"


def test_many_at_once_lose_no_change(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    code = (
        "import sys; from pathlib import Path\n"
        "from tidewire.access.api_keys_file import KeyEntry, change_keys, hash_of, new_key\n"
        "for number in range(5):\n"
        "    new = {f'{sys.argv[2]}-{number}': KeyEntry(hash_of(new_key()), ('publish',))}\n"
        "    change_keys(Path(sys.argv[1]), lambda entries: entries.update(new))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(who)], env=os.environ)
        for who in range(3)
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(read_keys(path.read_bytes())) == 15
