"""``tidewire disconnect``"""

from __future__ import annotations

from typing import Annotated

import typer

from tidewire.cli.connections import Channel, Device, Node, Session, Transport, User
from tidewire.cli.options import Quiet
from tidewire.cli.server import Server, takes_server
from tidewire.cli.terminal import say


@takes_server
def disconnect(
    server: Server,
    id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            show_default=False,
            help="One connection, as tidewire connections prints it.",
        ),
    ] = None,
    user: User = None,
    session: Session = None,
    device: Device = None,
    channel: Channel = None,
    transport: Transport = None,
    node: Node = None,
    retry: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=3_600,
            metavar="SECONDS",
            show_default=False,
            help="The clients may come back after so long; without it they are told not to.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """End connections, on whichever servers they are.

    It ends one by its id, or all to which every given flag applies. Nobody is kept from coming
    back: that is what tidewire revoke is for. It takes a key with the scope admin.
    """
    from tidewire.cli.asking import ask

    enough = {"user": user, "session": session, "device": device, "channel": channel}
    which = enough | {"transport": transport, "node": node}
    if (id is None) == (not any(enough.values())) or (id is not None and any(which.values())):
        raise typer.BadParameter(
            "say which: by an id, or by --user, --session, --device or --channel"
        )
    wait = None if retry is None else max(1, round(retry * 1000))
    done = ask(
        server, lambda asked: asked.disconnect(id, retry=wait, **which), quiet=quiet, again=False
    )
    if done.missing:
        say(f"no answer from {', '.join(done.missing)}: theirs may still be there", "yellow")
    if not quiet:
        say(f"disconnected: {done.disconnected:,}", "green")
