"""A connection over TLS and its client, on real sockets."""

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

T = TypeVar("T")

HEAD = b"head;"


class SecurePeers:
    """A connection above its TLS layer, and the client: its socket, and its end of the TLS."""

    def __init__(
        self,
        app: StubApp,
        transport: asyncio.Transport,
        layer: TlsLayer,
        client: socket.socket,
    ) -> None:
        self.app = app
        self.transport = transport
        self.layer = layer
        self.connection = app.connections[-1]
        self.client = client
        self.loop = asyncio.get_running_loop()
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

    async def receive(self, count: int) -> bytes:
        """The client reads *count* bytes, or to the server's goodbye; any other end is an error."""
        data = bytearray()
        while len(data) < count:
            piece = await self._do(partial(self._read, min(count - len(data), 1 << 20)))
            if not piece:
                break
            data += piece
        return bytes(data)

    async def receive_all(self) -> bytes:
        """The client reads to the server's goodbye."""
        return await self.receive(1 << 40)

    async def say_goodbye(self) -> None:
        """The client says that it will send no more, and reads on."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        await self.flush()

    async def stream(self, target: bytes = b"/stream") -> Stream:
        """Have the connection become a stream."""
        await self.send(get(target))
        assert await self.receive(len(HEAD)) == HEAD
        assert self.app.stream is not None
        return self.app.stream

    async def flush(self) -> None:
        """Put on the way what the client's TLS has to send."""
        if self.outgoing.pending:
            await self.loop.sock_sendall(self.client, self.outgoing.read())

    def encrypted(self) -> int:
        """Bytes that are encrypted and that the kernel has not taken."""
        return self.transport.get_write_buffer_size()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Turn the loop until *holds*."""
        while not holds():  # noqa: ASYNC110  # it is the connection's state, which tells nobody
            await asyncio.sleep(0)

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
async def accepted(certificate: Certificate) -> AsyncIterator[SecurePeers]:
    """A client that has connected and said nothing yet; both ends are closed at the end."""
    app = StubApp()

    def protocol() -> TlsLayer:
        return TlsLayer(certificate, SecureConnection(cast("App", app)))

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        app.clock.call_soon = loop.call_soon  # type: ignore[assignment]  # only time stands still
        await loop.sock_connect(client, listener.getsockname())
        taken, _ = listener.accept()
        transport, layer = await loop.create_connection(protocol, sock=taken)
        async with asyncio.timeout(30):
            yield SecurePeers(app, transport, layer, client)
            client.close()
            if not app.gone.is_set():
                layer.abort()
                await app.gone.wait()
        assert transport.is_closing()


@contextlib.asynccontextmanager
async def secured(certificate: Certificate, context: ssl.SSLContext) -> AsyncIterator[SecurePeers]:
    """A client that has shaken hands."""
    async with accepted(certificate) as peers:
        await peers.shake_hands(context)
        yield peers
