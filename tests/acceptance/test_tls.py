"""The server speaks TLS itself: every transport, clients that are not ours, new certificates."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import subprocess
import sys
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.acceptance.checker import check_log, check_received, from_envelope
from tests.acceptance.eventsource import EventStream
from tests.acceptance.raw_http import RawConnection
from tests.acceptance.raw_websocket import CONTINUATION, TEXT, RawWebSocket
from tests.acceptance.subscribers import numbered, publish_batch, query
from tests.acceptance.waiting import until, wait_until
from tests.certificates import Authority, Pair

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tests.acceptance.checker import Envelope, Message
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

CHANNELS = ["room:1", "room:2"]
LARGE = "tides " * 3_000_000


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom the clients trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def pair(authority: Authority, request: pytest.FixtureRequest) -> Pair:
    """The server's certificate, in files of the test's own."""
    return authority.issue(request.node.name.translate(str.maketrans("[]", "--")))


@pytest.fixture
def server(start: StartServer, pair: Pair) -> ServerProcess:
    """A server with this certificate."""
    return start(**pair.settings)


# Clients of the four transports, which trust the authority


class Clients:
    """Subscribers over TLS: streams of envelopes that end when the test has seen enough."""

    def __init__(self, url: str, authority: Authority) -> None:
        self.url = url
        self.context = authority.client_context()
        self.authority = authority

    def http(self) -> httpx.AsyncClient:
        """A client for requests."""
        return httpx.AsyncClient(
            base_url=self.url, verify=self.context, trust_env=False, timeout=40
        )

    async def ws(self, **start: object) -> AsyncGenerator[Envelope]:
        """By the ``websockets`` library."""
        url = f"{self.url.replace('http', 'ws', 1)}/ws?{query(CHANNELS, **start)}"
        async with connect(url, ssl=self.context, proxy=None) as connection:
            async for text in connection:
                yield json.loads(text)

    async def sse(self, **start: object) -> AsyncGenerator[Envelope]:
        """By httpx."""
        target = f"/sse?{query(CHANNELS, **start)}"
        async with self.http() as client, client.stream("GET", target) as answer:
            parser = EventStream()
            async for chunk in answer.aiter_bytes():
                for event in parser.feed(chunk):
                    yield json.loads(event.data)

    async def longpoll(self, **start: object) -> AsyncGenerator[Envelope]:
        """By httpx."""
        async with self.http() as client:
            while True:
                answer = await client.get(f"/longpoll?{query(CHANNELS, wait=10, **start)}")
                cursor = answer.headers["Tidewire-Cursor"]
                if answer.status_code == 200:
                    for envelope in answer.json()["messages"]:
                        yield envelope
                start = {"cursor": cursor}

    async def poll(self, **start: object) -> AsyncGenerator[Envelope]:
        """By curl, a process for each request."""
        while True:
            body = await self.curl(f"{self.url}/poll?{query(CHANNELS, **start)}")
            answer = json.loads(body)
            for envelope in answer["messages"]:
                yield envelope
            start = {"cursor": answer["cursor"]}

    async def curl(self, *arguments: str) -> str:
        """What curl prints."""
        process = await asyncio.create_subprocess_exec(
            *("curl", "--silent", "--show-error", "--max-time", "40", "--noproxy", "*"),
            *("--cacert", str(self.authority.file), *arguments),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode()

    async def follow(self, name: str, received: list[Envelope], enough: Callable[[], bool]) -> None:
        """Receive over one transport from the start until *enough* has come."""
        stream: AsyncGenerator[Envelope] = getattr(self, name)(since="start")
        async with aclosing(stream):
            async for envelope in stream:
                if envelope["type"] == "message":
                    received.append(envelope)
                if enough():
                    return

    def serial(self) -> int:
        """The number of the certificate that a new connection is shown."""
        host, port = self.url.removeprefix("https://").split(":")
        with (
            socket.create_connection((host, int(port)), timeout=10) as plain,
            self.context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            shown: Any = secure.getpeercert()
            return int(shown["serialNumber"], 16)


@pytest.fixture
def clients(server: ServerProcess, authority: Authority) -> Clients:
    """Clients of the server."""
    return Clients(server.url, authority)


def as_messages(envelopes: list[Envelope]) -> list[Message]:
    """What the checker takes."""
    return [from_envelope(envelope) for envelope in envelopes]


async def test_every_transport(server: ServerProcess, clients: Clients) -> None:
    """And all of them see one list, which begins before they came and goes on while they are."""
    assert server.url.startswith("https://127.0.0.1:")
    total = 300
    received: dict[str, list[Envelope]] = {n: [] for n in ("ws", "sse", "longpoll", "poll")}
    published: list[Message] = []
    async with asyncio.timeout(60), clients.http() as client, asyncio.TaskGroup() as group:
        published += await publish_batch(client, numbered(100, CHANNELS))
        for name, envelopes in received.items():
            group.create_task(
                clients.follow(name, envelopes, lambda seen=envelopes: len(seen) >= total)  # type: ignore[misc]
            )
        for first in range(100, total, 20):
            published += await publish_batch(client, numbered(20, CHANNELS, first=first))
    check_log(published)
    for envelopes in received.values():
        check_received(published, as_messages(envelopes))


async def test_publishing_over_a_websocket(clients: Clients) -> None:
    url = clients.url.replace("http", "ws", 1) + "/ws?channels=a"
    async with connect(url, ssl=clients.context, proxy=None) as connection:
        assert json.loads(await connection.recv())["type"] == "ready"
        await connection.send('{"type":"publish","ref":1,"channel":"a","data":"tides"}')
        types = {json.loads(await connection.recv())["type"] for _ in range(2)}
        assert types == {"ok", "message"}


# New certificates


@pytest.mark.parametrize("how", ["signal", "by itself"])
async def test_a_new_certificate_while_messages_flow(
    server: ServerProcess, clients: Clients, authority: Authority, pair: Pair, how: str
) -> None:
    """Nobody is cut off, nothing is lost, and who comes next sees the new one."""
    old = clients.serial()
    received: dict[str, list[Envelope]] = {n: [] for n in ("ws", "sse", "longpoll", "poll")}
    published: list[Message] = []
    total = math.inf  # known before the last message is published: whoever has it is through
    async with asyncio.timeout(60), clients.http() as client, asyncio.TaskGroup() as group:
        for name, envelopes in received.items():
            group.create_task(
                clients.follow(name, envelopes, lambda seen=envelopes: len(seen) >= total)  # type: ignore[misc]
            )
        for first in range(0, 40, 10):
            published += await publish_batch(client, numbered(10, CHANNELS, first=first))
        await until(lambda: all(len(seen) == 40 for seen in received.values()))
        pair.replace_by(authority.issue(f"newer {how}"))
        if how == "signal":
            server.hang_up()
        count = 40
        while await asyncio.to_thread(clients.serial) == old:
            published += await publish_batch(client, numbered(1, CHANNELS, first=count))
            count += 1
        total = count + 1
        published += await publish_batch(client, numbered(1, CHANNELS, first=count))
    for envelopes in received.values():
        check_received(published, as_messages(envelopes))
    assert server.log().count("certificate of localhost") == 2


def test_a_broken_new_certificate_changes_nothing(
    server: ServerProcess, clients: Clients, pair: Pair
) -> None:
    old = clients.serial()
    pair.key.write_text("nonsense")
    server.hang_up()
    wait_until(lambda: "the certificate in use stays" in server.log())
    assert "holds no private key in PEM" in server.log()
    assert clients.serial() == old
    assert server.running


def test_a_wrong_certificate_stops_the_start(tmp_path: Path, authority: Authority) -> None:
    """With a sentence that names the file."""
    pair, other = authority.issue("one"), authority.issue("other")
    for settings, said in [
        (
            pair._replace(key=tmp_path / "gone.pem").settings,
            f"tls_key '{tmp_path}/gone.pem' cannot be read: No such file",
        ),
        (pair._replace(key=other.key).settings, "is not the key of the certificate in"),
        ({"tls_certificate": str(pair.certificate)}, "tls_key is missing"),
    ]:
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        done = subprocess.run(
            [sys.executable, "-m", "tidewire", "serve", "--port=0", "--engine=memory:", *flags],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
            check=False,
        )
        assert done.returncode in (1, 2)
        assert done.stdout == ""
        assert said in done.stderr
        assert "Traceback" not in done.stderr


# Strangers


@pytest.mark.parametrize(
    "arguments",
    [["--tls-max", "1.0"], ["--tls-max", "1.1"], ["--tls-max", "1.2", "--ciphers", "AES128-SHA"]],
    ids=["TLS 1.0", "TLS 1.1", "a weak cipher"],
)
def test_old_ways_are_refused(
    server: ServerProcess, authority: Authority, arguments: list[str]
) -> None:
    weak = ["--ciphers", "DEFAULT@SECLEVEL=0"] if len(arguments) == 2 else []
    done = subprocess.run(
        ["curl", "--silent", "--cacert", authority.file, *weak, *arguments, f"{server.url}/readyz"],
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 35  # no TLS
    assert done.stdout == b""


def test_renegotiation_is_refused(server: ServerProcess, authority: Authority) -> None:
    done = subprocess.run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_2"),
            *("-CAfile", authority.file, "-verify_return_error", "-brief"),
        ],
        input=b"R\n",
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert b"CONNECTION ESTABLISHED" in done.stderr
    assert b"no renegotiation" in done.stderr


def test_a_plain_request_is_told_to_use_https(server: ServerProcess) -> None:
    with RawConnection(server.address) as connection:
        connection.request("GET", "/sse?channels=a")
        answer = connection.response()
        assert answer.status == 400
        assert answer.problem["code"] == "tls_required"
        assert connection.read_to_end() == b""


def test_strangers_leave_nothing_behind(server: ServerProcess, clients: Clients) -> None:
    def call() -> None:
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\0" * 99, b""):
            for _ in range(25):
                with RawConnection(server.address) as connection:
                    connection.send(said)
                    if len(said) > 10:
                        connection.read_to_end()

    call()
    wait_until(lambda: server.connections() == 0)
    before = server.resident_memory(), server.descriptors()
    for _ in range(10):
        call()
    wait_until(lambda: server.connections() == 0)
    assert server.descriptors() == before[1]
    assert server.resident_memory() - before[0] < 4 << 20
    assert clients.serial()
    metrics = httpx.get(f"{server.url}/metrics", verify=clients.context).text
    assert 'tidewire_drops_total{reason="tls"} 550.0' in metrics


# Slow clients, large messages, the end


def read_message(connection: RawWebSocket) -> bytes:
    """The next data message, put together from its frames."""
    parts: list[bytes] = []
    while True:
        frame = connection.read_frame()
        if frame.opcode in (TEXT, CONTINUATION):
            parts.append(frame.payload)
            if frame.fin:
                return b"".join(parts)


def read_event(connection: RawConnection) -> bytes:
    """The data of the next event, which is one chunk."""
    connection.read_until(b"\r\n")  # the end of the chunk before
    size = int(connection.read_until(b"\r\n"), 16)
    lines = connection.read_exactly(size).split(b"\n")
    return next(line for line in lines if line.startswith(b"data: ")).removeprefix(b"data: ")


def data_of(envelope: bytes) -> object:
    """What was published."""
    return json.loads(envelope)["data"]


def test_twenty_slow_readers_share_one_copy(
    start: StartServer, pair: Pair, authority: Authority
) -> None:
    """A large message is encrypted for each of them only as fast as it takes it."""
    # They are read one after the other, and must not end meanwhile, however long that takes.
    server = start(**pair.settings, max_message_size=24 << 20, ping_interval=600, stall_timeout=600)
    context = authority.client_context()
    with httpx.Client(base_url=server.url, verify=context, trust_env=False, timeout=40) as client:

        def publish(channel: str) -> None:
            answer = client.post(
                f"/publish?channel={channel}", content=LARGE, headers={"Content-Type": "text/plain"}
            )
            assert answer.status_code == 200

        with ExitStack() as stack:
            sockets = []
            for _ in range(10):
                socket = RawWebSocket(server.address, receive_buffer=16_384, tls=context)
                sockets.append(stack.enter_context(socket))
                socket.open("/ws?channels=slow")
                read_message(socket)
            streams = []
            for _ in range(10):
                stream = RawConnection(server.address, receive_buffer=16_384, tls=context)
                streams.append(stack.enter_context(stream))
                stream.request("GET", "/sse?channels=slow")
                stream.read_until(b"\n\n")
            for _ in range(2):  # what such messages leave in the allocator does not count
                publish("other")
            before = server.resident_memory()
            publish("slow")
            for connection in (*sockets, *streams):
                connection.buffer += connection.socket.recv(1)  # it was handed out
            assert server.resident_memory() - before < 5 * len(LARGE)
            for socket in sockets:
                assert data_of(read_message(socket)) == LARGE
            for stream in streams:
                assert data_of(read_event(stream)) == LARGE
            assert server.resident_memory() - before < 5 * len(LARGE)


async def test_draining_says_goodbye(server: ServerProcess, clients: Clients) -> None:
    """In the clients' protocol and in TLS: no client could take it for a cut connection."""
    context = clients.context
    with (
        RawConnection(server.address, tls=context) as stream,
        RawConnection(server.address, tls=context) as poll,
        RawConnection(server.address, tls=context) as idle,
        socket.create_connection(server.address) as stranger,
    ):
        stream.socket.suppress_ragged_eofs = False  # type: ignore[attr-defined]
        poll.socket.suppress_ragged_eofs = False  # type: ignore[attr-defined]
        idle.socket.suppress_ragged_eofs = False  # type: ignore[attr-defined]
        stream.request("GET", "/sse?channels=a")
        stream.read_until(b"tidewire.ready")
        poll.request("GET", "/healthz")
        poll.request("GET", "/longpoll?channels=a&wait=60")
        poll.read_until(b'"ok"}')
        server.terminate()
        assert b"tidewire.close" in stream.read_to_end()
        assert poll.read_to_end().startswith(b"HTTP/1.1 204 ")
        assert idle.read_to_end() == b""
        assert stranger.recv(100) == b""
        assert await asyncio.to_thread(server.wait) == 0
