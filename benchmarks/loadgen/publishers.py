"""Publishers: how messages get into a server, over HTTP, over WebSocket, or into the C floor.

Each keeps one connection and does not wait for an answer before the next publish, so that a slow
answer never delays the schedule; answers come in order and are counted by the stream.
"""

from __future__ import annotations

import asyncio
import json
import struct
from time import monotonic_ns
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from benchmarks.loadgen import stamp, wire

if TYPE_CHECKING:
    from benchmarks.loadgen.subscribers import Stream

Way: TypeAlias = Literal["http", "ws", "floor", "floor-together"]


class Publisher(asyncio.Protocol):
    """One publishing connection for a stream. `ready` is done once it can be used."""

    def __init__(self, stream: Stream, size: int) -> None:
        self._stream = stream
        self._size = size
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._stream.unanswered:
            self._stream.ledger.fault(f"the publisher's connection ended: {exc}")
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the publisher's connection ended"))

    def data_received(self, data: bytes) -> None:
        try:
            self._data = self.read(self._data + data)
        except (wire.WireError, ValueError) as error:
            self._stream.ledger.fault(f"publish: {error}")
            self.close()
        self._stream.check()

    def close(self) -> None:
        """Ends the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def publish(self, first: int, count: int) -> None:
        """Publishes messages `first` to ``first + count - 1`` together, stamped with now."""
        if self._transport is None:
            self._stream.ledger.fault("publish: the connection is gone")
            return
        now = monotonic_ns()
        self._transport.write(self.request(range(first, first + count), now))

    def begin(self) -> None:
        """Sends what the connection needs before the first publish."""
        self.ready.set_result(None)

    def request(self, numbers: range, now: int) -> bytes:
        """The bytes that publish these messages; adds the answers they will get to the stream's
        unanswered.
        """
        raise NotImplementedError

    def read(self, data: bytes) -> bytes:
        """Reads answers, takes them off the stream's unanswered; returns the bytes left over."""
        raise NotImplementedError


class HttpPublisher(Publisher):
    """``POST /publish``, pipelined on one keep-alive connection; several messages are one batch."""

    def request(self, numbers: range, now: int) -> bytes:
        messages = [
            {"channel": self._stream.channel, "data": stamp.text(number, now, self._size)}
            for number in numbers
        ]
        body = messages[0] if len(messages) == 1 else {"messages": messages}
        self._stream.unanswered += 1
        key = self._stream.key
        headers = f"X-API-Key: {key}\r\n" if key else ""
        return wire.post(
            self._stream.authority, "/publish", json.dumps(body).encode(), headers=headers
        )

    def read(self, data: bytes) -> bytes:
        while (found := wire.read_answer(data)) is not None:
            answer, start = found
            end = start + answer.length
            if len(data) < end:
                break
            if answer.status != 200:
                raise wire.WireError(f"status {answer.status}: {data[start:end][:200]!r}")
            self._stream.unanswered -= 1
            data = data[end:]
        return data


class WebSocketPublisher(Publisher):
    """The `publish` command on a WebSocket that subscribes to nothing."""

    def begin(self) -> None:
        assert self._transport is not None
        self._transport.write(wire.get(self._stream.authority, "/ws", wire.UPGRADE))

    def request(self, numbers: range, now: int) -> bytes:
        self._stream.unanswered += len(numbers)
        return b"".join(
            wire.frame(
                json.dumps(
                    {
                        "type": "publish",
                        "ref": number,
                        "channel": self._stream.channel,
                        "data": stamp.text(number, now, self._size),
                    },
                    separators=(",", ":"),
                ).encode()
            )
            for number in numbers
        )

    def read(self, data: bytes) -> bytes:
        if not self.ready.done():
            found = wire.read_answer(data)
            if found is None:
                return data
            if found[0].status != 101:
                raise wire.WireError(f"status {found[0].status}")
            data = data[found[1] :]
            self.ready.set_result(None)
        scan = wire.scan_websocket(b"", b"", data)
        for kind, content in scan.others:
            if kind == "ping" and self._transport is not None:
                self._transport.write(wire.frame(content, wire.PONG))
            elif b'"type":"ok"' in content:
                self._stream.unanswered -= 1
            elif b'"type":"ready"' not in content:
                raise wire.WireError(f"{kind}: {content[:200]!r}")
        return scan.raw


class FloorPublisher(Publisher):
    """Tells the C floor which frames to write to each of its sockets (see floor.c).

    Messages published together are either so many fan-outs one after another, or, if `together`,
    one fan-out that writes all of them to a socket, still one by one, before it turns to the next
    socket: the kernel finds that socket's state in the processor's cache, so this is the least that
    so many writes can cost.
    """

    def __init__(self, stream: Stream, size: int, template: bytes, *, together: bool) -> None:
        super().__init__(stream, size)
        self._together = together
        self._template = template
        self._stamp_at = stamp.find(template)
        if self._stamp_at < 0:
            raise ValueError("the frame to imitate carries no stamp")

    def begin(self) -> None:
        assert self._transport is not None
        self._transport.write(b"FLOOR\n")
        super().begin()

    def request(self, numbers: range, now: int) -> bytes:
        frames = [stamp.replace(self._template, self._stamp_at, number, now) for number in numbers]
        commands = [frames] if self._together else [[frame] for frame in frames]
        self._stream.unanswered += len(commands)
        return b"".join(
            struct.pack("<I", len(command))
            + b"".join(struct.pack("<I", len(frame)) + frame for frame in command)
            for command in commands
        )

    def read(self, data: bytes) -> bytes:
        while len(data) >= 16:
            _, refused = struct.unpack_from("<QQ", data)
            if refused:
                raise wire.WireError(f"{refused} writes were not taken whole: readers too slow")
            self._stream.unanswered -= 1
            data = data[16:]
        return data


def typical_frame(transport: str, channel: str, size: int) -> bytes:
    """One message as Tidewire would frame it, for a floor that is measured without Tidewire beside
    it.
    """
    cursor = "q7Zf-1795392012345678"
    envelope = (
        f'{{"type":"message","id":"{cursor}","channel":"{channel}","seq":42,'
        f'"time":1795392012345,"data":"{stamp.text(1, 0, size)}"}}'
    ).encode()
    if transport == "ws":
        return wire.server_frame(envelope)
    return wire.event_chunk(b"id: " + cursor.encode() + b"\ndata: " + envelope + b"\n\n")
