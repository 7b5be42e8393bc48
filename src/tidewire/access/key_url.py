"""The keys that an issuer shows at an address, as a JWK set (RFC 7517): fetched, kept, rotated.

They are fetched again when they are old, and early when a token names a key that is not among them:
so an issuer can begin to use a new key at any time. Strangers can name any key, therefore early
fetches are at least the cool-down apart, and all who wait share one. What the issuer has taken away
is gone here with the next fetch; while it cannot be reached, its last keys hold on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import Task, TimerHandle
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tidewire.access.key_source import Elsewhere, KeySet, KeySource
from tidewire.access.origins import is_loopback
from tidewire.access.token_key import PUBLIC_ALGORITHMS, Key, UnusableKey, jwk_set

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("tidewire.access")

COOL_DOWN = 5.0
TIMEOUT = 5.0
_LARGEST = 256 << 10


class KeyUrl(KeySource):
    """The keys at *url*, https or http on a loopback address; none before the first fetch.

    *ttl*, *cool_down* and *timeout* are in seconds: for how long keys are taken as they are, the
    least time between two early fetches, the longest that one fetch may take.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl: float = 300.0,
        cool_down: float = COOL_DOWN,
        timeout: float = TIMEOUT,
    ) -> None:
        """Remember where the keys are; ``fetch`` gets them, and keeps them new from then on.

        Raises:
            UnusableKey: if others could read or change on the way what comes from there.
        """
        super().__init__()
        parts = urlsplit(url)
        secure = parts.scheme == "https" and parts.hostname
        if not secure and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise UnusableKey("keys are fetched from an https address, or http on this machine")
        self._url = url
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._secure = bool(secure)
        self._ttl = ttl
        self._cool_down = cool_down
        self._timeout = timeout
        self._http: httpx.AsyncClient | None = None
        self._task: Task[None] | None = None
        self._timer: TimerHandle | None = None
        self._closed = False
        self._document: bytes | None = None
        self._version = 0
        self._trouble: str | None = None
        self._asked = float("-inf")

    def version(self) -> int:
        return self._version

    def elsewhere(self, id: str | None, algorithm: str) -> Elsewhere:
        if algorithm not in PUBLIC_ALGORITHMS or (id is not None and self._keys.has(id)):
            return Elsewhere.NOWHERE
        if self._closed:
            return Elsewhere.OUT_OF_REACH
        if self._task is not None or time.monotonic() - self._asked >= self._cool_down:
            return Elsewhere.TO_FETCH
        return Elsewhere.OUT_OF_REACH if self._trouble else Elsewhere.NOWHERE

    async def fetch(self) -> None:
        task = self._begin()
        if task is not None:
            self._asked = time.monotonic()
            # Whoever waits may be cancelled without taking the keys from the others.
            await asyncio.wait([task])
            self._asked = time.monotonic()

    async def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._http is not None:
            await self._http.aclose()

    def _begin(self) -> Task[None] | None:
        """The fetch that is under way, or a new one."""
        if self._task is None and not self._closed:
            if self._timer is not None:
                self._timer.cancel()
            self._task = asyncio.get_running_loop().create_task(self._attempt())
        return self._task

    async def _attempt(self) -> None:
        try:
            document = await self._get()
            if document != self._document:
                keys, problems = jwk_set(document, secrets=False)
                self._take(keys, problems)
                self._document = document
        except TimeoutError:
            self._failed(f"no whole answer within {self._timeout:g} s")
        except Exception as error:  # whatever it is: the old keys hold on, and the next fetch comes
            self._failed(str(error) or type(error).__name__)
        else:
            if self._trouble:
                logger.info("keys of users' tokens can be fetched again from %s", self._shown)
            self._trouble = None
        finally:
            self._task = None
            if not self._closed:
                wait = min(self._ttl, self._cool_down) if self._trouble else self._ttl
                self._timer = asyncio.get_running_loop().call_later(wait, self._begin)

    async def _get(self) -> bytes:
        async with asyncio.timeout(self._timeout):
            http = await self._client()
            # Nothing is unpacked, so that nothing small can become large.
            headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
            async with http.stream("GET", self._url, headers=headers) as response:
                if response.status_code != 200:
                    raise UnusableKey(f"it answers with status {response.status_code}")
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise UnusableKey("it answers with a compressed body, though asked not to")
                pieces, size = [], 0
                async for piece in response.aiter_raw():
                    pieces.append(piece)
                    size += len(piece)
                    if size > _LARGEST:
                        raise UnusableKey(f"it answers with more than {_LARGEST:,} bytes")
                return b"".join(pieces)

    async def _client(self) -> httpx.AsyncClient:
        # Not at the top: few servers need it, and it takes long to import.
        import httpx

        if self._http is None:
            # The certificates of the world take tens of milliseconds to read.
            verify = await asyncio.to_thread(httpx.create_ssl_context) if self._secure else False
            self._http = httpx.AsyncClient(
                verify=verify,
                follow_redirects=False,
                trust_env=self._secure,  # a proxy for what is on this machine would be a mistake
                timeout=self._timeout,
            )
        return self._http

    def _take(self, keys: list[Key], problems: list[str]) -> None:
        for problem in problems:
            logger.warning("keys of users' tokens, %s: %s", self._shown, problem)
        if not keys:
            logger.error("keys of users' tokens: there is none at %s", self._shown)
        self._keys = KeySet(keys)
        self._version += 1

    def _failed(self, reason: str) -> None:
        # Once until it works again: the attempts go on, and each would say the same.
        if self._trouble is None:
            logger.error(
                "keys of users' tokens cannot be fetched from %s: %s; %s",
                self._shown,
                reason,
                f"the {len(self._keys)} that are known hold on" if self._keys else "none is known",
            )
        self._trouble = reason
