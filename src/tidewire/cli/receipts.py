"""``tidewire receipts``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tidewire.cli.options import URL_DEFAULT, Quiet, Url
from tidewire.cli.terminal import JsonLines, OutputClosed, say

if TYPE_CHECKING:
    from tidewire.client import Operations, Receipts


def receipts(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel.")],
    id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the message, as tidewire pub printed it.")
    ],
    url: Url = URL_DEFAULT,
    quiet: Quiet = False,
) -> None:
    """Print who has acknowledged a message: one JSON object a line for each consumer."""
    import msgspec

    from tidewire.cli.asking import ask

    async def read(server: Operations) -> list[Receipts]:
        return [page async for page in server.receipts(channel, id)]

    pages = ask(url, read, quiet=quiet)
    output = JsonLines()
    try:
        for page in pages:
            for one in page.consumers:
                output.write(msgspec.json.encode(one))
    except OutputClosed:
        return
    if not quiet:
        first = pages[0]
        say(f"acknowledged by {first.acknowledged:,}, not yet by {first.pending:,}")
