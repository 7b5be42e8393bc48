"""``tidewire ack`` and ``tidewire nack``"""

from __future__ import annotations

from typing import Annotated

import typer

from tidewire.cli.options import Quiet
from tidewire.cli.server import Server, takes_server
from tidewire.cli.terminal import say

Consumer = Annotated[str, typer.Argument(metavar="CONSUMER", help="Name of the consumer.")]


@takes_server
def ack(
    server: Server,
    consumer: Consumer,
    ids: Annotated[
        list[str],
        typer.Argument(metavar="ID", help="Id of the last message that is finished with."),
    ],
    single: Annotated[
        bool,
        typer.Option("--single", help="Only the messages with these ids, not those before them."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Acknowledge for a consumer: all messages up to an id, in every channel that it reads.

    The server has kept that when the command ends. What is acknowledged does not come again.
    """
    from tidewire.cli.asking import ask

    if len(ids) > 1 and not single:
        raise typer.BadParameter(
            "one id stands for all before it; for these alone add --single", param_hint="ID"
        )
    ask(server, lambda asked: asked.ack(consumer, ids, single=single), quiet=quiet)
    if not quiet:
        what = ", ".join(ids) if single else f"all up to {ids[0]}"
        say(f"acknowledged for {consumer}: {what}", "green")


@takes_server
def nack(
    server: Server,
    consumer: Consumer,
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of the message.")],
    delay: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            show_default=False,
            help="Send it again after this time. Default: at once.",
        ),
    ] = None,
    reject: Annotated[
        bool,
        typer.Option(
            "--reject", help="Do not send it again: it goes to the channel dead-letter:CONSUMER."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Say for a consumer that a message was not dealt with, so that it is sent again.

    Of a message that it has acknowledged nothing changes.
    """
    from tidewire.cli.asking import ask

    if reject and delay is not None:
        raise typer.BadParameter("a rejected message does not come again: use --delay or --reject")
    ask(server, lambda asked: asked.nack(consumer, id, delay=delay, reject=reject), quiet=quiet)
    if not quiet:
        # What it has acknowledged already the server leaves as it is, without a word.
        when = f" after {delay:g} s" if delay else ""
        what = "rejected" if reject else f"to be sent again{when}"
        say(f"{what} for {consumer}: {id}", "green")
