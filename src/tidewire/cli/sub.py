"""``tidewire sub``"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidewire.cli.options import MessagesOnly, Quiet
from tidewire.cli.server import Server, takes_server
from tidewire.cli.terminal import OutputClosed, fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidewire.cli.cursor_file import CursorFile


class TransportName(StrEnum):
    """The ways to subscribe."""

    ws = "ws"
    sse = "sse"
    longpoll = "longpoll"
    poll = "poll"


class AckMode(StrEnum):
    """Who acknowledges for a consumer."""

    auto = "auto"
    none = "none"


class Policy(StrEnum):
    """What the server does when this subscriber is too slow."""

    catch_up = "catch_up"
    latest = "latest"
    disconnect = "disconnect"


@takes_server
def sub(
    server: Server,
    channels: Annotated[
        list[str], typer.Argument(metavar="CHANNEL", help="Channels, also separated by commas.")
    ],
    transport: Annotated[
        TransportName,
        typer.Option("--transport", "-t", help="WebSocket, Server-Sent Events, or polling."),
    ] = TransportName.ws,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="now|start|-N|MS",
            show_default=False,
            help="Where to start: now, with the oldest message kept, with the last N of each "
            "channel, or at a Unix time in ms. Default: now.",
        ),
    ] = None,
    cursor: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            show_default=False,
            help="Go on after the envelope that has this id; or one for each channel, with commas.",
        ),
    ] = None,
    cursor_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Keep the cursor in this file, and go on from it when started again.",
        ),
    ] = None,
    consumer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="Be a durable consumer: the server keeps what was acknowledged under this name, "
            "and sends the rest again.",
        ),
    ] = None,
    ack: Annotated[
        AckMode | None,
        typer.Option(
            show_default=False,
            help="As a consumer, acknowledge each message once it is printed, or leave it to "
            "tidewire ack. Default: auto.",
        ),
    ] = None,
    policy: Annotated[
        Policy | None,
        typer.Option(
            metavar="POLICY",
            show_default=False,
            help="If this end is too slow: catch_up brings all of it later, latest only the newest "
            "of each channel, disconnect ends the stream. Default: as the server is set.",
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--count", "-n", min=1, metavar="N", show_default=False, help="End after N messages."
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            show_default=False,
            help="End after this time; that is a failure if --count was not reached.",
        ),
    ] = None,
    messages_only: MessagesOnly = False,
    quiet: Quiet = False,
) -> None:
    """Print what comes to channels, one JSON envelope a line, until Ctrl-C.

    When the connection breaks, it is opened again and goes on where it was: nothing is left out
    and nothing printed twice. What was discarded meanwhile shows as a line of type gap.

    With --consumer the server keeps the place. A message that was not acknowledged in time comes
    again, with the number of its deliveries.
    """
    from tidewire.cli.running import run
    from tidewire.cli.subscribing import Session
    from tidewire.client import Position, Refused

    names = [name for argument in channels for name in argument.split(",") if name]
    if not names:
        raise typer.BadParameter("name at least one channel", param_hint="CHANNEL")
    if ack is not None and consumer is None:
        raise typer.BadParameter("only a consumer acknowledges: add --consumer NAME")
    if cursor_file is not None and consumer is not None:
        raise typer.BadParameter("the server keeps a consumer's place: leave out --cursor-file")
    kept = _open(cursor_file) if cursor_file is not None else None
    try:
        position = Position(
            names,
            since=since,
            cursor=(kept and kept.cursor) or cursor,
            consumer=consumer,
            policy=policy,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--cursor") from None
    session = Session(
        server.address,
        position,
        credentials=server.credentials(),
        kept=kept,
        acknowledge=ack is not AckMode.none,
        count=count,
        messages_only=messages_only,
        quiet=quiet,
    )

    async def main(stop: Callable[[], None]) -> None:
        session.output.watch(asyncio.get_running_loop(), stop)
        async with asyncio.timeout(timeout):
            await session.run(transport)

    try:
        run(main)
    except TimeoutError:
        if count is not None:
            fail(f"{session.count} of {count} messages came in {timeout:g} s")
        if session.trouble is not None:
            fail(f"{server.url}: {session.trouble}; there was no connection within {timeout:g} s")
    except Refused as error:
        fail(f"{server.url}: {server.reason(error)}")
    except OutputClosed:
        pass


def _open(path: Path) -> CursorFile:
    from tidewire.cli.cursor_file import CursorFile

    try:
        return CursorFile(path)
    except BlockingIOError:
        fail(f"{path} is in use by another subscriber; take another --cursor-file")
    except OSError as error:
        fail(f"{path} cannot keep the cursor: {(error.strerror or str(error)).lower()}")
