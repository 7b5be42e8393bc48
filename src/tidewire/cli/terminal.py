"""What people see: messages on standard error, results on standard output."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from rich.console import Console

FAILED = 1
UNUSABLE = 2
INTERRUPTED = 130


def stderr() -> Console:
    """A console on standard error that prints text as it is: no markup, no wrapping."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """One line about what happens."""
    stderr().print(printable(text), style=style)


def fail(text: str, code: int = FAILED) -> NoReturn:
    """Say what is wrong and exit."""
    console = stderr()
    console.print("tidewire: ", style="bold red", end="")
    console.print(printable(text))
    raise typer.Exit(code)


def printable(text: str) -> str:
    """*text* without what would steer a terminal: it may come from a server."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


class OutputClosed(Exception):
    """Nobody reads standard output any more, as after ``| head -1``."""


class JsonLines:
    """Standard output, one JSON value a line, each there at once."""

    def __init__(self) -> None:
        if sys.stdout is None:  # started with >&-
            fail("standard output is closed")
        self._stream = sys.stdout.buffer
        self._watching: asyncio.AbstractEventLoop | None = None

    def write(self, json: bytes) -> None:
        """Print one JSON value.

        Raises:
            OutputClosed: if nobody reads any more; then nothing may be written again.
        """
        # The server sends one-line JSON; a proxy or another server need not.
        line = json.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in json else json
        try:
            self._stream.write(line + b"\n")
            self._stream.flush()
        except BrokenPipeError:
            # It is known now: nothing else is to be stopped for it, least of all the end itself.
            if self._watching is not None:
                self._watching.remove_reader(self._stream.fileno())
            discard_stdout()
            raise OutputClosed from None
        except OSError as error:
            discard_stdout()
            fail(f"standard output cannot be written: {(error.strerror or str(error)).lower()}")

    def watch(self, loop: asyncio.AbstractEventLoop, closed: Callable[[], None]) -> None:
        """Call *closed* when the reader of a pipe goes away, though nothing is being written."""
        descriptor = self._stream.fileno()
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):

            def gone() -> None:
                loop.remove_reader(descriptor)
                discard_stdout()
                closed()

            # The end that we write to is never readable; it wakes up for the error alone.
            loop.add_reader(descriptor, gone)
            self._watching = loop


def discard_stdout() -> None:
    """Let what is still buffered go nowhere, so that Python does not complain at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
