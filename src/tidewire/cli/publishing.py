"""Publishing lines in batches, with progress, and naming the line that the server did not take."""

from __future__ import annotations

import os
import stat
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tidewire.cli.lines import Line, LineTooLong, read_lines
from tidewire.cli.payload import Data, Form, NotData, data_of_text
from tidewire.cli.progress import Progress
from tidewire.cli.terminal import JsonLines, OutputClosed, say
from tidewire.client import Publication, Publisher, Receipt, Refused, Unanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tidewire.client import ClientError

BATCH_MESSAGES = 1000
BATCH_BYTES = 1 << 20
_STDIN = 0
# A batch is refused whole for one of its messages, or for the size of all of them.
_DIVIDED = frozenset({400, 413})


class LinesFailed(Exception):
    """Publishing stopped; the text says at which lines and why."""


class To(NamedTuple):
    """Where the messages of a command go: one of these."""

    channel: str | None = None
    channels: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None
    device: str | None = None
    everybody: bool = False

    def __str__(self) -> str:
        if self.users is not None:
            of = "" if self.device is None else f" on {self.device}"
            return f"{'user' if len(self.users) == 1 else 'users'} {', '.join(self.users)}{of}"
        if self.everybody:
            return "everybody"
        return self.channel or ", ".join(self.channels or ())


class Template(NamedTuple):
    """What all messages of one command have in common."""

    to: To
    event: str | None
    headers: dict[str, str] | None
    key: str | None
    ttl: float | None = None
    version: int | None = None

    def publication(self, data: Data, number: int | None = None) -> Publication:
        """A message with *data*; *number* tells apart the keys of several."""
        key = self.key if self.key is None or number is None else f"{self.key}:{number}"
        to = self.to
        single = to.users[0] if to.users is not None and len(to.users) == 1 else None
        return Publication(
            to.channel,
            data.json,
            self.event,
            self.headers,
            key,
            data.encoding,
            self.ttl,
            self.version,
            to.channels,
            single,
            to.device,
            None if single is not None else to.users,
            to.everybody,
        )


class Answers:
    """The server's receipts on standard output, for as long as somebody reads them."""

    def __init__(self, *, quiet: bool) -> None:
        self._output = None if quiet else JsonLines()

    def print(self, receipts: Sequence[Receipt]) -> None:
        """One line each. When the reader is gone, publishing goes on without."""
        if self._output is not None:
            try:
                for receipt in receipts:
                    self._output.write(msgspec.json.encode(receipt))
            except OutputClosed:
                self._output = None


class LinePublisher:
    """Publishes standard input line by line, in its order, whatever is there as one batch."""

    def __init__(
        self,
        publisher: Publisher,
        template: Template,
        form: Form,
        answers: Answers,
        *,
        reason: Callable[[ClientError], str],
        quiet: bool,
    ) -> None:
        """*reason* says what is to be told of a refusal."""
        self.count = 0
        self._reason = reason
        self._publisher = publisher
        self._template = template
        self._form = form
        self._answers = answers
        self._quiet = quiet
        self._began = time.monotonic()

    async def run(self) -> None:
        """Publish until the input ends.

        Raises:
            LinesFailed: at the first line that cannot be published; all before it were.
        """
        try:
            status = os.fstat(_STDIN)
            if not self._quiet and sys.stdin.isatty():
                say("each line is a message; Ctrl-D ends", "dim")
            size = status.st_size if stat.S_ISREG(status.st_mode) else None
            with Progress(size, shown=not self._quiet and not sys.stdin.isatty()) as progress:
                async for lines in read_lines(_STDIN):
                    await self._publish_lines(lines, progress)
        except LineTooLong as error:
            raise LinesFailed(str(error)) from error
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise LinesFailed(f"standard input cannot be read: {reason}") from error

    def summary(self) -> str:
        """How many messages were published, and how fast."""
        took = time.monotonic() - self._began
        noun = "message" if self.count == 1 else "messages"
        rate = f", {self.count / took:,.0f}/s" if self.count > 1 else ""
        return f"published {self.count:,} {noun} to {self._template.to} in {took:.2f} s{rate}"

    async def _publish_lines(self, lines: Sequence[Line], progress: Progress) -> None:
        batch: list[tuple[Line, Publication]] = []
        size = 0
        for line in lines:
            if not line.text.strip() and self._form is not Form.TEXT:
                continue  # a blank line is no JSON, and seldom meant as a message
            try:
                data = data_of_text(line.text, self._form)
            except NotData as error:
                await self._publish(batch, progress)
                raise LinesFailed(f"line {line.number}: {error}") from error
            batch.append((line, self._template.publication(data, line.number)))
            size += len(line.text)
            if len(batch) >= BATCH_MESSAGES or size >= BATCH_BYTES:
                await self._publish(batch, progress)
                batch = []
                size = 0
        await self._publish(batch, progress)

    async def _publish(self, batch: Sequence[tuple[Line, Publication]], progress: Progress) -> None:
        if not batch:
            return
        first, last = batch[0][0].number, batch[-1][0].number
        where = f"line {first}" if first == last else f"lines {first} to {last}"
        try:
            receipts = await self._publisher.publish([publication for _, publication in batch])
        except Refused as error:
            if error.status in _DIVIDED and len(batch) > 1:
                # Down to the very line, with those before it published.
                middle = len(batch) // 2
                await self._publish(batch[:middle], progress)
                await self._publish(batch[middle:], progress)
                return
            raise LinesFailed(f"{where}: {self._reason(error)}") from error
        except Unanswered as error:
            raise LinesFailed(
                f"{where}: {error.reason}; they may have been published or not, and only "
                "publishing them again with the same --key is safe"
            ) from error
        self.count += len(batch)
        with progress.paused():
            self._answers.print(receipts)
        progress.advance(len(batch), sum(len(line.text) + 1 for line, _ in batch))
