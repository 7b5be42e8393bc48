"""A client that uploads: announces a file, sends its chunks, and reads what the server says."""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from tests.acceptance.raw_websocket import BINARY, RawWebSocket, frame

if TYPE_CHECKING:
    from tests.server_process import ServerProcess

CHUNK = 64 << 10

Envelope = dict[str, Any]


def chunk(number: int, offset: int, data: bytes) -> bytes:
    """A chunk as a binary frame carries it."""
    return frame(BINARY, struct.pack("!IQ", number, offset) + data)


class Uploader(RawWebSocket):
    """A connection that listens to the channel "files" and uploads to it."""

    def __init__(self, server: ServerProcess, **options: Any) -> None:
        super().__init__(server.address, **options)
        self.open("/ws?channels=files")
        assert self.read_envelope()["type"] == "ready"

    def announce(self, content: bytes, upload: str = "u1", **fields: object) -> Envelope:
        """Announce a file; return the answer."""
        announced = {
            "channel": "files",
            "name": "tide table.txt",
            "size": len(content),
            "sha256": sha256(content).hexdigest(),
            "content_type": "text/plain",
        }
        return self.command(type="upload", ref=upload, upload=upload, **announced | fields)

    def begin(self, content: bytes, upload: str = "u1", **fields: object) -> tuple[int, int]:
        """Announce a file; return its number, and the offset from which to send."""
        answer = self.announce(content, upload, **fields)
        assert (answer["type"], answer["upload"]) == ("ok", upload), answer
        return answer["number"], answer["offset"]

    def send_chunks(self, number: int, content: bytes, begin: int, end: int | None = None) -> None:
        """Send the bytes of a file from one offset to another."""
        end = len(content) if end is None else end
        for offset in range(begin, end, CHUNK):
            self.send(chunk(number, offset, content[offset : min(offset + CHUNK, end)]))

    def until(self, kind: str, **fields: object) -> Envelope:
        """The next envelope of that type and with these fields, whatever comes before it."""
        while True:
            envelope = self.read_envelope()
            if envelope["type"] == kind and fields.items() <= envelope.items():
                return envelope

    def kept(self, offset: int, upload: str = "u1") -> None:
        """Wait until the server has said that so many bytes are safely kept."""
        while self.until("progress", upload=upload)["offset"] < offset:
            pass

    def finished(self) -> tuple[Envelope, Envelope]:
        """What comes at the end of an upload: the message, and the last answer."""
        found: dict[str, Envelope] = {}
        while len(found) < 2:
            envelope = self.read_envelope()
            if envelope["type"] in ("message", "ok"):
                found[envelope["type"]] = envelope
            assert envelope["type"] != "error", envelope
        return found["message"], found["ok"]
