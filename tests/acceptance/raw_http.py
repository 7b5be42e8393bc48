"""HTTP/1.1 on a bare socket: every byte sent is the test's own, every byte received is seen."""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass
from typing import Any, ClassVar, Self
from weakref import WeakSet

Headers = dict[str, str] | dict[str, str | None]


class ConnectionEndedError(ConnectionError):
    """The server ended the connection where more of an answer was due."""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer; header names are in lower case, equal ones joined by a comma."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def problem(self) -> dict[str, Any]:
        """The RFC 9457 document of an error, checked for its form."""
        assert self.headers["content-type"].split(";")[0] == "application/problem+json", self
        problem: dict[str, Any] = self.json()
        assert problem["status"] == self.status, self
        assert {"title", "detail", "code"} <= problem.keys(), self
        assert all(isinstance(problem[name], str) for name in ("title", "detail", "code")), self
        return problem


class RawConnection:
    """A blocking connection; each read waits at most ``timeout`` seconds.

    ``source`` is the address that it comes from, if that matters.
    """

    opened: ClassVar[WeakSet[RawConnection]] = WeakSet()
    """All that still exist, so that what a failed test left open can be closed."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        timeout: float = 10,
        receive_buffer: int | None = None,
        source: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.socket = socket.socket()
        self.opened.add(self)
        self.socket.settimeout(timeout)
        if receive_buffer is not None:  # before connecting: it decides the window that is offered
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.connect(address)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=address[0])
        self.address = address
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def request(
        self, method: str, target: str, headers: Headers | None = None, body: bytes | None = None
    ) -> None:
        """Send a well-formed request; ``None`` as the value of a header leaves it out."""
        fields: dict[str, str | None] = {"Host": f"{self.address[0]}:{self.address[1]}"}
        if body is not None:
            fields["Content-Length"] = str(len(body))
        fields |= headers or {}
        lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""])
        self.send(head.encode() + (body or b""))

    def get(self, target: str, headers: Headers | None = None) -> Response:
        """Send a GET and read its answer."""
        self.request("GET", target, headers)
        return self.response()

    def post(self, target: str, command: object) -> Response:
        """Send ``command`` as JSON and read the answer."""
        body = json.dumps(command).encode()
        self.request("POST", target, {"Content-Type": "application/json"}, body)
        return self.response()

    def receive(self, size: int = 65536) -> bytes:
        """At most ``size`` bytes, from the buffer first; ``b""`` when the server ended."""
        if self.buffer:
            data, self.buffer = self.buffer[:size], self.buffer[size:]
            return data
        return self.socket.recv(size)

    def read_until(self, mark: bytes) -> bytes:
        """Everything up to and including ``mark``."""
        data = b""
        while mark not in data:
            chunk = self.receive()
            if not chunk:
                raise ConnectionEndedError(data)
            data += chunk
        end = data.index(mark) + len(mark)
        self.buffer = data[end:] + self.buffer
        return data[:end]

    def read_exactly(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        parts: list[bytes] = []
        while size:
            chunk = self.receive(size)
            if not chunk:
                raise ConnectionEndedError(b"".join(parts))
            parts.append(chunk)
            size -= len(chunk)
        return b"".join(parts)

    def read_to_end(self) -> bytes:
        """Everything until the server ends the connection, orderly or by reset."""
        parts: list[bytes] = []
        try:
            while chunk := self.receive():
                parts.append(chunk)
        except ConnectionError:
            pass
        return b"".join(parts)

    def head(self) -> tuple[int, dict[str, str]]:
        """The status and headers of the next answer, an interim one (1xx) too."""
        status_line, *lines = self.read_until(b"\r\n\r\n")[:-4].decode("latin-1").split("\r\n")
        version, status, *_ = status_line.split(" ", 2)
        assert version == "HTTP/1.1", status_line
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon, line
            assert name == name.strip(), line
            value = value.strip()
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return int(status), headers

    def response(self, *, to_head: bool = False) -> Response:
        """The next answer whole; ``to_head`` says that it answers a HEAD request."""
        status, headers = self.head()
        if to_head or status in (204, 304) or 100 <= status < 200:
            return Response(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Response(status, headers, b"".join(iter(self.chunk, b"")))
        if "content-length" in headers:
            return Response(status, headers, self.read_exactly(int(headers["content-length"])))
        return Response(status, headers, self.read_to_end())

    def chunk(self) -> bytes:
        """The next chunk of a chunked body; ``b""`` for the last."""
        size = int(self.read_until(b"\r\n").split(b";")[0], 16)
        data = self.read_exactly(size)
        assert self.read_exactly(2) == b"\r\n"
        return data

    @property
    def ended(self) -> bool:
        """Whether the server ends the connection without sending another byte; waits for that."""
        try:
            return not self.receive(1)
        except ConnectionError:
            return True
