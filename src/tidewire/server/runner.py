"""A server's life: open the log, listen, serve, drain, close."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from tidewire.access.unusable import Unusable
from tidewire.hub import Hub
from tidewire.log import Engine, MemoryEngine
from tidewire.log.sqlite import SqliteEngine
from tidewire.model import EngineUnavailable, Flow, Namespaces, Retention
from tidewire.server import logs
from tidewire.server.access_log import LoggedConnection, LoggingApp, SecureLoggedConnection
from tidewire.server.app import App
from tidewire.server.certificate import Certificate, CertificateError
from tidewire.server.connection import Connection
from tidewire.server.tls import SecureConnection, TlsLayer
from tidewire.settings import Settings
from tidewire.settings.describe import is_secret
from tidewire.settings.hiding import hide_passwords, passwords_of
from tidewire.uploads import CallbackError, Intake, Store, load_callback

logger = logging.getLogger("tidewire.server")

BACKLOG = 4096
CLOSE_SECONDS = 0.5  # of the time to drain, kept for closing what is left
# Bytes of a stream that wait in the kernel unsent; past it the client is behind, and reads from
# the log at its own pace instead.
UNSENT_LOW_WATER = 256 << 10


class StartError(Exception):
    """The server cannot start; the text says why and what to do."""


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the process's exit code.

    Raises:
        StartError: if the log cannot be opened, the address cannot be bound, or the certificate
            cannot be used.
    """
    logs.configure(settings.log_level, settings.log_format, secrets_of(settings))
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


def secrets_of(settings: Settings) -> list[str]:
    """What must not be shown of the settings."""
    fields = type(settings).model_fields.items()
    secrets = [getattr(settings, name) for name, info in fields if is_secret(info)]
    return secrets + passwords_of(settings.engine)


def engine_of(settings: Settings) -> Engine:
    """The engine that the settings name, not yet opened."""
    namespaces = Namespaces(
        Retention(settings.history_size, int(settings.history_ttl * 1_000_000)),
        {
            name: Retention(
                settings.history_size if space.history_size is None else space.history_size,
                int((space.history_ttl or settings.history_ttl) * 1_000_000),
            )
            for name, space in settings.namespaces.items()
        },
        Flow(settings.slow_policy, None, settings.coalesce),
        {
            name: Flow(
                space.slow_policy or settings.slow_policy,
                space.conflate_by,
                settings.coalesce if space.coalesce is None else space.coalesce,
            )
            for name, space in settings.namespaces.items()
        },
    )
    if settings.engine == "memory:":
        return MemoryEngine(namespaces, idempotency_window=settings.idempotency_window)
    path = settings.engine.removeprefix("sqlite:///")
    return SqliteEngine(path, namespaces, idempotency_window=settings.idempotency_window)


def uploads_of(settings: Settings, engine: Engine) -> Intake | None:
    """What takes uploads, if the settings say where to.

    Raises:
        StartError: if the folder or the callback cannot be used.
    """
    if not settings.upload_dir:
        if settings.upload_callback:
            raise StartError("upload_callback is set, but no upload_dir: nothing would be uploaded")
        return None
    try:
        name = settings.upload_callback
        return Intake(
            engine,
            Store(Path(settings.upload_dir)),
            max_size=settings.max_upload_size,
            ttl=settings.upload_ttl,
            message_size=settings.max_message_size,
            callback=load_callback(name) if name else None,
        )
    except OSError as error:
        raise StartError(f"upload_dir {settings.upload_dir!r}: {error.strerror}") from error
    except CallbackError as error:
        raise StartError(str(error)) from error


def certificate_of(settings: Settings) -> Certificate | None:
    """The certificate that the settings name, if they name one.

    Raises:
        StartError: if it cannot be used.
    """
    if not settings.tls_certificate:
        return None
    try:
        return Certificate(Path(settings.tls_certificate), Path(settings.tls_key))
    except CertificateError as error:
        raise StartError(str(error)) from error


async def _serve(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    hub = Hub(engine_of(settings))
    uploads = uploads_of(settings, hub.engine)
    certificate = certificate_of(settings)
    listener = _listen(settings)
    try:
        await hub.start()
    except EngineUnavailable as error:
        listener.close()
        raise StartError(error.detail) from error
    if uploads is not None:
        uploads.start()
    try:
        app = (LoggingApp if settings.access_log else App)(settings, hub, loop, uploads)
    except Unusable as error:
        listener.close()
        await hub.stop()
        raise StartError(str(error)) from error
    await app.access.revocations.load()
    app.load.address = _address(listener, settings)
    await app.fleet.start()
    hub.spawn(app.access.fetch_keys())
    if certificate is not None:
        certificate.watch(loop)
        loop.add_signal_handler(signal.SIGHUP, certificate.reload)
    server = await loop.create_server(_protocols(app, certificate), sock=listener, backlog=BACKLOG)
    # Scripts wait for this line.
    sys.stdout.write(f"tidewire listening on {app.load.address}\n")
    sys.stdout.flush()
    _spare_the_collector()
    shown = hide_passwords(settings.engine)
    logger.info("serving the log %s, epoch %s", shown, hub.engine.epoch)
    await stopping.wait()
    await _drain(app, server)
    await app.fleet.stop()
    await app.access.close()
    if certificate is not None:
        certificate.stop()
    if uploads is not None:
        uploads.close()
    await hub.stop()
    logger.info("stopped")


def _protocols(app: App, certificate: Certificate | None) -> Callable[[], asyncio.Protocol]:
    """What makes the protocol of each new socket."""
    logged = isinstance(app, LoggingApp)
    if certificate is None:
        kind = LoggedConnection if logged else Connection
        return lambda: kind(app)
    secure = SecureLoggedConnection if logged else SecureConnection
    return lambda: TlsLayer(certificate, secure(app))


def _address(listener: socket.socket, settings: Settings) -> str:
    """Where the server can be reached."""
    scheme = "https" if settings.tls_certificate else "http"
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}{settings.path_prefix}"


def _spare_the_collector() -> None:
    """Keep what lives as long as the server out of the garbage collector's rounds.

    Full collections find next to nothing here, and take the longer the more connections there are,
    while the loop stands still: so they are made rare.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def _listen(settings: Settings) -> socket.socket:
    """Bind the address.

    Raises:
        StartError: if that cannot be done.
    """
    host = settings.host.strip("[]")
    try:
        found = socket.getaddrinfo(
            host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(
            f"host {host!r} is no address of this machine: {error.strerror}"
        ) from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with contextlib.suppress(OSError, AttributeError):
        # Connections inherit it from the listener, at no cost each.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_LOW_WATER)
    try:
        listener.bind(address)
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


async def _drain(app: App, server: asyncio.AbstractServer) -> None:
    """Say goodbye to every client, and wait until they are gone or the time is up."""
    logger.info("draining %d connections", len(app.connections))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + app.settings.drain_timeout
    app.drain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(deadline - CLOSE_SECONDS):
            await app.nobody.wait()
    server.close()
    for connection in list(app.connections):
        connection.abort()
    await asyncio.sleep(0)
    app.wheel.stop()
