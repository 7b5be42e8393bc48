"""Uploads of one server: file work on threads, one connection for each, and what follows the end.

A whole file is checked, moved into its place, shown to the operator's callback, and published.
Where that was cut short the client's next ``upload`` command goes on with it: the callback may
be called again, but the message is published once, by the idempotency of its key and by the note
that is kept of it.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec

from tidewire.log import Engine
from tidewire.model import BadRequest, Draft, Unavailable
from tidewire.uploads.callback import Callback, Refused, call
from tidewire.uploads.store import Partial, Store
from tidewire.uploads.upload import Published, Upload, Wanted

logger = logging.getLogger("tidewire.uploads")

T = TypeVar("T")

THREADS = 4
MOST_SWEEP_SECONDS = 600.0


class StorageUnavailable(Unavailable):
    """The disk cannot take the upload now; what was kept stays."""

    code = "storage_unavailable"


class _Claim:
    """One connection's hold on an upload: how to make it let go, and that it has."""

    def __init__(self, give_up: Callable[[], None], released: Future[None]) -> None:
        self.give_up = give_up
        self.released = released


class Intake:
    """All uploads of this server. *max_size* is in bytes, *ttl* in seconds.

    *message_size* bounds the data that a callback may return, in bytes.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        *,
        max_size: int,
        ttl: float,
        message_size: int,
        callback: Callback | None = None,
    ) -> None:
        self.max_size = max_size
        self._engine = engine
        self._store = store
        self._ttl = ttl
        self._message_size = message_size
        self._callback = callback
        self._claims: dict[str, _Claim] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="uploads")
        self._closed = False
        self._sweeper: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to delete what nobody goes on with; to be called on the loop's thread."""
        self._loop = asyncio.get_running_loop()
        self._sweep()

    def close(self) -> None:
        """Finish the file work that is under way, and do no more."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def open(self, wanted: Wanted, give_up: Callable[[], None]) -> Partial:
        """Begin or go on with an upload; ``release`` it at the end.

        A connection that has it open already gets its *give_up* called and must release it:
        its client is here again, and the end of the older connection was not noticed yet.

        Raises:
            BadRequest: if the upload is another one, or open on another server.
            Unavailable: if the disk fails.
        """
        id = wanted.key
        while (older := self._claims.get(id)) is not None:
            older.give_up()
            await asyncio.shield(older.released)
        claim = self._claims[id] = _Claim(give_up, self._loop.create_future())
        try:
            return await self._run(partial(self._store.open, wanted))
        except BaseException:
            self._let_go(id, claim)
            raise

    async def write(self, one: Partial, parts: Sequence[memoryview | bytes]) -> int:
        """Add *parts* to an upload; return how many bytes are safely kept then.

        Raises:
            Unavailable: if the disk fails.
        """
        return await self._run(partial(one.write, parts))

    async def settle(self, one: Partial) -> Published:
        """Check a whole upload, put it in its place, and publish it.

        Raises:
            BadRequest: ``checksum_mismatch`` or ``upload_refused``; the upload is deleted.
            Unavailable: if the disk or the log fails; the upload stays as it is.
        """
        if one.published is not None:
            return one.published
        if not one.moved and not await self._run(partial(one.matches, self._goes_on)):
            await self._run(one.discard)
            raise BadRequest(
                "the file that came has another SHA-256 than was announced: it was deleted",
                code="checksum_mismatch",
            )
        upload = await self._run(one.move)
        try:
            data = await self._data(one.wanted, upload)
        except Refused as refusal:
            await self._run(one.discard)
            raise BadRequest(str(refusal), code="upload_refused") from None
        wanted = one.wanted
        draft = Draft(wanted.channel, data, "upload", key=wanted.key)
        (receipt,) = await self._engine.append([draft])
        published = Published(f"{self._engine.epoch}-{receipt.id}", receipt.seq)
        await self._run(partial(one.note, published))
        return published

    async def _data(self, wanted: Wanted, upload: Upload) -> bytes:
        """The message's data: what the callback returned, or what is known of the upload.

        Raises:
            Refused: if the callback does not want it, or fails.
        """
        told: Any = None
        if self._callback is not None:
            try:
                told = await call(self._callback, upload)
                data = msgspec.json.encode(told)
            except Refused:
                raise
            except Exception as error:
                logger.exception("the upload callback failed")
                raise Refused("the upload was refused") from error
            if len(data) > self._message_size:
                logger.error("the upload callback returned more than a message may have")
                raise Refused("the upload was refused")
        if told is None:
            told = {
                "upload": wanted.upload,
                "name": wanted.name,
                "size": wanted.size,
                "sha256": wanted.sha256,
                "content_type": wanted.content_type,
                "path": upload.path.name,
            }
        return msgspec.json.encode(told)

    def release(self, one: Partial) -> None:
        """Let go of an upload on which no work is under way."""
        one.close()
        self._let_go(one.wanted.key, self._claims[one.wanted.key])

    def _let_go(self, id: str, claim: _Claim) -> None:
        del self._claims[id]
        if not claim.released.done():
            claim.released.set_result(None)

    async def _run(self, job: Callable[[], T]) -> T:
        """Do file work on a thread."""
        if self._closed:
            raise Unavailable("the server is going down")
        try:
            return await self._loop.run_in_executor(self._threads, job)
        except InterruptedError:
            raise Unavailable("the server is going down") from None
        except OSError as error:
            logger.error("an upload could not be kept: %s", error)
            raise StorageUnavailable("the upload cannot be kept now; try again later") from error

    def _goes_on(self) -> bool:
        return not self._closed

    def _sweep(self) -> None:
        sweep = self._loop.run_in_executor(self._threads, self._store.sweep, self._ttl)
        sweep.add_done_callback(self._swept)

    def _swept(self, sweep: Future[None]) -> None:
        if not sweep.cancelled() and (error := sweep.exception()) is not None:
            logger.error("old uploads could not be deleted: %s", error)
        if not self._closed:
            delay = min(self._ttl / 4, MOST_SWEEP_SECONDS)
            self._sweeper = self._loop.call_later(delay, self._sweep)
