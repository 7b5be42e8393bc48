"""Control envelopes: what the server says on a stream beside the messages."""

from __future__ import annotations

from typing import Any

import msgspec


class Ready(msgspec.Struct, tag="ready", tag_field="type", omit_defaults=True):
    """First on every stream. ``id`` is the cursor from which the stream goes on.

    On a quiet stream the client hears from the server every ``heartbeat`` ms. Where the server
    waits for an answer to that, ``timeout`` is how long, in ms. 0: not said.
    """

    id: str
    session: str
    recovered: bool
    channels: tuple[str, ...]
    heartbeat: int = 0
    timeout: int = 0


class GapNotice(msgspec.Struct, tag="gap", tag_field="type", omit_defaults=True):
    """Messages of a channel are gone; ``id`` is a right cursor after the gap."""

    id: str
    channel: str
    reason: str
    skipped: int = 0


class Close(msgspec.Struct, tag="close", tag_field="type", omit_defaults=True):
    """Last on a stream that the server ends; without ``retry`` (ms) do not reconnect."""

    code: int
    reason: str
    retry: int | None = None


class Ok(msgspec.Struct, tag="ok", tag_field="type", omit_defaults=True):
    """A command was carried out. Which fields it has depends on the command."""

    ref: int | str | None = None
    id: str | None = None
    channel: str | None = None
    seq: int | None = None
    channels: tuple[str, ...] | None = None
    cursor: str | None = None
    more: bool | None = None
    gaps: list[dict[str, str]] | None = None
    messages: list[Any] | None = None
    results: list[dict[str, Any]] | None = None
    upload: str | None = None
    number: int | None = None
    offset: int | None = None
    expires: float | None = None
    count: int | None = None
    members: list[dict[str, Any]] | None = None
    next: str | None = None


class Error(msgspec.Struct, tag="error", tag_field="type", omit_defaults=True):
    """A command was refused; the connection goes on."""

    code: str
    message: str
    ref: int | str | None = None
    upload: str | None = None
    offset: int | None = None


class Progress(msgspec.Struct, tag="progress", tag_field="type"):
    """The first ``offset`` bytes of an upload are safely kept."""

    upload: str
    offset: int


Control = Ready | GapNotice | Close | Ok | Error | Progress

encode_control = msgspec.json.Encoder().encode
