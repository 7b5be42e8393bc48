"""``tidewire pub``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidewire.cli.payload import Data, Form, NotData, data_of_file, data_of_text
from tidewire.cli.server import Server, takes_server
from tidewire.cli.terminal import INTERRUPTED, UNUSABLE, fail, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidewire.cli.publishing import To


@takes_server
def pub(
    server: Server,
    channel: Annotated[
        str | None,
        typer.Argument(
            metavar="CHANNEL",
            show_default=False,
            help="The channel; left out with --channel, --user or --all.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="What to publish: JSON if it is JSON, else a string. "
            "Without it, or with -, every line of standard input is a message.",
        ),
    ] = None,
    channels: Annotated[
        list[str] | None,
        typer.Option(
            "--channel",
            show_default=False,
            metavar="CHANNEL",
            help="Publish to this channel; may be repeated: all get it in one step, or none.",
        ),
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(
            show_default=False,
            metavar="ID",
            help="Publish to this user, on all devices; may be repeated.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(show_default=False, metavar="NAME", help="Of the one --user: this device."),
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Publish to everybody.")] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            metavar="FILE",
            help="Publish a whole file as one message: JSON, text or binary, by its type.",
        ),
    ] = None,
    as_json: Annotated[
        bool | None,
        typer.Option(
            "--json/--text", show_default=False, help="Take the data as JSON, or as a string."
        ),
    ] = None,
    event: Annotated[
        str | None, typer.Option(show_default=False, metavar="TYPE", help="Type of the message.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            show_default=False,
            metavar="KEY",
            help="Idempotency key: the server takes a message with the same key once. "
            "Lines get KEY:1, KEY:2 and so on. Without it, each message has one of its own.",
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(show_default=False, metavar="NAME=VALUE", help="A header; may be repeated."),
    ] = None,
    ttl: Annotated[
        float | None,
        typer.Option(
            show_default=False,
            metavar="SECONDS",
            help="Time to live: after it, readers get a gap in place of the message.",
        ),
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(
            show_default=False,
            metavar="N",
            help="Publish nothing unless N is above every version published in the channel; "
            "the answer is then that of the newest.",
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(min=0, max=100, metavar="SECONDS", help="Give up a publish after this time."),
    ] = 30,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print neither answers nor progress.")
    ] = False,
) -> None:
    """Publish a message, a file, or lines; print the server's answers, one JSON object a line.

    A publish that fails is tried again with the same idempotency key, so an answer that got lost
    never makes a second message.
    """
    from tidewire.cli.publishing import Answers, LinePublisher, LinesFailed, Template
    from tidewire.cli.running import run
    from tidewire.client import ClientError, Publisher, Unanswered, open_http

    to, data = _recipients(channel, data, channels, user, device, everybody=everybody)
    one = _single(data, file, Form.AUTO if as_json is None else Form.JSON if as_json else Form.TEXT)
    if version is not None and not isinstance(one, Data):
        raise typer.BadParameter("one version is for one message: give DATA or --file")
    template = Template(to, event, _headers(header or []), key, ttl, version)
    answers = Answers(quiet=quiet)
    url, address, credentials = server.url, server.address, server.credentials()
    lines: LinePublisher | None = None

    def on_wait(delay: float, reason: str) -> None:
        if not quiet:
            say(f"{url}: {reason}; next attempt in {delay:.1f} s", "yellow")

    async def main(stop: Callable[[], None]) -> None:
        nonlocal lines
        async with open_http(address, credentials) as http:
            publisher = Publisher(http, address, within=timeout, on_wait=on_wait)
            if isinstance(one, Data):
                answers.print(await publisher.publish([template.publication(one)]))
            else:
                lines = LinePublisher(
                    publisher, template, one, answers, reason=server.reason, quiet=quiet
                )
                await lines.run()

    failure: str | None = None
    stopped = False
    try:
        stopped = run(main).stopped
    except LinesFailed as error:
        failure = str(error)
    except Unanswered as error:
        failure = (
            f"{url}: {error.reason}; gave up after {timeout:g} s, so it may have been published "
            "or not, and only publishing it again with the same --key is safe"
        )
    except ClientError as error:
        failure = f"{url}: {server.reason(error)}"
    if lines is not None and not quiet:
        say(lines.summary())
    if failure is not None:
        fail(failure)
    if stopped:
        raise typer.Exit(INTERRUPTED)


def _recipients(
    channel: str | None,
    data: str | None,
    channels: list[str] | None,
    users: list[str] | None,
    device: str | None,
    *,
    everybody: bool,
) -> tuple[To, str | None]:
    """Where it goes, and the data, which is the first argument when an option says where."""
    from tidewire.cli.publishing import To

    ways = [way for way in (channels, users, everybody or None) if way]
    if device is not None and (users is None or len(users) != 1):
        raise typer.BadParameter("--device is a device of one --user")
    if not ways:
        if channel is None:
            raise typer.BadParameter("say where to: CHANNEL, --channel, --user or --all")
        return To(channel), data
    if len(ways) > 1:
        raise typer.BadParameter("give --channel, --user or --all, one of them")
    if data is not None:
        raise typer.BadParameter(f"an option says where it goes: {channel!r} is too much")
    some = tuple(channels) if channels else None
    to = To(None, some, tuple(users) if users else None, device, everybody)
    return to, channel


def _single(data: str | None, file: Path | None, form: Form) -> Data | Form:
    """The one message to publish, or the form of the lines that are."""
    try:
        if file is not None:
            if data is not None:
                raise typer.BadParameter("give DATA or --file, not both")
            return data_of_file(file.name, file.read_bytes(), form)
        if data is None or data == "-":
            return form
        return data_of_text(data.encode("utf-8", "surrogateescape"), form)
    except OSError as error:
        fail(f"{file} cannot be read: {(error.strerror or str(error)).lower()}", UNUSABLE)
    except NotData as error:
        fail(f"{file or 'DATA'} cannot be published: {error}", UNUSABLE)


def _headers(given: list[str]) -> dict[str, str] | None:
    headers = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise typer.BadParameter(
                f"{text!r} is not of the form NAME=VALUE", param_hint="--header"
            )
        headers[name] = value
    return headers or None
