"""A connection and the socket of its client, over TCP or over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from tests.server.stub_app import Stream, StubApp, get
from tidewire.server.tls import SecureConnection, TlsLayer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tidewire.server.app import App
    from tidewire.server.certificate import Certificate
    from tidewire.server.connection import Connection

T = TypeVar("T")

HEAD = b"head;"


class Peers:
    """A connection and the socket of its client."""

    def __init__(self, app: StubApp, connection: Connection, client: socket.socket) -> None:
        self.app = app
        self.connection = connection
        self.client = client
        self.loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """The client sends *data*."""
        await self.loop.sock_sendall(self.client, data)

    async def read(self, most: int) -> bytes:
        """The client reads once; nothing at the end."""
        return await self.loop.sock_recv(self.client, most)

    async def receive(self, count: int) -> bytes:
        """The client reads *count* bytes, or to the end."""
        data = bytearray()
        while len(data) < count:
            piece = await self.read(min(count - len(data), 1 << 20))
            if not piece:
                break
            data += piece
        return bytes(data)

    async def receive_all(self) -> bytes:
        """The client reads to the end."""
        return await self.receive(1 << 40)

    async def stream(self, target: bytes = b"/stream") -> Stream:
        """Have the connection become a stream."""
        await self.send(get(target))
        assert await self.receive(len(HEAD)) == HEAD
        assert self.app.stream is not None
        return self.app.stream

    def congested(self) -> bool:
        """Whether bytes wait for the client."""
        return self.connection.congested

    async def until(self, holds: Callable[[], bool]) -> None:
        """Turn the loop until *holds*."""
        while not holds():  # noqa: ASYNC110  # it is the connection's state, which tells nobody
            await asyncio.sleep(0)


class SecurePeers(Peers):
    """A connection above its TLS layer, and the client: its socket, and its end of the TLS."""

    def __init__(
        self,
        app: StubApp,
        transport: asyncio.Transport,
        layer: TlsLayer,
        client: socket.socket,
    ) -> None:
        super().__init__(app, app.connections[-1], client)
        self.transport = transport
        self.layer = layer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls: ssl.SSLObject = None  # type: ignore[assignment]

    async def shake_hands(
        self, context: ssl.SSLContext, session: ssl.SSLSession | None = None
    ) -> None:
        """Begin to speak TLS, perhaps with what is left of an earlier *session*."""
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_hostname="localhost", session=session
        )
        await self._do(self.tls.do_handshake)

    async def send(self, data: bytes) -> None:
        """The client sends *data*."""
        self.tls.write(data)
        await self.flush()

    async def read(self, most: int) -> bytes:
        """The client reads once; nothing after the goodbye. Any other end is an error."""
        return await self._do(partial(self._read, most))

    async def say_goodbye(self) -> None:
        """The client says that it will send no more, and reads on."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        await self.flush()

    async def flush(self) -> None:
        """Put on the way what the client's TLS has to send."""
        if self.outgoing.pending:
            await self.loop.sock_sendall(self.client, self.outgoing.read())

    def encrypted(self) -> int:
        """Bytes that are encrypted and that the kernel has not taken."""
        return self.transport.get_write_buffer_size()

    def _read(self, most: int) -> bytes:
        try:
            return self.tls.read(most)
        except ssl.SSLZeroReturnError:  # it has said goodbye after the client did
            return b""

    async def _do(self, step: Callable[[], T]) -> T:
        """What *step* gives once the server has sent all that it needs."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await self.flush()
                data = await self.loop.sock_recv(self.client, 1 << 18)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()
            else:
                await self.flush()
                return done


@contextlib.asynccontextmanager
async def _sockets(app: StubApp) -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection over TCP, the server's first."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        app.clock.call_soon = loop.call_soon  # type: ignore[assignment]  # only time stands still
        await loop.sock_connect(client, listener.getsockname())
        accepted, _ = listener.accept()
        async with asyncio.timeout(30):
            yield accepted, client
            client.close()
            if not app.gone.is_set():
                app.connections[-1].abort()
                await app.gone.wait()


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[Peers]:
    """A connection over TCP; both ends are closed at the end."""
    app = StubApp()
    async with _sockets(app) as (ours, client):
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(app.new_connection, sock=ours)
        yield Peers(app, connection, client)
    assert connection.fd == connection.socket_fd == -1


@contextlib.asynccontextmanager
async def accepted(certificate: Certificate) -> AsyncIterator[SecurePeers]:
    """A client that has connected and has not shaken hands."""
    app = StubApp()

    def protocol() -> TlsLayer:
        return TlsLayer(certificate, SecureConnection(cast("App", app)))

    async with _sockets(app) as (ours, client):
        transport, layer = await asyncio.get_running_loop().create_connection(protocol, sock=ours)
        yield SecurePeers(app, transport, layer, client)
    assert transport.is_closing()


@contextlib.asynccontextmanager
async def secured(certificate: Certificate, context: ssl.SSLContext) -> AsyncIterator[SecurePeers]:
    """A client that has shaken hands."""
    async with accepted(certificate) as peers:
        await peers.shake_hands(context)
        yield peers
