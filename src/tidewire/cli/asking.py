"""One question to the server, asked again for a while if that does no harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import typer

from tidewire.cli.running import run
from tidewire.cli.terminal import INTERRUPTED, fail, say
from tidewire.client import Backoff, ClientError, Interrupted, Operations, open_http
from tidewire.client.backoff import retry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tidewire.cli.server import Server

T = TypeVar("T")

WITHIN = 30.0


def ask(
    server: Server,
    question: Callable[[Operations], Awaitable[T]],
    *,
    quiet: bool,
    again: bool = True,
) -> T:
    """The answer. With *again* the question is repeated for up to :data:`WITHIN` seconds.

    A refusal, no answer, and Ctrl-C end the program.
    """
    answers: list[T] = []
    url, address, credentials = server.url, server.address, server.credentials()

    def on_wait(delay: float, reason: str) -> None:
        if not quiet:
            say(f"{url}: {reason}; next attempt in {delay:.1f} s", "yellow")

    async def main(stop: Callable[[], None]) -> None:
        async with open_http(address, credentials) as http:
            operations = Operations(http, address)
            if not again:
                answers.append(await question(operations))
                return
            answers.append(
                await retry(
                    lambda: question(operations),
                    within=WITHIN,
                    backoff=Backoff(),
                    on_wait=on_wait,
                )
            )

    try:
        if run(main).stopped:
            raise typer.Exit(INTERRUPTED)
    except Interrupted as error:
        fail(f"{url}: {error.reason}; it may have been done or not, so look before you try again")
    except ClientError as error:
        fail(f"{url}: {server.reason(error)}")
    return answers[0]
