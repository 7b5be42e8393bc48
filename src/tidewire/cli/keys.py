"""``tidewire keys``: the keys of back ends."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from tidewire.cli.options import settings_or_exit
from tidewire.cli.terminal import JsonLines, OutputClosed, fail, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidewire.access.api_keys_file import KeyEntry

_USUAL_FILE = Path("keys.toml")

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the key is called.")]
File = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        show_default=False,
        help=f"The file with the keys. Default: the setting api_keys_file, else {_USUAL_FILE}.",
    ),
]


def add(
    name: Name,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            show_default=False,
            help="What it may do: subscribe, publish, history, presence, ack, admin, metrics, "
            "tickets, or * for all; several with commas or again. Default: publish.",
        ),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            "--channel",
            metavar="PATTERN",
            show_default=False,
            help="Where it may do it: a channel, or a pattern such as orders:*; several with "
            "commas or again. Default: everywhere.",
        ),
    ] = None,
    file: File = None,
) -> None:
    """Make a key for a back end, and print it: this once, since only its hash is kept.

    A running server takes it within a second.
    """
    from tidewire.access.api_keys_file import (
        KeyEntry,
        check_channels,
        check_name,
        check_scopes,
        hash_of,
        new_key,
    )

    try:
        check_name(name)
        scopes = check_scopes(_parts(scope) if scope else ["publish"])
        channels = check_channels(_parts(channel or []))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    key = new_key()

    def put(entries: dict[str, KeyEntry]) -> None:
        if name in entries:
            raise ValueError(f"there is a key {name} already; choose another name, or rotate it")
        entries[name] = KeyEntry(hash_of(key), scopes, channels, _now())

    path = _change(file, put)
    _show(key, f"this is the key {name}, which is not shown again; {path} has its hash")


def list_(file: File = None) -> None:
    """Print what the file says of each key, one JSON object a line; the keys are not in it."""
    import msgspec

    from tidewire.access.api_keys_file import read_keys

    path = _path(file)
    try:
        entries = read_keys(path.read_bytes())
    except (OSError, ValueError) as error:
        _fail(path, error)
    output = JsonLines()
    try:
        for name, entry in entries.items():
            line: dict[str, object] = {
                "name": name,
                "scopes": entry.scopes,
                "channels": entry.channels,
                "created": entry.created,
                "old_key": entry.old_hash is not None,
            }
            output.write(msgspec.json.encode(line))
    except OutputClosed:
        return


def remove(name: Name, file: File = None) -> None:
    """Take a key away. A running server refuses it within a second."""

    def take(entries: dict[str, KeyEntry]) -> None:
        _known(entries, name)
        del entries[name]

    path = _change(file, take)
    say(f"the key {name} is no longer in {path}")


def rotate(
    name: Name,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="The second step: take the old key away.")
    ] = False,
    file: File = None,
) -> None:
    """Replace a key in two steps: print a new one beside the old; then, with --drop-old, end that.

    In between both are good, so that the back end can be given the new one without haste.
    """
    from tidewire.access.api_keys_file import hash_of, new_key

    key = new_key()

    def begin(entries: dict[str, KeyEntry]) -> None:
        entry = _known(entries, name)
        if entry.old_hash is not None:
            raise ValueError(f"{name} has an old key besides: take it away with --drop-old first")
        entries[name] = entry._replace(hash=hash_of(key), old_hash=entry.hash, created=_now())

    def end(entries: dict[str, KeyEntry]) -> None:
        entry = _known(entries, name)
        if entry.old_hash is None:
            raise ValueError(f"{name} has no old key; begin without --drop-old")
        entries[name] = entry._replace(old_hash=None)

    path = _change(file, end if drop_old else begin)
    if drop_old:
        say(f"the old key of {name} is no longer in {path}")
    else:
        _show(
            key,
            f"this is the new key {name}, which is not shown again; the old one is good until "
            f"tidewire keys rotate {name} --drop-old",
        )


def _known(entries: dict[str, KeyEntry], name: str) -> KeyEntry:
    if name not in entries:
        raise ValueError(f"there is no key {name}; tidewire keys list shows those that there are")
    return entries[name]


def _change(file: Path | None, change: Callable[[dict[str, KeyEntry]], None]) -> Path:
    from tidewire.access.api_keys_file import change_keys

    path = _path(file)
    try:
        change_keys(path, change)
    except (OSError, ValueError) as error:
        _fail(path, error)
    return path


def _path(file: Path | None) -> Path:
    if file is not None:
        return file
    return Path(settings_or_exit(None, {}).settings.api_keys_file or _USUAL_FILE)


def _fail(path: Path, error: OSError | ValueError) -> NoReturn:
    if isinstance(error, OSError):
        fail(f"{path}: {(error.strerror or str(error)).lower()}")
    fail(f"{path}: {error}")


def _show(key: str, note: str) -> None:
    typer.echo(key)
    say(note)


def _parts(given: list[str]) -> list[str]:
    return [part.strip() for text in given for part in text.split(",") if part.strip()]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
