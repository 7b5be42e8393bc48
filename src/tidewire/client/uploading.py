"""Uploading a file in chunks over a WebSocket, on and on until the server has all of it."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import struct
import time
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Self

import msgspec
from websockets.exceptions import ConnectionClosed

from tidewire.client.backoff import Backoff
from tidewire.client.commands import refresh, refusal
from tidewire.client.credentials import NOBODY
from tidewire.client.envelope import Close, Other, contents, end_of_stream, parse_envelope
from tidewire.client.errors import ClientError, Interrupted, Refused, Unanswered, Unauthorized
from tidewire.client.opening import closed, leave, open_websocket
from tidewire.client.publisher import Receipt
from tidewire.client.staying import staying

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from websockets.asyncio.client import ClientConnection

    from tidewire.client.address import ServerAddress
    from tidewire.client.credentials import Credentials, Token

CHUNK = 128 << 10
"""Bytes in one frame."""
PATIENCE = 60.0
"""Seconds without any progress after which an upload is given up."""
_UPLOAD, _REFRESH = 1, 2  # the refs of commands
_HEAD = struct.Struct("!IQ")  # the number of the upload, and the offset of what follows


class File(NamedTuple):
    """What is uploaded, and to which channel its message goes."""

    path: Path
    channel: str
    name: str
    size: int
    sha256: str
    content_type: str
    id: str

    @classmethod
    async def of(
        cls,
        path: Path,
        channel: str,
        *,
        name: str | None = None,
        content_type: str | None = None,
        id: str | None = None,
    ) -> Self:
        """Read *path* once, for its checksum.

        Without an *id* it follows from all the rest, so that uploading the same again goes on
        where it was cut, also in another process.

        Raises:
            OSError: if it cannot be read.
        """
        size, sha256 = await asyncio.to_thread(_measure, path)
        name = name or path.name
        kind = content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        same = hashlib.sha256(msgspec.json.encode([channel, name, kind, sha256]))
        return cls(path, channel, name, size, sha256, kind, id or same.hexdigest()[:32])


async def upload(
    address: ServerAddress,
    file: File,
    *,
    credentials: Credentials = NOBODY,
    on_progress: Callable[[int], None] = lambda kept: None,
    on_wait: Callable[[float, str], None] = lambda delay, reason: None,
    backoff: Backoff | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Receipt:
    """Upload *file* over as many connections as it takes; return the receipt of its message.

    ``on_progress`` is told how many bytes the server has kept safely.

    Raises:
        Refused: if the server does not take it, or the file cannot be read or has changed.
        Unanswered: after :data:`PATIENCE` seconds without progress. The same upload goes on from
            there later.
    """
    backoff = backoff or Backoff()
    most, end = -1, clock() + PATIENCE

    def progress(kept: int) -> None:
        nonlocal most, end
        on_progress(kept)
        if kept > most:
            most, end = kept, clock() + PATIENCE
            backoff.reset()

    while True:
        try:
            return await _attempt(address, file, credentials, progress)
        except Interrupted as error:
            delay = backoff.delay(error.retry_after)
            if clock() + delay >= end:
                raise Unanswered(error.reason) from error
            on_wait(delay, error.reason)
            await sleep(delay)


async def _attempt(
    address: ServerAddress,
    file: File,
    credentials: Credentials,
    progress: Callable[[int], None],
) -> Receipt:
    connection, token = await open_websocket(address, (), credentials=credentials)
    sending = _Sending(connection, file)

    async def tell(token: Token) -> None:
        # Not answered here: if it was not taken, the end of the connection says so.
        command = refresh(token.text) | {"ref": _REFRESH}
        await connection.send(msgspec.json.encode(command), text=True)

    try:
        command = {
            "type": "upload",
            "ref": _UPLOAD,
            "upload": file.id,
            "channel": file.channel,
            "name": file.name,
            "size": file.size,
            "sha256": file.sha256,
            "content_type": file.content_type,
        }
        await connection.send(msgspec.json.encode(command), text=True)
        async with staying(credentials, token, tell):
            while True:
                answer = await _answer(connection)
                credentials.accepted(token)
                if "offset" in answer:
                    progress(answer["offset"])
                if "number" in answer:
                    sending.begin(answer["number"], answer["offset"])
                elif "id" in answer:
                    progress(file.size)
                    return msgspec.convert(answer, Receipt)
    except Unauthorized as error:
        raise credentials.after(error, token) from None
    except ConnectionClosed as error:
        raise sending.failure or credentials.after(closed(error), token) from error
    except msgspec.ValidationError as error:
        raise Refused(f"this is not a Tidewire answer: {error}") from None
    finally:
        await sending.end()
        await leave(connection)


async def _answer(connection: ClientConnection) -> dict[str, Any]:
    """The next envelope that says something of the upload."""
    while True:
        received = parse_envelope(await connection.recv(decode=False))
        if isinstance(received.envelope, Close):
            raise end_of_stream(received.envelope)
        if not isinstance(received.envelope, Other):
            continue
        answer = contents(received)
        if answer.get("ref") == _REFRESH:
            continue
        if received.envelope.type == "error":
            error = refusal(answer)
            # The server knows better where it was: that is asked for on a new connection.
            wrong_offset = answer.get("code") == "wrong_offset"
            raise Interrupted(error.reason) if wrong_offset else error
        if received.envelope.type in ("ok", "progress"):
            return answer


class _Sending:
    """Sends the chunks, while the answers to them are read."""

    def __init__(self, connection: ClientConnection, file: File) -> None:
        self.failure: ClientError | None = None
        self._connection = connection
        self._file = file
        self._task: asyncio.Task[None] | None = None

    def begin(self, number: int, offset: int) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(number, offset))

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, number: int, offset: int) -> None:
        try:
            with self._file.path.open("rb") as opened:
                while offset < self._file.size:
                    chunk = await asyncio.to_thread(_read, opened, offset)
                    if not chunk:
                        raise Refused(f"{self._file.path} is shorter than it was")
                    await self._connection.send(_HEAD.pack(number, offset) + chunk)
                    offset += len(chunk)
        except ConnectionClosed:
            return  # whoever reads the answers is told
        except OSError as error:
            self.failure = Refused(f"{self._file.path} cannot be read: {error.strerror}")
        except Refused as error:
            self.failure = error
        else:
            return
        await self._connection.close()


def _read(opened: BinaryIO, offset: int) -> bytes:
    opened.seek(offset)
    return opened.read(CHUNK)


def _measure(path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
