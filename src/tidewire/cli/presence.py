"""``tidewire presence``"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from tidewire.cli.options import Quiet
from tidewire.cli.server import Server, takes_server
from tidewire.cli.terminal import JsonLines, OutputClosed, fail, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidewire.client import Attendance, Operations


@takes_server
def presence(
    server: Server,
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel.")],
    members: Annotated[
        bool, typer.Option("--members", help="Print each member, one JSON object a line.")
    ] = False,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Print the members, then who joins and leaves, until Ctrl-C."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Print how many are on a channel, or who, or who comes and goes.

    With --follow the members come first, then an envelope for each join and leave since: together
    they say who is there. Some of it may be told twice.
    """
    import msgspec

    from tidewire.cli.asking import ask

    async def read(asked: Operations) -> list[Attendance]:
        if members or follow:
            return [page async for page in asked.members(channel)]
        return [await asked.presence(channel)]

    pages = ask(server, read, quiet=quiet)
    output = JsonLines()
    try:
        for page in pages:
            if page.members is None:
                output.write(msgspec.json.encode(page))
            for member in page.members or ():
                output.write(msgspec.json.encode(member))
        if members and not quiet and not follow:
            count = sum(len(page.members or ()) for page in pages)
            say(f"{count:,} on {channel}")
        if follow:
            _follow(server, channel, pages[0].cursor, quiet=quiet)
    except OutputClosed:
        return


def _follow(server: Server, channel: str, cursor: str, *, quiet: bool) -> None:
    from tidewire.cli.running import run
    from tidewire.cli.subscribing import Session
    from tidewire.client import Position, Refused

    position = Position([f"@presence:{channel}"], cursor=cursor)
    session = Session(server.address, position, credentials=server.credentials(), quiet=quiet)

    async def main(stop: Callable[[], None]) -> None:
        session.output.watch(asyncio.get_running_loop(), stop)
        await session.run("ws")

    try:
        run(main)
    except Refused as error:
        fail(f"{server.url}: {server.reason(error)}")
