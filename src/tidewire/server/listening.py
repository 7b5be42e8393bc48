"""Sockets that clients connect to: one, or one for each worker on the same port."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from typing import Any, NamedTuple

from tidewire.settings import Settings

# Bytes of a stream that wait in the kernel unsent; past it the client is behind, and reads from
# the log at its own pace instead.
UNSENT_LOW_WATER = 256 << 10


class StartError(Exception):
    """The server cannot start; the text says why and what to do."""


def listen(settings: Settings) -> socket.socket:
    """A socket at the address of the settings, bound and not yet listening.

    Raises:
        StartError: if that cannot be done.
    """
    return _bound(_found(settings), settings)


def listen_each(settings: Settings, count: int) -> list[socket.socket]:
    """*count* such sockets of one port; the kernel spreads those who connect over them.

    Raises:
        StartError: if that cannot be done; also if another server has the port, even one that would
            share it.
    """
    found = _found(settings)
    with contextlib.ExitStack() as stack:
        guard = stack.enter_context(_bound(found, settings))
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # By its number, also where it was picked: so a socket keeps it when it is suspended.
        shared = found._replace(address=guard.getsockname())
        listeners = [
            stack.enter_context(_bound(shared, settings, share=True)) for _ in range(count)
        ]
        stack.pop_all()
        guard.close()
    return listeners


def suspend(listener: socket.socket) -> None:
    """Stop listening until the next ``listen``: the kernel turns to the port's other sockets.

    Who waits there to be accepted is cut off, and finds one of those when he tries again.
    """
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)


def address_of(listener: socket.socket, settings: Settings) -> str:
    """Where the server can be reached."""
    scheme = "https" if settings.tls_certificate else "http"
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}{settings.path_prefix}"


def tell_address(address: str) -> None:
    """Say that the server accepts connections: scripts wait for this line."""
    sys.stdout.write(f"tidewire listening on {address}\n")
    sys.stdout.flush()


class _Found(NamedTuple):
    family: int
    kind: int
    protocol: int
    address: Any


def _found(settings: Settings) -> _Found:
    """What the host's name stands for."""
    host = settings.host.strip("[]")
    try:
        found = socket.getaddrinfo(
            host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise _no_address(host, error) from error
    family, kind, protocol, _, address = found[0]
    return _Found(family, kind, protocol, address)


def _bound(found: _Found, settings: Settings, *, share: bool = False) -> socket.socket:
    host = settings.host.strip("[]")
    try:
        listener = socket.socket(found.family, found.kind, found.protocol)
    except OSError as error:
        raise _no_address(host, error) from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    with contextlib.suppress(OSError, AttributeError):
        # Connections inherit it from the listener, at no cost each.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_LOW_WATER)
    try:
        listener.bind(found.address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise StartError(f"host {host!r} is no address of this machine") from error
        raise StartError(
            f"cannot listen on {host} port {settings.port}: {error.strerror}; "
            "choose another with --port, or --port 0 for any free one"
        ) from error
    listener.setblocking(False)
    return listener


def _no_address(host: str, error: OSError) -> StartError:
    return StartError(f"host {host!r} is no address of this machine: {error.strerror}")
