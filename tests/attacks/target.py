"""The server as an attacker meets it: where it is, what it is called, and tokens of one's own."""

from __future__ import annotations

import itertools
import json
import socket
import struct
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from tests.acceptance.credentials import token
from tests.acceptance.raw_http import Response
from tests.acceptance.raw_websocket import CLOSE, TEXT, RawWebSocket, frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.acceptance.raw_http import Headers

ALL = ["subscribe", "publish", "history", "presence", "ack"]
MALLORY = {"mallory:*": ALL, "live:*": ["subscribe", "history"]}
"""What a stranger may do who has signed up like everybody: it has channels of its own, and may read
what the honest clients read.
"""

FLOOD_SECONDS = 1.5
"""For how long a flood goes on."""

ANSWER_WITHIN = 15.0
"""Seconds for whatever must come, on a machine that may stand still for some of them."""

PATIENCE = 5.0
COMES_BACK = 0.1
"""Seconds after which an attacker is there again that was put off for coming too fast."""

_SOURCES = 250
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


def _end(address: tuple[str, int]) -> str:
    """An end of a connection as /proc/net/tcp writes it."""
    host, port = address
    return f"{socket.inet_aton(host)[::-1].hex().upper()}:{port:04X}"


class Facts(NamedTuple):
    """What an attacker may know, and what the tests must to play the operator's own back end."""

    host: str
    port: int
    authority: str
    origin: str
    audience: str
    secret: str
    key: str
    cookie: str
    head_timeout: float
    body_timeout: float
    stall_timeout: float


class Line(RawWebSocket):
    """A connection of the attacker's, over which it may send anything."""

    def __init__(self, target: Target, source: str, receive_buffer: int | None = None) -> None:
        super().__init__(
            (target.facts.host, target.facts.port),
            timeout=ANSWER_WITHIN,
            source=source,
            receive_buffer=receive_buffer,
        )
        self._host = target.facts.authority

    def request(
        self, method: str, target: str, headers: Headers | None = None, body: bytes | None = None
    ) -> None:
        super().request(method, target, {"Host": self._host} | (headers or {}), body)

    def send_some(self, data: bytes) -> int:
        """Send what the kernel takes at once; how many bytes that were, 0 also after a reset."""
        with self._at_once(), suppress(OSError):
            return self.socket.send(data)
        return 0

    def send_until_refused(self, data: bytes) -> bool:
        """Send *data*; whether all was taken before the server closed."""
        try:
            self.send(data)
        except OSError:
            return False
        return True

    def pipeline(
        self, requests: Sequence[tuple[str, str, bytes | None]], headers: Headers
    ) -> list[Response]:
        """Send many requests (method, target, body) at once; their answers, in order.

        There are fewer if the server ends the connection.
        """
        data = b""
        for method, target, body in requests:
            fields = {"Host": self._host, **headers}
            if body is not None:
                fields["Content-Length"] = str(len(body))
            lines = [f"{name}: {value}" for name, value in fields.items()]
            data += "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode()
            data += body or b""
        answers: list[Response] = []
        with suppress(ConnectionError):
            self.send(data)
            answers += (self.response() for _ in requests)
        return answers

    def send_command(self, data: bytes) -> None:
        """Send what may or may not be a command."""
        self.send_until_refused(frame(TEXT, data))

    def read_kind(self) -> str | int:
        """The type of the next envelope, or the code with which the server closes."""
        received = self.read_frame()
        if received.opcode == CLOSE:
            return received.close_code
        return str(json.loads(received.payload)["type"])

    def reset(self) -> None:
        """Vanish, by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.socket.close()

    def is_over(self) -> bool:
        """Whether the server has ended the connection by now; what it sent before is dropped."""
        with self._at_once(), suppress(BlockingIOError):
            while True:
                try:
                    if not self.socket.recv(1 << 20):
                        return True
                except ConnectionError:
                    return True
        return False

    def drop_answers(self) -> int:
        """Take what has come by now; about how many answers that were."""
        count = 0
        with self._at_once(), suppress(BlockingIOError):
            while data := self.socket.recv(1 << 20):
                count += data.count(b"HTTP/1.1 ")
        return count

    def is_held(self) -> bool:
        """Whether the server's process has its end, by the kernel's table: nothing is read here."""
        ends = _end(self.address), _end(self.socket.getsockname())
        rows = map(str.split, Path("/proc/net/tcp").read_text().splitlines())
        return any((row[1], row[2]) == ends and row[9] != "0" for row in rows)

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """Wait for nothing meanwhile."""
        timeout = self.socket.gettimeout()
        self.socket.setblocking(False)
        try:
            yield
        finally:
            self.socket.settimeout(timeout)


class Target:
    """One server to be attacked, from as many addresses as it takes."""

    _numbers: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.secrets: list[str] = []
        """Texts that must never stand in the server's log."""
        self._sources = itertools.cycle(f"127.0.2.{n}" for n in range(1, _SOURCES + 1))
        self._open = ExitStack()

    @contextmanager
    def attacked(self) -> Iterator[None]:
        """Close whatever an attack has opened when it is over."""
        with self._open:
            yield

    def connect(self, source: str | None = None, *, receive_buffer: int | None = None) -> Line:
        """A new connection, from the next address if none is given."""
        line = Line(self, source or next(self._sources), receive_buffer)
        self._open.callback(line.socket.close)
        return line

    def connections(self, count: int) -> list[Line]:
        """So many connections, from so many addresses as there are."""
        return [self.connect() for _ in range(count)]

    def flood(self, seconds: float = FLOOD_SECONDS) -> Iterator[int]:
        """Numbers 0, 1, 2 …, for as long as a flood goes on."""
        until = time.monotonic() + seconds
        yield from itertools.takewhile(lambda _: time.monotonic() < until, itertools.count())

    def unique(self, text: str) -> str:
        """A name that has not been used before."""
        return f"{text}-{next(self._numbers)}"

    # Credentials

    def token(
        self,
        user: str = "mallory",
        channels: dict[str, list[str]] | None = None,
        *,
        lasts: float = 600,
        **claims: Any,
    ) -> str:
        """A token as the operator's application gives it to who signs up."""
        claims = {"aud": self.facts.audience} | claims
        text = token(
            user,
            MALLORY if channels is None else channels,
            lasts=lasts,
            secret=self.facts.secret,
            **claims,
        )
        self.secrets.append(text)
        return text

    def bearer(self, user: str | None = None, **claims: Any) -> dict[str, str]:
        """The header with a token; of a user that nobody has been before, if none is named."""
        text = self.token(user or self.unique("mallory"), **claims)
        return {"Authorization": f"Bearer {text}"}

    @property
    def back_end(self) -> dict[str, str]:
        """The header of the operator's own back end."""
        return {"X-API-Key": self.facts.key}

    # Requests

    def get(self, target: str, headers: Headers | None = None) -> Response:
        """One GET on a connection of its own."""

        def ask(line: Line) -> Response:
            with line:
                return line.get(target, headers)

        return self._let_in(ask)[1]

    def post(self, target: str, command: object, headers: Headers | None = None) -> Response:
        """One POST of JSON on a connection of its own."""
        body = command if isinstance(command, bytes) else json.dumps(command).encode()
        fields = {"Content-Type": "application/json"} | (headers or {})

        def ask(line: Line) -> Response:
            with line:
                line.request("POST", target, fields, body)
                return line.response()

        return self._let_in(ask)[1]

    def _let_in(
        self, ask: Callable[[Line], Response], receive_buffer: int | None = None
    ) -> tuple[Line, Response]:
        """Ask on new connections until one of them is let in: what is put off comes back."""
        until = time.monotonic() + PATIENCE
        while True:
            line = self.connect(receive_buffer=receive_buffer)
            answer = ask(line)
            if answer.status != 503 or time.monotonic() > until:
                return line, answer
            line.socket.close()
            time.sleep(COMES_BACK)

    def publish(self, channel: str, data: object) -> dict[str, Any]:
        """A message by the operator's own back end; where it stands."""
        answer = self.post("/publish", {"channel": channel, "data": data}, self.back_end)
        assert answer.status == 200, answer
        receipt: dict[str, Any] = answer.json()
        return receipt

    def stream(
        self, target: str, headers: Headers | None = None, *, receive_buffer: int | None = None
    ) -> Line:
        """An open event stream, or whatever else answers 200; its body is still to come."""

        def ask(line: Line) -> Response:
            line.request("GET", target, headers)
            return Response(*line.head(), b"")

        line, answer = self._let_in(ask, receive_buffer)
        assert answer.status == 200, answer
        return line

    def websocket(
        self,
        query: str = "channels=mallory:a",
        headers: Headers | None = None,
        *,
        receive_buffer: int | None = None,
    ) -> Line:
        """An open WebSocket of a user that nobody has been before; ``ready`` is read."""
        shown = self.bearer() | (headers or {})
        line, answer = self._let_in(
            lambda line: line.handshake(f"/ws?{query}", shown), receive_buffer
        )
        assert answer.status == 101, answer
        if receive_buffer is None:
            ready = line.read_envelope()
            assert ready["type"] == "ready", ready
        return line
