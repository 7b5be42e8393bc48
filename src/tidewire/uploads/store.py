"""Where uploads are kept: files, and nothing but files. All of it blocks.

An unfinished upload is two files in a folder of its own: its bytes, and a *sheet*, which says what
they belong to and how many are safely kept. The bytes are with the disk before the sheet
counts them, so what the sheet says is true after any crash. A whole file is moved into its place
in one step, under a name made here: nothing that a client says is ever a path.

A sheet is locked while its upload is open, so that two servers can share a folder. When its
upload is done it stays for a while: who lost the answer is told again, and nothing is done twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from tidewire.model import BadRequest
from tidewire.uploads.upload import Published, Upload, Wanted

_COUNT = 20  # digits of the number of bytes kept, at the beginning of a sheet
_PIECE = 1 << 20


class _Sheet(msgspec.Struct, frozen=True):
    """The second line of a sheet. ``path`` is the name of the whole file."""

    wanted: Wanted
    path: str


_decode_sheet = msgspec.json.Decoder(_Sheet).decode
_decode_published = msgspec.json.Decoder(Published).decode


class UploadBusy(BadRequest):
    """Another connection, on another server, is sending the same upload."""

    code = "upload_busy"


class Store:
    """The uploads in one folder, which is made if it is not there.

    Raises:
        OSError: if the folder cannot be made or written to.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.unfinished = self.directory / ".unfinished"
        self.unfinished.mkdir(parents=True, exist_ok=True)

    def open(self, wanted: Wanted) -> Partial:
        """The upload *wanted*, begun now or gone on with.

        Raises:
            UploadBusy: if it is open already.
            BadRequest: ``upload_differs``, if another file was begun under its id.
            OSError: if the disk fails.
        """
        key = hashlib.sha256(wanted.key.encode()).hexdigest()[:32]
        sheet = self.unfinished / f"{key}.sheet"
        fd = _lock(sheet)
        try:
            return self._opened(wanted, self.unfinished / f"{key}.part", sheet, fd)
        except BaseException:
            os.close(fd)
            raise

    def _opened(self, wanted: Wanted, part: Path, sheet: Path, fd: int) -> Partial:
        text = os.pread(fd, os.fstat(fd).st_size, 0)
        count, _, rest = text.partition(b"\n")
        line, _, published = rest.partition(b"\n")
        try:
            kept, known = int(count), _decode_sheet(line)
        except (ValueError, msgspec.MsgspecError):  # new, or its first writing was cut short
            kept, known = 0, _Sheet(wanted, secrets.token_hex(16))
            os.ftruncate(fd, 0)
            _write(fd, b"%0*d\n%b\n" % (_COUNT, 0, msgspec.json.encode(known)), 0)
            os.fsync(fd)
            _sync_directory(self.unfinished)
        if known.wanted != wanted:
            raise BadRequest(
                "another file was begun with this upload id: choose a new one",
                code="upload_differs",
            )
        partial = Partial(wanted, self.directory / known.path, part, sheet, fd)
        with contextlib.suppress(msgspec.MsgspecError):  # not written, or cut short
            partial.published = _decode_published(published)
        if partial.published is not None or partial.path.exists():
            partial.kept = wanted.size
        else:
            partial.open_part(kept)
        return partial

    def sweep(self, ttl: float) -> None:
        """Delete what was begun and not touched for *ttl* seconds, and old sheets.

        Raises:
            OSError: if the disk fails.
        """
        before = time.time() - ttl
        for sheet in self.unfinished.glob("*.sheet"):
            with contextlib.suppress(FileNotFoundError, UploadBusy):
                if sheet.stat().st_mtime < before:
                    fd = _lock(sheet)
                    try:
                        sheet.with_suffix(".part").unlink(missing_ok=True)
                        sheet.unlink()
                    finally:
                        os.close(fd)


class Partial:
    """One open upload. ``kept`` bytes of it are safe; ``path`` is where the whole file goes."""

    def __init__(self, wanted: Wanted, path: Path, part: Path, sheet: Path, fd: int) -> None:
        self.wanted = wanted
        self.path = path
        self.kept = 0
        self.published: Published | None = None
        self._part = part
        self._sheet = sheet
        self._sheet_fd = fd
        self._part_fd = -1

    def open_part(self, kept: int) -> None:
        """Go on behind the first *kept* bytes; what is behind them was never said to be kept."""
        self._part_fd = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.kept = min(kept, os.fstat(self._part_fd).st_size)
        os.ftruncate(self._part_fd, self.kept)
        if not kept:
            _sync_directory(self._part.parent)

    def write(self, parts: Sequence[memoryview | bytes]) -> int:
        """Add *parts*; return how many bytes are safely kept then.

        Raises:
            OSError: if the disk fails; nothing of *parts* counts.
        """
        kept = self.kept
        for part in parts:
            _write(self._part_fd, part, kept)
            kept += len(part)
        os.fdatasync(self._part_fd)
        _write(self._sheet_fd, b"%0*d" % (_COUNT, kept), 0)
        os.fdatasync(self._sheet_fd)
        self.kept = kept
        return kept

    def matches(self, go_on: Callable[[], bool]) -> bool:
        """Whether the file on the disk has the SHA-256 that was announced.

        Raises:
            InterruptedError: if *go_on*, which is asked now and then, says no.
        """
        digest = hashlib.sha256()
        with (self.path if self.moved else self._part).open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                if not go_on():
                    raise InterruptedError
        return digest.hexdigest() == self.wanted.sha256

    @property
    def moved(self) -> bool:
        """Whether the file is whole and in its place."""
        return self._part_fd < 0

    def move(self) -> Upload:
        """Put the whole file in its place, in one step; return it."""
        if not self.moved:
            self._part.rename(self.path)
            _sync_directory(self.path.parent)
            os.close(self._part_fd)
            self._part_fd = -1
        wanted = self.wanted
        return Upload(
            self.path, wanted.name, wanted.size, wanted.sha256, wanted.content_type, wanted.channel
        )

    def note(self, published: Published) -> None:
        """Remember the message that told of this upload."""
        end = self._sheet.read_bytes().index(b"\n", _COUNT + 1) + 1
        _write(self._sheet_fd, msgspec.json.encode(published), end)
        os.fsync(self._sheet_fd)
        self.published = published

    def discard(self) -> None:
        """Delete the upload as if it had never been; it is closed by that."""
        (self.path if self.moved else self._part).unlink(missing_ok=True)
        self._sheet.unlink(missing_ok=True)
        _sync_directory(self._sheet.parent)
        self.close()

    def close(self) -> None:
        """Let go of the upload; what is kept stays."""
        for fd in (self._part_fd, self._sheet_fd):
            if fd >= 0:
                os.close(fd)
        self._part_fd = self._sheet_fd = -1


def _lock(sheet: Path) -> int:
    """Open and lock a sheet, which may be deleted while this waits for nobody."""
    while True:
        fd = os.open(sheet, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                return fd
        except BlockingIOError:
            os.close(fd)
            raise UploadBusy("this upload is being sent over another connection") from None
        os.close(fd)


def _write(fd: int, data: memoryview | bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        count = os.pwrite(fd, left, offset)
        left = left[count:]
        offset += count


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
