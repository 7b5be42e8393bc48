"""``tidewire purge``"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated

import typer

from tidewire.cli.server import Server, takes_server
from tidewire.cli.terminal import JsonLines, OutputClosed


@takes_server
def purge(
    server: Server,
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel.")],
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="Forget the channel itself too: it counts from 1 again, and its keys and its "
            "version are gone.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
) -> None:
    """Discard all messages that a channel keeps; its readers are told by a gap.

    Prints the channel and the id up to which it is empty. There is no way back.
    """
    import msgspec

    from tidewire.cli.asking import ask

    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("nobody can be asked here; add --yes", param_hint="--yes")
        typer.confirm(f"Discard all messages of {channel} on {server.url}?", abort=True, err=True)
    purged = ask(
        # Not a second time by itself: what was published in between would be lost.
        server,
        lambda asked: asked.purge(channel, forget=forget),
        quiet=False,
        again=False,
    )
    with suppress(OutputClosed):
        JsonLines().write(msgspec.json.encode(purged))
