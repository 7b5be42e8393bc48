"""A progress bar on standard error, one line high, for people only."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import rich.progress

_CLEAR_LINE = "\r\x1b[2K"


class Progress:
    """Shows how many messages are published, and how much of a file of known size."""

    def __init__(self, total: int | None, *, shown: bool) -> None:
        """*total* is in bytes, ``None`` if the end is not known. Off a terminal nothing shows."""
        self._total = total
        self._shown = shown and sys.stderr.isatty()
        self._bar: rich.progress.Progress | None = None
        self._count = 0

    def __enter__(self) -> Self:
        if self._shown:
            from rich.progress import (
                BarColumn,
                Progress,
                SpinnerColumn,
                TaskProgressColumn,
                TextColumn,
                TimeElapsedColumn,
            )

            from tidewire.cli.terminal import stderr

            measure = (
                [SpinnerColumn()] if self._total is None else [BarColumn(), TaskProgressColumn()]
            )
            self._bar = Progress(
                *measure,
                TextColumn("{task.fields[count]:,} messages"),
                TimeElapsedColumn(),
                console=stderr(),
                # Drawn when there is news; so it never comes between the lines of the answers.
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total, count=0)
            self._bar.refresh()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, messages: int, size: int) -> None:
        """That many messages more, of *size* bytes of input together."""
        if self._bar is not None:
            self._count += messages
            self._bar.update(self._task, advance=size, count=self._count, refresh=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While something else is printed, which may be on the same terminal."""
        if self._bar is not None and sys.stdout.isatty():
            sys.stderr.write(_CLEAR_LINE)
            sys.stderr.flush()
        yield
