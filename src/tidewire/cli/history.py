"""``tidewire history``"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from tidewire.cli.options import MessagesOnly, Quiet
from tidewire.cli.server import Server, takes_server
from tidewire.cli.terminal import INTERRUPTED, JsonLines, OutputClosed, fail, say

if TYPE_CHECKING:
    from collections.abc import Callable


@takes_server
def history(
    server: Server,
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel.")],
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=1, metavar="N", show_default=False, help="At most N messages."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="start|-N|MS",
            show_default=False,
            help="From the oldest message kept, the last N, or from a Unix time in ms. "
            "Default: start.",
        ),
    ] = None,
    cursor: Annotated[
        str | None,
        typer.Option(
            metavar="ID", show_default=False, help="Only what came after the message with this id."
        ),
    ] = None,
    messages_only: MessagesOnly = False,
    quiet: Quiet = False,
) -> None:
    """Print the messages that a channel keeps, oldest first, one JSON envelope a line."""
    from tidewire.cli.running import run
    from tidewire.client import ClientError, Message, open_http
    from tidewire.client import history as read_history

    output = JsonLines()
    url, address, credentials = server.url, server.address, server.credentials()

    def on_wait(delay: float, reason: str) -> None:
        if not quiet:
            say(f"{url}: {reason}; next attempt in {delay:.1f} s", "yellow")

    async def main(stop: Callable[[], None]) -> None:
        async with (
            open_http(address, credentials) as http,
            aclosing(
                read_history(
                    http,
                    address,
                    channel,
                    limit=limit,
                    since=since,
                    cursor=cursor,
                    on_wait=on_wait,
                )
            ) as messages,
        ):
            async for received in messages:
                if isinstance(received.envelope, Message) or not messages_only:
                    output.write(received.json)

    try:
        if run(main).stopped:
            raise typer.Exit(INTERRUPTED)
    except ClientError as error:
        fail(f"{url}: {server.reason(error)}")
    except OutputClosed:
        pass
