"""Several sockets on one port."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tidewire.server.listening import StartError, listen, listen_each, suspend
from tidewire.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = 60


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def each(stack: ExitStack, count: int) -> list[socket.socket]:
    """Sockets of one port that listen."""
    listeners = listen_each(Settings(port=0), count)
    for listener in listeners:
        stack.enter_context(listener)
        listener.listen(CLIENTS)
    return listeners


def connect(stack: ExitStack, listener: socket.socket, count: int = CLIENTS) -> None:
    for _ in range(count):
        stack.enter_context(socket.create_connection(listener.getsockname()))


def accepted(stack: ExitStack, listener: socket.socket) -> int:
    """How many have come to this socket."""
    count = 0
    while True:
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return count
        stack.enter_context(client)
        count += 1


def test_who_connects_is_spread(stack: ExitStack) -> None:
    listeners = each(stack, 3)
    assert len({listener.getsockname() for listener in listeners}) == 1
    connect(stack, listeners[0])
    counts = [accepted(stack, listener) for listener in listeners]
    assert sum(counts) == CLIENTS
    assert min(counts) > 0


def test_a_suspended_socket_gets_nobody_until_it_listens_again(stack: ExitStack) -> None:
    listeners = each(stack, 2)
    port = listeners[0].getsockname()
    connect(stack, listeners[1])
    suspend(listeners[0])
    waiting = accepted(stack, listeners[1])
    assert 0 < waiting < CLIENTS
    connect(stack, listeners[1])
    assert accepted(stack, listeners[1]) == CLIENTS
    listeners[0].listen(CLIENTS)
    assert listeners[0].getsockname() == port
    connect(stack, listeners[1])
    assert accepted(stack, listeners[0]) > 0


def test_another_server_on_the_port_is_noticed_even_if_it_would_share_it(stack: ExitStack) -> None:
    port = each(stack, 2)[0].getsockname()[1]
    for again in (lambda: listen_each(Settings(port=port), 2), lambda: listen(Settings(port=port))):
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1 port {port}"):
            again()
