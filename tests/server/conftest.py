"""The real application and hub, on a loop that the test turns and a transport that it reads."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest
import uvloop

from tests.certificates import Authority
from tests.server.one_connection import World
from tests.server.stub_app import FakeTransport
from tidewire.hub import Hub
from tidewire.log import MemoryEngine
from tidewire.model import Draft, Namespaces, Retention
from tidewire.server.app import App
from tidewire.server.certificate import Certificate
from tidewire.server.connection import Connection
from tidewire.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator


class Reply(NamedTuple):
    """One answer: status, headers by lower-case name, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Client:
    """One connection to the application."""

    def __init__(self, server: Server, peer: str = "127.0.0.1", file: int | None = None) -> None:
        self._server = server
        self.connection = Connection(server.app)
        self.transport = FakeTransport(self.connection)
        self.transport.peer = peer
        self.transport.file = file
        self.connection.connection_made(self.transport)
        self._read = 0

    def send(
        self,
        target: str,
        headers: dict[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes = b"",
        version: str = "1.1",
    ) -> None:
        """Send a request."""
        lines = {"Host": "localhost:8480", **(headers or {})}
        if body:
            lines["Content-Length"] = str(len(body))
        fields = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        head = f"{method} {target} HTTP/{version}\r\n{fields}\r\n"
        self.connection.data_received(head.encode("latin-1") + body)
        self._server.turn()

    def read(self) -> bytes:
        """What came since the last call."""
        data = self.transport.sent[self._read :]
        self._read = len(self.transport.sent)
        return data

    def reply(self) -> Reply:
        """What came since the last call, as one answer; a stream's beginning is one too."""
        head, blank, body = self.read().partition(b"\r\n\r\n")
        assert blank, f"no answer: {head!r}"
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.partition(": ") for line in lines]
        headers = {name.lower(): value for name, _, value in pairs}
        assert len(headers) == len(pairs), "a header is there twice"
        return Reply(int(status.split(" ")[1]), headers, body)

    def get(self, target: str, headers: dict[str, str] | None = None, **how: Any) -> Reply:
        """Send a request and return its answer."""
        self.send(target, headers, **how)
        return self.reply()

    def closed(self) -> bool:
        """Whether the server has closed."""
        return self.transport.closing

    def leave(self) -> None:
        """Be gone."""
        self.transport.closing = True
        self.connection.connection_lost(None)


class StandingLoop(asyncio.SelectorEventLoop):
    """A loop whose time stands still, except where a test moves it.

    Rates, lines of those who return, and answers that are waited for end with time: on a machine
    that halts in the middle of a test they would end there.
    """

    def __init__(self) -> None:
        self.now = 1_000.0
        super().__init__()

    def time(self) -> float:
        """The time, in seconds."""
        return self.now


class Server:
    """An application and its hub, on a log in memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **settings: Any) -> None:
        self.loop = loop
        self.settings = Settings(engine="memory:", **settings)
        namespaces = Namespaces(Retention(100, 3_600_000_000), presence=self.settings.presence)
        self.engine = MemoryEngine(namespaces)
        self.hub = Hub(self.engine)
        loop.run_until_complete(self.hub.start())
        self.app = App(self.settings, self.hub, loop)
        self.turn()

    def client(self, peer: str = "127.0.0.1", file: int | None = None) -> Client:
        """One more connection, from *peer*; *file* is the number of its descriptor."""
        return Client(self, peer, file)

    def get(self, target: str, headers: dict[str, str] | None = None, **how: Any) -> Reply:
        """One request on a connection of its own."""
        client = self.client()
        reply = client.get(target, headers, **how)
        client.leave()
        return reply

    def publish(self, channel: str, data: bytes = b"1") -> None:
        """Publish one message, and let it come to everybody."""
        self.engine.append([Draft(channel, data)])
        self.turn()

    def turn(self) -> None:
        """Let everything happen that is ready to; a few turns always are enough here."""
        for _ in range(10):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def end(self) -> None:
        """Stop the hub and the timers."""
        self.app.wheel.stop()
        self.loop.run_until_complete(self.hub.stop())


class MakeServer(Protocol):
    """What the fixture ``make_server`` gives."""

    def __call__(self, **settings: Any) -> Server: ...


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    """Make applications that end with the test."""
    loop = StandingLoop()
    made: list[Server] = []

    def make(**settings: Any) -> Server:
        made.append(Server(loop, **settings))
        return made[-1]

    yield make
    for server in made:
        server.end()
    loop.close()


@pytest.fixture
def app_server(make_server: MakeServer) -> Server:
    """An application with the default settings."""
    return make_server()


@pytest.fixture
def world() -> World:
    """A new connection."""
    return World()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who issues certificates to the tests here."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Certificate:
    """A server's certificate."""
    return Certificate(*authority.issue())


@pytest.fixture(params=["uvloop", "stdlib"])
def run(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Run a coroutine function on each kind of loop, one after the other."""
    factory: Callable[[], asyncio.AbstractEventLoop] = (
        uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    )

    def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    return run
