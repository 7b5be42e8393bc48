"""What a client says of a file that it sends, and what becomes of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import msgspec

from tidewire.model import BadRequest, TooLarge
from tidewire.model.channel import check_target

_ID = re.compile(r"[!-~]{1,128}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TYPE = re.compile(r"[ -~]{1,255}", re.ASCII)


class Wanted(msgspec.Struct, frozen=True):
    """An upload as its client announces it.

    ``upload`` is the id that the client has chosen, by which it goes on after a cut; ``name`` is
    a label for people and never a path of ours. ``size`` is in bytes, ``sha256`` in hex. ``owner``
    is put before the id: it keeps users apart, so that nobody goes on with another's upload.
    """

    upload: str
    channel: str
    name: str
    size: int
    sha256: str
    content_type: str
    owner: str = ""

    @property
    def key(self) -> str:
        """What the upload is kept as."""
        return self.owner + self.upload


class Upload(NamedTuple):
    """A whole file, checked and in its place. ``path`` is absolute, ``size`` in bytes."""

    path: Path
    name: str
    size: int
    sha256: str
    content_type: str
    channel: str


class Published(msgspec.Struct, frozen=True):
    """The message that told of an upload: its cursor, and its place in the channel."""

    id: str
    seq: int


def check_wanted(wanted: Wanted, most: int) -> Wanted:
    """Return *wanted* if it may be uploaded; *most* bounds its size, in bytes.

    Raises:
        BadRequest: if a part of it may not be as it is.
        TooLarge: if the file is over the bound.
    """
    if not _ID.fullmatch(wanted.upload):
        raise _invalid("upload", "1 to 128 printable ASCII characters without spaces")
    check_target(wanted.channel)
    name = wanted.name
    if not 1 <= len(name) <= 255 or not name.isprintable() or "/" in name or "\\" in name:
        raise _invalid("name", "1 to 255 printable characters without slashes")
    if name in (".", ".."):
        raise _invalid("name", "a name that stands for a file")
    if not _SHA256.fullmatch(wanted.sha256):
        raise _invalid("sha256", "the file's SHA-256 as 64 lower-case hex digits")
    if not _TYPE.fullmatch(wanted.content_type):
        raise _invalid("content_type", "a media type of up to 255 ASCII characters")
    if wanted.size < 0:
        raise _invalid("size", "the file's size in bytes")
    if wanted.size > most:
        raise TooLarge(f"an upload may have {most} bytes, this one has {wanted.size}")
    return wanted


def _invalid(field: str, use: str) -> BadRequest:
    return BadRequest(f'"{field}" of an upload: use {use}', code="invalid_upload")
