"""Where the keys that verify tokens come from: a secret, a file, an address, or several of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tidewire.access.key_source import Elsewhere, KeySet, KeySource
from tidewire.access.key_url import KeyUrl
from tidewire.access.token_key import Key, UnusableKey, jwk_set, pem_keys, secret_key
from tidewire.access.unusable import Unusable
from tidewire.access.watched_file import UnusableFile, WatchedFile


def key_source(
    *,
    secret: str | None = None,
    file: Path | None = None,
    url: str | None = None,
    ttl: float = 300.0,
) -> KeySource:
    """The keys of all that is given; ``fetch`` it before use, which only *url* needs.

    Raises:
        Unusable: if one of them cannot be used; the text names the setting or the file.
    """
    sources: list[KeySource] = []
    if secret is not None:
        try:
            sources.append(SecretKey(secret))
        except UnusableKey as error:
            raise Unusable(f"token_secret: {error}; public keys are for token_key_file") from error
    if file is not None:
        try:
            sources.append(KeyFile(file))
        except UnusableFile as error:
            raise Unusable(f"token_key_file: {error}") from error
    if url is not None:
        try:
            sources.append(KeyUrl(url, ttl=ttl))
        except UnusableKey as error:
            raise Unusable(f"token_jwks_url: {error}") from error
    return sources[0] if len(sources) == 1 else AllKeys(sources)


class SecretKey(KeySource):
    """An HMAC secret that the issuer of the tokens has too."""

    def __init__(self, secret: str) -> None:
        """Take *secret* as the bytes of its UTF-8.

        Raises:
            UnusableKey: if it is none.
        """
        super().__init__([secret_key(secret.encode())])


class KeyFile(KeySource):
    """Public keys from a PEM file, or keys from a JWK set; read again when the file changes."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            UnusableFile: if there is no key in it, or anything that should not be there.
        """
        super().__init__()
        self._file = WatchedFile(path, _keys_in, clock=clock)

    def version(self) -> int:
        return self._file.version

    def find(self, id: str | None, algorithm: str) -> list[Key]:
        return self._file.value.find(id, algorithm)


class AllKeys(KeySource):
    """The keys of several sources."""

    def __init__(self, sources: Iterable[KeySource]) -> None:
        super().__init__()
        self._sources = tuple(sources)

    def version(self) -> int:
        # None of them ever goes down, so the sum is another one when any of them is.
        return sum(source.version() for source in self._sources)

    def find(self, id: str | None, algorithm: str) -> list[Key]:
        return [key for source in self._sources for key in source.find(id, algorithm)]

    def elsewhere(self, id: str | None, algorithm: str) -> Elsewhere:
        return max(
            (source.elsewhere(id, algorithm) for source in self._sources),
            default=Elsewhere.NOWHERE,
        )

    async def fetch(self) -> None:
        for source in self._sources:
            await source.fetch()

    async def close(self) -> None:
        for source in self._sources:
            await source.close()


def _keys_in(data: bytes) -> KeySet:
    if not data.lstrip().startswith(b"{"):
        return KeySet(pem_keys(data))
    keys, problems = jwk_set(data, secrets=True)
    # Its author is here to mend it, so nothing is left out in silence.
    if problems:
        raise UnusableKey("; ".join(problems))
    if not keys:
        raise UnusableKey("none of its keys is for signatures")
    return KeySet(keys)
