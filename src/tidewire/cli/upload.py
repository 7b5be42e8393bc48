"""``tidewire upload``"""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidewire.cli.options import Quiet
from tidewire.cli.server import Server, takes_server
from tidewire.cli.terminal import INTERRUPTED, UNUSABLE, JsonLines, OutputClosed, fail, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tidewire.client import Receipt


@takes_server
def upload(
    server: Server,
    channel: Annotated[
        str, typer.Argument(metavar="CHANNEL", help="The channel that is told of the file.")
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file.")],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default=False, help="Another name than the file has here."
        ),
    ] = None,
    content_type: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE", show_default=False, help="Media type. Default: by the file's name."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Upload a file in chunks, and print the receipt of the message that tells of it.

    When the connection breaks, or the server restarts, it goes on where it was; so does the same
    command when it is started again.
    """
    import msgspec

    from tidewire.cli.running import run
    from tidewire.client import ClientError, File, Unanswered
    from tidewire.client import upload as send

    receipts: list[Receipt] = []
    url, address, credentials = server.url, server.address, server.credentials()

    async def main(stop: Callable[[], None]) -> None:
        try:
            described = await File.of(file, channel, name=name, content_type=content_type)
        except OSError as error:
            fail(f"{file} cannot be read: {(error.strerror or str(error)).lower()}", UNUSABLE)
        with _progress(described.name, described.size, shown=not quiet) as (on_progress, on_line):

            def on_wait(delay: float, reason: str) -> None:
                on_line(f"{url}: {reason}; next attempt in {delay:.1f} s")

            receipts.append(
                await send(
                    address,
                    described,
                    credentials=credentials,
                    on_progress=on_progress,
                    on_wait=on_wait,
                )
            )

    try:
        if run(main).stopped:
            raise typer.Exit(INTERRUPTED)
    except Unanswered as error:
        fail(f"{url}: {error.reason}; the same command goes on where this one was")
    except ClientError as error:
        fail(f"{url}: {server.reason(error)}")
    with suppress(OutputClosed):
        JsonLines().write(msgspec.json.encode(receipts[0]))


@contextmanager
def _progress(
    name: str, size: int, *, shown: bool
) -> Iterator[tuple[Callable[[int], None], Callable[[str], None]]]:
    """What shows how far it is, and what says a line meanwhile; the bar is for terminals only."""
    if not shown or not sys.stderr.isatty():
        yield lambda kept: None, lambda text: say(text, "yellow") if shown else None
        return
    # Unlike the console of other lines this one knows its width, so that the bar stays one line.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.table import Column

    from tidewire.cli.terminal import printable

    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    bar = Progress(
        TextColumn(
            "{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
        ),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        expand=True,
    )
    with bar:
        task = bar.add_task(printable(name), total=size)
        yield (
            lambda kept: bar.update(task, completed=kept),
            lambda text: console.print(printable(text), style="yellow"),
        )
