"""The file that back ends' keys are kept in, as hashes: read strictly, changed as a whole.

```toml
[keys.billing]
hash = "sha256:…"
scopes = ["publish", "history"]
channels = ["orders:*"]
created = 2026-11-26T09:30:00Z
```

A key is 256 random bits, so one SHA-256 is as good a hash as a slow one: there is no dictionary of
such keys to go through.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tidewire.access.caller import SCOPES
from tidewire.access.patterns import is_pattern

PREFIX = "tw_"
EVERYTHING = "*"
"""The scope that has all scopes in it."""

_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEAD = """\
# Keys of back ends, as hashes: whoever reads this file cannot use them.
# Written by `tidewire keys`, which leaves out other comments. A running server reads it by itself.
"""


class KeyEntry(NamedTuple):
    """What the file says of one key. ``old_hash`` is there while the key is being replaced."""

    hash: str
    scopes: tuple[str, ...]
    channels: tuple[str, ...] = ()
    created: datetime | None = None
    old_hash: str | None = None


def new_key() -> str:
    """A new key: ``tw_`` and 43 characters of A-Z a-z 0-9 - _ that stand for 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """What is kept of *key*."""
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def check_name(name: str) -> str:
    """Return *name* if a key can have it.

    Raises:
        ValueError: if it cannot.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name: use 1 to 64 of A-Z a-z 0-9 _ -")
    return name


def check_scopes(scopes: object) -> tuple[str, ...]:
    """*scopes* in their order, if they are a list of at least one.

    Raises:
        ValueError: if they are not.
    """
    if (
        not isinstance(scopes, list)
        or not scopes
        or not all(isinstance(one, str) and (one in SCOPES or one == EVERYTHING) for one in scopes)
    ):
        raise ValueError(f"scopes are a list out of {', '.join(sorted(SCOPES))}, or *")
    return tuple(dict.fromkeys(scopes))


def check_channels(channels: object) -> tuple[str, ...]:
    """*channels* in their order, if they are a list of channel names and patterns.

    Raises:
        ValueError: if they are not.
    """
    if not isinstance(channels, list) or not all(
        isinstance(one, str) and is_pattern(one) for one in channels
    ):
        raise ValueError(
            "channels are a list of names or patterns of A-Z a-z 0-9 _ - . : / @ # and *"
        )
    return tuple(dict.fromkeys(channels))


def read_keys(data: bytes) -> dict[str, KeyEntry]:
    """The keys by name.

    Raises:
        ValueError: if there is anything in *data* that should not be there, or a key twice.
    """
    try:
        document = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    tables = document.pop("keys", {})
    if document:
        raise ValueError(f"unknown key {next(iter(document))!r}; it has tables [keys.NAME] only")
    if not isinstance(tables, dict):
        raise ValueError("keys is not a table")
    entries = {}
    seen: set[str] = set()
    for name, table in tables.items():
        try:
            check_name(name)
            entry = _entry(table)
        except ValueError as error:
            raise ValueError(f"keys.{name}: {error}") from None
        for kept in (entry.hash, entry.old_hash):
            if kept in seen:
                raise ValueError(f"keys.{name}: its hash is there twice")
            if kept is not None:
                seen.add(kept)
        entries[name] = entry
    return entries


def _entry(table: object) -> KeyEntry:
    if not isinstance(table, dict):
        raise ValueError("it is not a table")
    if unknown := table.keys() - set(KeyEntry._fields):
        raise ValueError(f"unknown key {min(unknown)!r}; it takes {', '.join(KeyEntry._fields)}")
    for field in ("hash", "old_hash"):
        value = table.get(field)
        if field not in table and field != "hash":
            continue
        if not isinstance(value, str) or _HASH.fullmatch(value) is None:
            raise ValueError(f"{field} is not sha256: and 64 hexadecimal digits")
    created = table.get("created")
    if created is not None and (not isinstance(created, datetime) or created.tzinfo is None):
        raise ValueError("created is not a date and a time with its zone")
    return KeyEntry(
        table["hash"],
        check_scopes(table.get("scopes")),
        check_channels(table.get("channels", [])),
        created,
        table.get("old_hash"),
    )


def change_keys(path: Path, change: Callable[[dict[str, KeyEntry]], None]) -> None:
    """Let *change* alter the keys in the file, which is then replaced as a whole.

    Whoever reads meanwhile sees the keys before or after. A new file is its owner's alone (mode
    0600); one that was there keeps its owner and its mode. Other changes wait.

    Raises:
        OSError: if the file cannot be read or written.
        ValueError: if it cannot be used as it is, or *change* raises it.
    """
    path = path.resolve()  # a link stays one
    with _alone(path.parent):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            data = b""
        entries = read_keys(data)
        change(entries)
        _replace(path, keys_text(entries).encode())


def keys_text(entries: Mapping[str, KeyEntry]) -> str:
    """The file that says this."""
    return _HEAD + "".join("\n" + "\n".join(_lines(*item)) + "\n" for item in entries.items())


def _lines(name: str, entry: KeyEntry) -> Iterator[str]:
    yield f"[keys.{name}]"
    for field, value in entry._asdict().items():
        if isinstance(value, datetime):
            moment = value.astimezone(UTC).replace(tzinfo=None)
            yield f"{field} = {moment.isoformat(timespec='seconds')}Z"
        elif value is not None and value != ():
            # What may stand in these texts and lists is the same in JSON and in TOML.
            yield f"{field} = {json.dumps(value)}"


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """The directory is locked, since the file itself is another one after each change."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)  # the new file's name is on the disk too
    finally:
        os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            if path.exists():
                was = path.stat()
                os.fchmod(descriptor, was.st_mode & 0o777)
                os.fchown(descriptor, was.st_uid, was.st_gid)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
