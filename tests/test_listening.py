"""Whenever a listener is closed, nothing is left behind: else its warning fails the test."""

from __future__ import annotations

import asyncio
import gc
import socket

import pytest

from tests.listening import HOST, Listener


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve until the client ends the connection."""
    await reader.read()


@pytest.mark.parametrize("gone", [False, True], ids=["there", "gone"])
@pytest.mark.parametrize("turns", range(8))
async def test_closing_when_a_connection_has_just_come(turns: int, gone: bool) -> None:
    listener = Listener(hold)
    await listener.open()
    with socket.create_connection((HOST, listener.port), timeout=10) as client:
        for _ in range(turns):
            await asyncio.sleep(0)
        if gone:
            client.close()
        await listener.close()
        await asyncio.sleep(0.01)
        if not gone:
            assert ended(client)
    gc.collect()


def ended(client: socket.socket) -> bool:
    """Whether the other side has ended the connection, in whatever way."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


async def test_what_is_open_stays_open_when_it_is_shut() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)

    async with Listener(echo) as listener:
        reader, writer = await asyncio.open_connection(HOST, listener.port)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        await listener.shut()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, listener.port)
        writer.write(b"b")
        assert await reader.readexactly(1) == b"b"
        port = listener.port
        await listener.open()
        assert listener.port == port
        _, another = await asyncio.open_connection(HOST, port)
        for one in (writer, another):
            one.close()
            await one.wait_closed()


async def test_what_was_written_last_arrives() -> None:
    much = b"x" * 5_000_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(much)

    async with Listener(serve) as listener:
        reader, writer = await asyncio.open_connection(HOST, listener.port)
        assert len(await reader.read(-1)) == len(much)
        writer.close()
        await writer.wait_closed()


async def test_an_error_is_told() -> None:
    told: list[BaseException] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

    async def fail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise LookupError

    async with Listener(fail) as listener:
        reader, writer = await asyncio.open_connection(HOST, listener.port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    assert [type(error) for error in told] == [LookupError]
