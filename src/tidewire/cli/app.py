"""The commands put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from tidewire.cli.ack import ack, nack
from tidewire.cli.config import config
from tidewire.cli.connections import connections
from tidewire.cli.disconnect import disconnect
from tidewire.cli.history import history
from tidewire.cli.keys import add, list_, remove, rotate
from tidewire.cli.nodes import nodes
from tidewire.cli.presence import presence
from tidewire.cli.pub import pub
from tidewire.cli.purge import purge
from tidewire.cli.receipts import receipts
from tidewire.cli.revoke import revoke
from tidewire.cli.serve import serve
from tidewire.cli.sub import sub
from tidewire.cli.token import token
from tidewire.cli.upload import upload
from tidewire.cli.version import print_version, version

app = typer.Typer(
    name="tidewire",
    rich_markup_mode="rich",
    # A traceback is for us: it comes plain, without the values of variables, which may be secret.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(
    invoke_without_command=True,
    epilog="Every command explains itself: tidewire serve --help",
)
def root(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.")
    ] = False,
) -> None:
    """Publish once; WebSocket, SSE, long polling and short polling clients miss nothing.

    \b
    [bold]tidewire serve[/]                    start a server on http://127.0.0.1:8480
    [bold]tidewire sub news[/]                 in a second terminal: print what comes
    [bold]tidewire pub news "Hello, world"[/]  in a third one: publish
    """
    if show_version:
        print_version(as_json=False, short=True)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _paragraphs(text: str) -> str:
    """A docstring with each paragraph on one line, to be wrapped to the terminal's width."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _put(command: Callable[..., None], to: typer.Typer, panel: str | None, example: str) -> None:
    to.command(
        command.__name__.rstrip("_"),
        rich_help_panel=panel,
        help=_paragraphs(command.__doc__ or ""),
        epilog=f"Example: [bold]{example}[/]",
    )(command)


_START, _USE, _CONSUME, _OTHER = "Start a server", "Use a server", "Be a consumer", "Other"
_LET_IN = "Let others in"
_OPERATE = "Look after servers"
for command, panel, example in (
    (serve, _START, "tidewire serve --port 8480 --engine sqlite:///log.db"),
    (config, _START, "tidewire config --defaults > tidewire.toml"),
    (pub, _USE, "tidewire pub orders '{\"id\": 17}' --event created"),
    (sub, _USE, "tidewire sub orders --since -10"),
    (history, _USE, "tidewire history orders --limit 100"),
    (presence, _USE, "tidewire presence chat:7 --members"),
    (upload, _USE, "tidewire upload pictures sunset.jpg"),
    (purge, _USE, "tidewire purge orders"),
    (ack, _CONSUME, "tidewire ack billing q7Zf9a-1795392012345678"),
    (nack, _CONSUME, "tidewire nack billing q7Zf9a-1795392012345678 --delay 60"),
    (receipts, _CONSUME, "tidewire receipts orders q7Zf9a-1795392012345678"),
    (connections, _OPERATE, "tidewire connections --user 42"),
    (disconnect, _OPERATE, "tidewire disconnect --user 42"),
    (nodes, _OPERATE, "tidewire nodes"),
    (revoke, _LET_IN, "tidewire revoke --user 42"),
    (token, _LET_IN, "tidewire token --sub 42 --channel 'chat:*=subscribe,publish'"),
    (version, _OTHER, "tidewire version --json"),
):
    _put(command, app, panel, example)

keys = typer.Typer(rich_markup_mode="rich", no_args_is_help=True)
app.add_typer(
    keys,
    name="keys",
    rich_help_panel=_LET_IN,
    help="Make, list, replace and remove keys of back ends.",
)
for command, example in (
    (add, "tidewire keys add billing --scope publish,history --channel 'orders:*'"),
    (list_, "tidewire keys list"),
    (rotate, "tidewire keys rotate billing"),
    (remove, "tidewire keys remove billing"),
):
    _put(command, keys, None, example)
