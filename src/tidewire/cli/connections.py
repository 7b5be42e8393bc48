"""``tidewire connections``"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from tidewire.cli.options import Quiet
from tidewire.cli.server import Server, takes_server
from tidewire.cli.tables import AsJson, ago, show
from tidewire.cli.terminal import say

if TYPE_CHECKING:
    from tidewire.client import ConnectionOf, Connections, Operations

_MOST_OF_A_PAGE = 1_000

User = Annotated[
    str | None, typer.Option(metavar="ID", show_default=False, help="Those of a user.")
]
Session = Annotated[
    str | None,
    typer.Option(metavar="ID", show_default=False, help="That of a session, as ready named it."),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="NAME", show_default=False, help="Those that call their device so."),
]
Channel = Annotated[
    str | None, typer.Option(metavar="NAME", show_default=False, help="Those that follow it.")
]
Transport = Annotated[
    str | None,
    typer.Option(
        metavar="websocket|sse|longpoll", show_default=False, help="Those of one transport."
    ),
]
Node = Annotated[
    str | None, typer.Option(metavar="ID", show_default=False, help="Those of one server.")
]

_COLUMNS = ("id", "user", "device", "transport", "address", "node", "#since", "#channels")


@takes_server
def connections(
    server: Server,
    id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", show_default=False, help="One connection: its channels are shown, too."
        ),
    ] = None,
    user: User = None,
    session: Session = None,
    device: Device = None,
    channel: Channel = None,
    transport: Transport = None,
    node: Node = None,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Print so many at the most.")
    ] = 1_000,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Print the streams and held polls of all servers of the log.

    A table on a terminal, JSON lines elsewhere. It takes a key with the scope admin.
    """
    from tidewire.cli.asking import ask

    which = {
        "user": user,
        "session": session,
        "device": device,
        "channel": channel,
        "transport": transport,
        "node": node,
    }
    if id is not None:
        if any(which.values()):
            raise typer.BadParameter("one connection is named by its id alone")
        one = ask(server, lambda asked: asked.connection(id), quiet=quiet)
        show([one], (*_COLUMNS[:-1], "channels"), _cells, as_json=as_json)
        return

    async def read(asked: Operations) -> list[Connections]:
        pages: list[Connections] = []
        left = limit
        async for page in asked.connections(**which, limit=str(min(limit, _MOST_OF_A_PAGE))):
            pages.append(page)
            left -= len(page.connections)
            if left <= 0:
                break
        return pages

    pages = ask(server, read, quiet=quiet)
    found = [one for page in pages for one in page.connections][:limit]
    show(found, _COLUMNS, _cells, as_json=as_json)
    missing = sorted({node for page in pages for node in page.missing})
    if missing:
        say(f"no answer from {', '.join(missing)}: theirs are not shown", "yellow")
    if not quiet:
        say(f"{len(found):,} of {pages[-1].total:,}")


def _cells(one: ConnectionOf) -> list[str]:
    channels = str(one.subscriptions) if one.channels is None else ", ".join(one.channels)
    return [
        one.id,
        one.user or "",
        one.device or "",
        one.transport,
        one.address,
        one.node,
        ago(time.time() - one.since / 1000),
        channels,
    ]
