"""A connection over a transport and a clock that the test moves."""

from __future__ import annotations

from tests.server.stub_app import (
    Answer,
    FakeTransport,
    StubApp,
    answers_of,
)

LATE = 0.3  # seconds by which the wheel may be late


class World:
    """One connection and its client."""

    def __init__(self, app: StubApp | None = None) -> None:
        self.app = StubApp() if app is None else app
        self.connection = self.app.new_connection()
        self.transport = FakeTransport(self.connection)
        self.connection.connection_made(self.transport)
        self._read = 0

    def send(self, *pieces: bytes) -> None:
        """The client sends *pieces*, each of which arrives on its own."""
        for piece in pieces:
            assert self.transport.reading
            self.connection.data_received(piece)

    def end(self) -> None:
        """The client closes its side."""
        if not self.connection.eof_received():
            self.transport.close()

    def lose(self) -> None:
        """The connection is gone."""
        self.transport.closing = True
        self.connection.connection_lost(None)

    def read(self) -> bytes:
        """What went out since the last call."""
        data = self.transport.sent[self._read :]
        self._read = len(self.transport.sent)
        return data

    def answers(self) -> list[Answer]:
        """The answers since the last call."""
        return answers_of(self.read())

    def respond(self, body: bytes) -> None:
        """Answer a request to ``/later``."""
        self.connection.respond(200, b"", body)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.app.clock.advance(seconds)

    def reads(self) -> bool:
        """Whether the server reads."""
        return self.transport.reading

    def closed(self) -> bool:
        """Whether the server has closed, perhaps with bytes on their way."""
        return self.transport.closing

    def cut(self) -> bool:
        """Whether the server has closed at once."""
        return self.transport.aborted

    def behind(self) -> bool:
        """Whether bytes wait for the client."""
        return self.connection.congested

    def lingers(self) -> bool:
        """Whether the server has said its last word, and waits for the client to close."""
        return self.transport.ended and not self.transport.closing


def ok(body: bytes, *, last: bool = False) -> Answer:
    """An answer with *body*."""
    return Answer(200, body, last)
