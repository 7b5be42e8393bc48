"""Back ends' keys: what each may do, found by the key that a request shows."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tidewire.access.api_keys_file import EVERYTHING, hash_of, read_keys
from tidewire.access.audit import audit
from tidewire.access.caller import SCOPES
from tidewire.access.watched_file import UnusableFile, WatchedFile

_LONGEST = 1024


class ApiKey(NamedTuple):
    """A back end. ``channels`` are names and patterns; when there are none, all channels.

    ``old`` is the key that another is about to replace, in what is otherwise the same.
    """

    name: str
    scopes: frozenset[str]
    channels: tuple[str, ...] = ()
    old: bool = False


_SINGLE = ApiKey("api_key", SCOPES)


class ApiKeys:
    """Finds keys: a *single* one, which may do everything and is called ``api_key``, and a file's.

    The file is read again when it changes. If it cannot be used then, the keys it had hold on.
    """

    def __init__(
        self,
        single: str | None = None,
        file: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the file.

        Raises:
            UnusableFile: if it cannot be used.
        """
        self._single = None if single is None else hash_of(single)
        try:
            self._file = None
            if file is not None:
                self._file = WatchedFile(file, _by_hash, changed=_tell, clock=clock)
        except UnusableFile as error:
            raise UnusableFile(
                f"api_keys_file: {error}; tidewire keys add makes such a file"
            ) from error

    def find(self, text: str) -> ApiKey | None:
        """Whose key *text* is; the same object each time, until the file changes."""
        if len(text) > _LONGEST:
            return None
        shown = hash_of(text)
        if self._single is not None and hmac.compare_digest(self._single, shown):
            return _SINGLE
        # Nobody can steer a hash towards a key's, so how long the look-up takes tells nothing.
        return None if self._file is None else self._file.value.get(shown)


def _tell(before: dict[str, ApiKey], after: dict[str, ApiKey]) -> None:
    """Note whose keys have come, gone, or changed in what they may do."""
    old, new = _by_name(before), _by_name(after)
    facts = {
        "added": new.keys() - old.keys(),
        "removed": old.keys() - new.keys(),
        "changed": {name for name in old.keys() & new.keys() if old[name] != new[name]},
    }
    shown = {what: ", ".join(sorted(names)) for what, names in facts.items() if names}
    if shown:
        audit("keys", "the file of keys", **shown)


def _by_name(keys: dict[str, ApiKey]) -> dict[str, set[tuple[str, ApiKey]]]:
    named: dict[str, set[tuple[str, ApiKey]]] = {}
    for kept, key in keys.items():
        named.setdefault(key.name, set()).add((kept, key))
    return named


def _by_hash(data: bytes) -> dict[str, ApiKey]:
    keys = {}
    for name, entry in read_keys(data).items():
        scopes = SCOPES if EVERYTHING in entry.scopes else frozenset(entry.scopes)
        keys[entry.hash] = ApiKey(name, scopes, entry.channels)
        if entry.old_hash is not None:
            keys[entry.old_hash] = ApiKey(name, scopes, entry.channels, old=True)
    return keys
