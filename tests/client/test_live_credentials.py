"""Users whose tokens end every few seconds, and others that a real server does not let in."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.credentials import KEY, SECRET, token
from tests.acceptance.cutting_proxy import CuttingProxy
from tests.cli.commands import serve
from tests.client.test_live import NAMES, Cutter, at_once, transport
from tidewire.client import (
    Backoff,
    Client,
    Credentials,
    Forbidden,
    Message,
    Position,
    Received,
    Refused,
    ServerAddress,
    Unauthorized,
    Watcher,
    open_http,
    receive,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from tests.server_process import ServerProcess

NEWS = {"news:*": ["subscribe", "publish", "history"]}
TRANSPORTS = pytest.mark.parametrize("name", ["ws", "sse", "longpoll", "poll"])
END = "the end"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("live")
    server = serve(
        directory,
        *("--poll-interval", "0.05", "--upload-dir", str(directory / "uploads")),
        TIDEWIRE_API_KEY=KEY,
        TIDEWIRE_TOKEN_SECRET=SECRET,
    )
    yield server
    server.kill()
    assert "Traceback" not in server.log(), server.log()


class Issuer:
    """Gives tokens that are good for so many seconds, less the fraction of the last one."""

    def __init__(self, user: str, lasts: float = 3) -> None:
        self.asked = 0
        self._user = user
        self._lasts = lasts

    def __call__(self) -> str:
        self.asked += 1
        return token(self._user, NEWS, lasts=self._lasts, jti=f"{self._user}-{self.asked}")


class Connections(Watcher):
    """Counts them."""

    def __init__(self) -> None:
        self.count = 0

    def connected(self) -> None:
        self.count += 1


async def messages(
    name: str, url: str, credentials: Credentials, position: Position, watcher: Watcher
) -> AsyncGenerator[Message]:
    """What comes to a subscriber that does not wait between its attempts."""
    async with open_http(ServerAddress.parse(url), credentials) as http:
        made = transport(name, http, url, credentials)
        backoff = Backoff(draw=lambda: 0.0)
        async with aclosing(
            receive(made, position, backoff=backoff, watcher=watcher, sleep=at_once)
        ) as events:
            async for event in events:
                if isinstance(event, Received) and isinstance(event.envelope, Message):
                    yield event.envelope


async def all_messages(name: str, proxy: CuttingProxy, credentials: Credentials) -> list[Any]:
    """The data of all that comes, up to the end."""
    position = Position(["news:all"], since="start")
    cutter = Cutter(proxy, 200_000, seed=name)
    read: list[Any] = []
    async with aclosing(messages(name, proxy.url, credentials, position, cutter)) as found:
        async for message in found:
            read.append(message.data)
            if message.data == END:
                return read
    raise AssertionError("it ended before the end")


@pytest.mark.parametrize("drawn", [0.5, 5.0], ids=["in time", "too late"])
async def test_tokens_end_and_nothing_is_missing_and_nothing_double(
    drawn: float, server: ServerProcess
) -> None:
    """On all transports at once, over connections that are cut, too; a publisher runs meanwhile.

    Who asks for its next token too late is refused, or put out, and goes on with another.
    """
    issuers = {name: Issuer(name) for name in NAMES}
    published: list[Any] = []

    async def publish() -> None:
        async with Client(server.url, get_token=Issuer("publisher")) as client:
            while min(issuer.asked for issuer in issuers.values()) < 4:
                published.append(len(published))
                await client.publish("news:all", published[-1])
                await asyncio.sleep(0.002)
            published.append(END)
            await client.publish("news:all", END)

    async with Client(server.url, api_key=KEY) as operator, asyncio.timeout(20):
        await operator.operations.purge("news:all", forget=True)
    async with CuttingProxy(server.address) as proxy, asyncio.timeout(80):
        reading = [
            all_messages(name, proxy, Credentials(get_token=issuer, draw=lambda: drawn))
            for name, issuer in issuers.items()
        ]
        _, *read = await asyncio.gather(publish(), *reading)
    for name, numbers in zip(NAMES, read, strict=True):
        assert numbers == published, name


@pytest.mark.parametrize("name", ["ws", "msgpack", "sse"])
async def test_a_stream_outlives_its_token_though_a_message_takes_long(
    name: str, server: ServerProcess
) -> None:
    """The next token is told while the program is at work, on the same connection."""
    channel = f"news:long:{name}"
    issuer = Issuer(name, lasts=6)
    began = time.time()
    # It believes that there is a second left, so that it is in time on a machine that stands still.
    credentials = Credentials(get_token=issuer, wall=lambda: time.time() + 4.5)
    watcher = Connections()
    position = Position([channel], since="start")
    async with Client(server.url, api_key=KEY) as publisher:
        await publisher.publish(channel, 1)
        async with aclosing(messages(name, server.url, credentials, position, watcher)) as found:
            assert (await anext(found)).data == 1
            await asyncio.sleep(began + 6.5 - time.time())  # past the end of the first
            await publisher.publish(channel, 2)
            assert (await anext(found)).data == 2
    assert watcher.count == 1
    assert issuer.asked >= 2


@TRANSPORTS
async def test_a_wrong_token_is_the_end(name: str, server: ServerProcess) -> None:
    forged = token("42", NEWS, secret="another secret, of more than thirty-two bytes")
    async with Client(server.url, token=forged) as client:
        with pytest.raises(Unauthorized) as raised:
            await anext(client.subscribe(["news:1"], transport=name))
    assert raised.value.code == "invalid_token"
    assert forged not in str(raised.value)


async def test_whatever_is_asked_a_wrong_token_is_refused(
    server: ServerProcess, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    async with Client(server.url, token=token("42", NEWS, lasts=-5)) as client:
        for work in (
            client.publish("news:1", 1),
            client.upload("news:1", path),
            client.operations.ack("worker", ["AAAAAA-1"]),
            client.operations.revoke("user", "42"),
        ):
            with pytest.raises(Unauthorized) as raised:
                await work
            assert raised.value.code == "token_expired"


@TRANSPORTS
async def test_who_may_not_subscribe_is_told_so(name: str, server: ServerProcess) -> None:
    async with Client(server.url, get_token=Issuer("42")) as client:
        with pytest.raises(Forbidden, match="you may not subscribe to 'other'"):
            await anext(client.subscribe(["other"], transport=name))


@TRANSPORTS
async def test_who_shows_nothing_is_asked_who_it_is(name: str, server: ServerProcess) -> None:
    async with Client(server.url) as client:
        with pytest.raises(Unauthorized) as raised:
            await anext(client.subscribe(["news:1"], transport=name))
    assert raised.value.code == "no_credentials"


@TRANSPORTS
async def test_a_key_opens_everything(name: str, server: ServerProcess) -> None:
    async with Client(server.url, api_key=KEY) as client:
        await client.publish(f"key:{name}", "hello")
        subscription = client.subscribe([f"key:{name}"], transport=name, since="start")
        assert (await anext(subscription)).data == "hello"


async def test_a_user_uploads(server: ServerProcess, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    async with Client(server.url, get_token=Issuer("uploader")) as client:
        assert (await client.upload("news:files", path)).seq == 1


@TRANSPORTS
@pytest.mark.parametrize("way", ["token", "get_token"])
async def test_a_revoked_user_is_put_out_and_stays_out(
    name: str, way: str, server: ServerProcess
) -> None:
    """The issuer goes on giving tokens that say they are from before."""
    user = f"{name}-{way}"
    channel = f"news:revoked:{user}"
    issued = time.time()

    def get_token() -> str:
        return token(user, NEWS, iat=int(issued))

    credentials: dict[str, Any] = {way: get_token if way == "get_token" else get_token()}
    async with Client(server.url, **credentials) as client, Client(server.url, api_key=KEY) as key:
        subscription = client.subscribe([channel], transport=name, since="start")
        await key.publish(channel, 1)
        assert (await anext(subscription)).data == 1
        waiting = asyncio.ensure_future(anext(subscription))
        await key.operations.revoke("user", user)
        with pytest.raises(Unauthorized):
            await asyncio.wait_for(waiting, 30)


async def test_a_session_that_was_put_out_comes_back_with_a_new_token(
    server: ServerProcess,
) -> None:
    async with (
        Client(server.url, get_token=Issuer("kicked")) as client,
        Client(server.url, api_key=KEY) as key,
    ):
        subscription = client.subscribe(["news:kicked"], since="start")
        await key.publish("news:kicked", 1)
        assert (await anext(subscription)).data == 1
        session = subscription.position.session
        assert session is not None
        waiting = asyncio.ensure_future(anext(subscription))
        await key.operations.revoke("session", session)
        await key.publish("news:kicked", 2)
        assert (await waiting).data == 2
        assert subscription.position.session != session


# Limits


class FirstWait(Watcher):
    """How long the first wait is, and why."""

    def __init__(self) -> None:
        self.told: asyncio.Future[tuple[float, str]] = asyncio.get_running_loop().create_future()

    def waiting(self, delay: float, reason: str) -> None:
        if not self.told.done():
            self.told.set_result((delay, reason))


@pytest.mark.parametrize("name", ["ws", "sse", "longpoll"])
async def test_who_has_too_many_connections_waits_as_long_as_it_is_told(
    name: str, tmp_path: Path
) -> None:
    server = serve(
        tmp_path,
        *("--max-connections-per-user", "1"),
        TIDEWIRE_API_KEY=KEY,
        TIDEWIRE_TOKEN_SECRET=SECRET,
    )
    try:
        async with (
            Client(server.url, get_token=Issuer("one", 60)) as client,
            Client(server.url, api_key=KEY) as key,
        ):
            await key.publish("news:1", 1)
            first = client.subscribe(["news:1"], since="start")
            assert (await anext(first)).data == 1
            watcher = FirstWait()
            second = client.subscribe(["news:1"], transport=name, watcher=watcher)
            waiting = asyncio.ensure_future(anext(second))
            delay, reason = await asyncio.wait_for(watcher.told, 30)
            assert "1 connections are as many as you may have" in reason
            assert delay >= 1
            await first.close()
            while not waiting.done():
                await key.publish("news:1", 2)
                await asyncio.wait([waiting], timeout=0.1)
            assert (await waiting).data == 2
    finally:
        server.kill()


async def test_get_token_can_end_it(server: ServerProcess) -> None:
    asked = 0

    def get_token() -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise Refused("you are logged out")
        return token("42", NEWS, lasts=2)

    async with Client(server.url, get_token=get_token) as client:
        with pytest.raises(Refused, match="you are logged out"):
            await anext(client.subscribe(["news:nothing"]))
