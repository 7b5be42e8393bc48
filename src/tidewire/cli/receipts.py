"""``tidewire receipts``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tidewire.cli.options import Quiet
from tidewire.cli.server import Server, takes_server
from tidewire.cli.terminal import JsonLines, OutputClosed, say

if TYPE_CHECKING:
    from tidewire.client import Operations, Receipts


@takes_server
def receipts(
    server: Server,
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel.")],
    id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the message, as tidewire pub printed it.")
    ],
    quiet: Quiet = False,
) -> None:
    """Print who has acknowledged a message: one JSON object a line for each consumer."""
    import msgspec

    from tidewire.cli.asking import ask

    async def read(asked: Operations) -> list[Receipts]:
        return [page async for page in asked.receipts(channel, id)]

    pages = ask(server, read, quiet=quiet)
    output = JsonLines()
    try:
        for page in pages:
            for one in page.consumers:
                output.write(msgspec.json.encode(one))
    except OutputClosed:
        return
    if not quiet:
        done = sum(page.acknowledged for page in pages)
        pending = sum(page.pending for page in pages)
        say(f"acknowledged by {done:,}, not yet by {pending:,}")
