"""A server's life: open the log, listen, serve, drain, close."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Callable
from pathlib import Path

from tidewire.access.unusable import Unusable
from tidewire.hub import Hub
from tidewire.log import Engine, MemoryEngine
from tidewire.log.redis import redis_engine
from tidewire.log.redis_address import is_redis, parse_address
from tidewire.log.sqlite import SqliteEngine
from tidewire.model import EngineUnavailable, Flow, Namespaces, Retention
from tidewire.server import logs
from tidewire.server.access_log import LoggedConnection, LoggingApp, SecureLoggedConnection
from tidewire.server.app import App
from tidewire.server.certificate import Certificate, CertificateError
from tidewire.server.connection import Connection
from tidewire.server.descriptors import take_descriptors
from tidewire.server.listening import StartError, address_of, listen, tell_address
from tidewire.server.place import Place
from tidewire.server.tls import SecureConnection, TlsLayer
from tidewire.settings import Settings
from tidewire.settings.describe import is_secret
from tidewire.settings.hiding import hide_passwords, passwords_of
from tidewire.uploads import CallbackError, Intake, Store, load_callback

logger = logging.getLogger("tidewire.server")

BACKLOG = 4096
LINGER_SECONDS = 3.0  # for requests of connections that were accepted just before the end
CLOSE_SECONDS = 0.5  # of the time to drain, kept for closing what is left


def run(settings: Settings, place: Place | None = None) -> int:
    """Serve until SIGTERM or SIGINT, or until the supervisor says so; return the exit code.

    A worker has its *place* there.

    Raises:
        StartError: if the log cannot be opened, the address cannot be bound, or the certificate
            cannot be used.
    """
    number = None if place is None else place.number
    logs.configure(settings.log_level, settings.log_format, secrets_of(settings), worker=number)
    take_descriptors()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, place))
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
        presence=settings.presence,
        presences={
            name: space.presence
            for name, space in settings.namespaces.items()
            if space.presence is not None
        },
    )
    if settings.engine == "memory:":
        return MemoryEngine(namespaces, idempotency_window=settings.idempotency_window)
    if is_redis(settings.engine):
        return redis_engine(
            parse_address(settings.engine),
            namespaces,
            idempotency_window=settings.idempotency_window,
        )
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


async def _serve(settings: Settings, place: Place | None) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    if place is None:
        loop.add_signal_handler(signal.SIGINT, stopping.set)
    hub = Hub(engine_of(settings))
    uploads = uploads_of(settings, hub.engine)
    certificate = certificate_of(settings)
    listener = listen(settings) if place is None else place.listener
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
    app.load.address = address_of(listener, settings)
    await app.fleet.start()
    if app.presence is not None:
        await app.presence.start()
    hub.spawn(app.access.fetch_keys())
    if certificate is not None:
        certificate.watch(loop)
        if place is None:
            loop.add_signal_handler(signal.SIGHUP, certificate.reload)
    server = await loop.create_server(_protocols(app, certificate), sock=listener, backlog=BACKLOG)
    if place is None:
        tell_address(app.load.address)
    else:
        await _take_place(place, app, server, stopping)
    _spare_the_collector()
    shown = hide_passwords(settings.engine)
    logger.info("serving the log %s, epoch %s", shown, hub.engine.epoch)
    await stopping.wait()
    await _drain(app, server)
    if app.presence is not None:
        app.presence.stop()
    await app.fleet.stop()
    await app.access.close()
    if certificate is not None:
        certificate.stop()
    if uploads is not None:
        uploads.close()
    await hub.stop()
    if place is not None:
        await place.give_up()
    logger.info("stopped")


async def _take_place(
    place: Place, app: App, server: asyncio.AbstractServer, stopping: asyncio.Event
) -> None:
    """Serve under the supervisor."""

    def end(replaced: bool) -> None:
        if replaced:
            server.close()  # others accept at the same socket
            app.loop.call_later(LINGER_SECONDS, stopping.set)
        else:
            stopping.set()  # newcomers are told to come back later

    app.metrics.siblings = place
    await place.take(app.metrics.families, end)
    app.loop.add_signal_handler(signal.SIGTERM, place.leave)


def _protocols(app: App, certificate: Certificate | None) -> Callable[[], asyncio.Protocol]:
    """What makes the protocol of each new socket."""
    logged = isinstance(app, LoggingApp)
    if certificate is None:
        kind = LoggedConnection if logged else Connection
        return lambda: kind(app)
    secure = SecureLoggedConnection if logged else SecureConnection
    return lambda: TlsLayer(certificate, secure(app))


def _spare_the_collector() -> None:
    """Keep what lives as long as the server out of the garbage collector's rounds.

    Full collections find next to nothing here, and take the longer the more connections there are,
    while the loop stands still: so they are made rare.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


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
