"""Several sockets on one port."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.waiting import wait_until
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


def connect(stack: ExitStack, listener: socket.socket, count: int = CLIENTS) -> list[socket.socket]:
    return [
        stack.enter_context(socket.create_connection(listener.getsockname())) for _ in range(count)
    ]


def accept(stack: ExitStack, listener: socket.socket) -> int:
    """How many have come to this socket since it was asked last."""
    count = 0
    while True:
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return count
        stack.enter_context(client)
        count += 1


def accepted(stack: ExitStack, listeners: list[socket.socket]) -> list[int]:
    """How many have come to each of these sockets, when all clients have come to one of them.

    Who has connected may be on the way to the listening socket for a moment yet.
    """
    counts = [0] * len(listeners)

    def all_are_there() -> bool:
        for number, listener in enumerate(listeners):
            counts[number] += accept(stack, listener)
        return sum(counts) >= CLIENTS

    wait_until(all_are_there)
    assert sum(counts) == CLIENTS
    return counts


def is_cut_off(client: socket.socket) -> bool:
    """Whether the other end is gone."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_who_connects_is_spread(stack: ExitStack) -> None:
    listeners = each(stack, 3)
    assert len({listener.getsockname() for listener in listeners}) == 1
    connect(stack, listeners[0])
    assert min(accepted(stack, listeners)) > 0


def test_a_suspended_socket_gets_nobody_until_it_listens_again(stack: ExitStack) -> None:
    listeners = each(stack, 2)
    port = listeners[0].getsockname()
    clients = connect(stack, listeners[1])
    suspend(listeners[0])
    waiting = 0

    def each_has_come_or_is_cut_off() -> bool:
        nonlocal waiting
        waiting += accept(stack, listeners[1])
        return waiting + sum(map(is_cut_off, clients)) == CLIENTS

    wait_until(each_has_come_or_is_cut_off)
    assert 0 < waiting < CLIENTS
    connect(stack, listeners[1])
    assert accepted(stack, listeners[1:]) == [CLIENTS]
    listeners[0].listen(CLIENTS)
    assert listeners[0].getsockname() == port
    connect(stack, listeners[1])
    assert accepted(stack, listeners)[0] > 0


def test_another_server_on_the_port_is_noticed_even_if_it_would_share_it(stack: ExitStack) -> None:
    port = each(stack, 2)[0].getsockname()[1]
    for again in (lambda: listen_each(Settings(port=port), 2), lambda: listen(Settings(port=port))):
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1 port {port}"):
            again()
