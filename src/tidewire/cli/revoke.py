"""``tidewire revoke``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tidewire.cli.options import Quiet
from tidewire.cli.server import Server, takes_server
from tidewire.cli.terminal import say

if TYPE_CHECKING:
    from tidewire.client import Revocable


@takes_server
def revoke(
    server: Server,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            show_default=False,
            help="A user: every token that it was given up to now is refused.",
        ),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(
            metavar="ID", show_default=False, help="One connection, by the session that it has."
        ),
    ] = None,
    token_id: Annotated[
        str | None,
        typer.Option(
            "--token-id", metavar="JTI", show_default=False, help="One token, by its claim jti."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Let a user, a session or a token in no more, and end its connections.

    The server has kept that when the command ends, and connections end within a second, on every
    server of the log. It takes a key with the scope admin.
    """
    from tidewire.cli.asking import ask

    options: dict[Revocable, str | None] = {"user": user, "session": session, "token": token_id}
    given = [(what, name) for what, name in options.items() if name is not None]
    if len(given) != 1:
        raise typer.BadParameter("say what to revoke by one of --user, --session and --token-id")
    [(what, name)] = given
    ask(server, lambda asked: asked.revoke(what, name), quiet=quiet)
    if not quiet:
        say(f"revoked: {what} {name}", "green")
