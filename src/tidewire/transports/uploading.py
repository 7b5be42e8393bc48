"""Uploads over a WebSocket: files in chunks, gone on with after a cut.

A client announces a file with the command ``upload`` and is told from where to send it, and under
which number; the number stands in each chunk, so several uploads can share a connection. What
is answered as ``progress`` is with the disk. What was taken and is not written yet is bounded:
past that the connection is read no further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidewire.model import BadRequest, NotFound, TidewireError
from tidewire.model.envelope import Error, Ok, Progress
from tidewire.transports.commands import Chunk, Ref, Upload
from tidewire.transports.wire import STORING
from tidewire.uploads import Intake, Partial, Receiving, Wanted, check_wanted, parse_chunk
from tidewire.uploads.receiving import WrongOffset

if TYPE_CHECKING:
    from tidewire.transports.dialogue import Dialogue

MOST_UPLOADS = 16  # open at the same time
MOST_WAITING = 1 << 20  # bytes that wait to be written, of one connection


def upload(dialogue: Dialogue, command: Upload) -> None:
    """Begin to send a file, or go on with it."""
    intake = dialogue.rules.uploads
    if intake is None:
        raise NotFound("this server takes no uploads: see upload_dir", code="uploads_off")
    wanted = check_wanted(
        Wanted(
            command.upload,
            command.channel,
            command.name,
            command.size,
            command.sha256,
            command.content_type,
            dialogue.gate.caller.own(""),
        ),
        intake.max_size,
    )
    if dialogue.uploading is None:
        dialogue.uploading = Uploading(dialogue, intake)
    dialogue.uploading.begin(wanted, command.ref)


def chunk(dialogue: Dialogue, command: Chunk) -> None:
    """A chunk, where binary frames are commands."""
    if dialogue.uploading is None:
        raise _unknown(command.upload)
    dialogue.uploading.chunk(command.upload, command.offset, command.data)


class _Open:
    """One upload of a connection."""

    __slots__ = ("busy", "number", "partial", "ref", "state", "taken_over", "wanted")

    def __init__(self, wanted: Wanted, ref: Ref) -> None:
        self.wanted = wanted
        self.ref = ref
        self.number = 0
        self.partial: Partial | None = None  # while it is being opened
        self.state = Receiving(wanted.size, 0)
        self.busy = False  # a task writes what was taken, or settles the whole
        self.taken_over = False


class Uploading:
    """The uploads of one connection; ``end`` them with it."""

    __slots__ = ("_dialogue", "_ended", "_intake", "_last", "_opening", "_uploads", "_waiting")

    def __init__(self, dialogue: Dialogue, intake: Intake) -> None:
        self._dialogue = dialogue
        self._intake = intake
        self._uploads: dict[int, _Open] = {}
        self._opening = 0
        self._last = 0
        self._waiting = 0
        self._ended = False

    def begin(self, wanted: Wanted, ref: Ref) -> None:
        """Open an upload, and answer from where to send it.

        Raises:
            BadRequest: if the connection has too many open.
        """
        if len(self._uploads) + self._opening >= MOST_UPLOADS:
            raise BadRequest(
                f"one connection may have {MOST_UPLOADS} uploads open", code="too_many_uploads"
            )
        self._opening += 1
        self._dialogue.hub.spawn(self._begin(_Open(wanted, ref)))

    async def _begin(self, one: _Open) -> None:
        try:
            partial = await self._intake.open(one.wanted, lambda: self._give_up(one))
        except TidewireError as error:
            self._refuse(one, error)
            return
        finally:
            self._opening -= 1
        one.partial = partial
        if self._ended or one.taken_over:
            self._intake.release(partial)
            return
        self._last += 1
        one.number = self._last
        one.state = Receiving(one.wanted.size, partial.kept)
        self._uploads[one.number] = one
        self._dialogue.answer(
            Ok(one.ref, upload=one.wanted.upload, number=one.number, offset=partial.kept)
        )
        if one.state.whole:
            one.busy = True
            await self._work(one, partial)

    def frame(self, data: bytes) -> None:
        """A chunk as a binary frame."""
        try:
            self.chunk(*parse_chunk(data))
        except TidewireError as error:
            self._dialogue.refuse(None, error)

    def chunk(self, number: int, offset: int, data: memoryview | bytes) -> None:
        """Take in a chunk.

        Raises:
            NotFound: ``unknown_upload``, if no upload has the number.
        """
        one = self._uploads.get(number)
        if one is None or one.partial is None:
            if not 0 < number <= self._last:
                raise _unknown(number)
            return  # it has ended, which its client was told when these were on their way
        try:
            if not one.state.take(offset, data):
                return
        except TidewireError as error:
            self._refuse(one, error)
            return
        self._waiting += len(data)
        if self._waiting >= MOST_WAITING:
            self._dialogue.wire.stop_reading(STORING)
        if data and not one.busy:
            one.busy = True
            self._dialogue.hub.spawn(self._work(one, one.partial))

    async def _work(self, one: _Open, partial: Partial) -> None:
        """Write what was taken, with all that comes meanwhile; settle the upload when it is whole.

        That is done to its end when the connection ends first: it need not come again.
        """
        try:
            while not one.taken_over and (parts := one.state.due()):
                try:
                    one.state.wrote(await self._intake.write(partial, parts))
                finally:
                    self._written(sum(len(part) for part in parts))
                self._dialogue.answer(Progress(one.wanted.upload, one.state.kept))
            if one.state.whole and not one.taken_over:
                published = await self._intake.settle(partial)
                self._dialogue.answer(
                    Ok(
                        one.ref,
                        published.id,
                        one.wanted.channel,
                        published.seq,
                        upload=one.wanted.upload,
                    )
                )
                self._drop(one)
        except TidewireError as error:
            self._refuse(one, error)
            self._drop(one)
        finally:
            one.busy = False
            if self._ended or one.taken_over or one.number not in self._uploads:
                self._release(one)

    def _written(self, count: int) -> None:
        self._waiting -= count
        if self._waiting <= MOST_WAITING // 2:
            self._dialogue.wire.read_on(STORING)

    def _refuse(self, one: _Open, error: TidewireError) -> None:
        offset = error.offset if isinstance(error, WrongOffset) else None
        self._dialogue.answer(Error(error.code, error.detail, one.ref, one.wanted.upload, offset))

    def _give_up(self, one: _Open) -> None:
        """The client goes on with this upload over another connection."""
        if not one.taken_over:
            one.taken_over = True
            self._refuse(one, BadRequest("another connection goes on with it", code="taken_over"))
            self._drop(one)
            if not one.busy:
                self._release(one)

    def _drop(self, one: _Open) -> None:
        """Take no more for this upload."""
        if self._uploads.pop(one.number, None) is not None:
            self._written(sum(len(part) for part in one.state.due()))

    def _release(self, one: _Open) -> None:
        partial, one.partial = one.partial, None
        if partial is not None:
            self._intake.release(partial)

    def end(self) -> None:
        """The connection has ended; what was taken is still written."""
        if not self._ended:
            self._ended = True
            for one in self._uploads.values():
                if not one.busy:
                    self._release(one)


def _unknown(number: int) -> NotFound:
    return NotFound(f"no upload has the number {number} here", code="unknown_upload")
