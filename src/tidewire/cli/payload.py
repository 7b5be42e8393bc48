"""From what people type, and from files, to the data of a message."""

from __future__ import annotations

import base64
import mimetypes
from enum import Enum, auto
from typing import NamedTuple

import msgspec

_TEXTUAL = frozenset(
    {"application/javascript", "application/x-sh", "application/xml", "application/yaml"}
)


class Form(Enum):
    """How text becomes data."""

    AUTO = auto()
    """JSON if it is JSON, else a string."""
    JSON = auto()
    TEXT = auto()


class NotData(ValueError):
    """The text cannot be the data of a message; says why."""


class Data(NamedTuple):
    """JSON text; ``encoding`` is ``base64`` for binary."""

    json: msgspec.Raw
    encoding: str | None = None


def data_of_text(text: bytes, form: Form) -> Data:
    """The data that *text* stands for.

    Raises:
        NotData: if it is not UTF-8, or not JSON where it has to be.
    """
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotData(f"it is not UTF-8 (byte {error.start + 1})") from None
    if form is not Form.TEXT:
        try:
            # Checked, but sent as it was written: numbers keep their digits.
            msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            if form is Form.JSON:
                raise NotData(f"it is not JSON: {error}") from None
        else:
            return Data(msgspec.Raw(text.strip()))
    return Data(msgspec.Raw(msgspec.json.encode(decoded)))


def data_of_file(name: str, content: bytes, form: Form) -> Data:
    """The data of a whole file: by its name's type, else text if it is text, else binary.

    Raises:
        NotData: if it is not what its type or *form* says.
    """
    if form is not Form.AUTO:
        return data_of_text(content, form)
    kind = mimetypes.guess_type(name)[0] or ""
    if kind == "application/json" or kind.endswith("+json"):
        return data_of_text(content, Form.JSON)
    if kind.startswith("text/") or kind in _TEXTUAL:
        return data_of_text(content, Form.TEXT)
    if not kind and b"\0" not in content:
        try:
            return data_of_text(content, Form.TEXT)
        except NotData:
            pass
    encoded = base64.b64encode(content).decode()
    return Data(msgspec.Raw(msgspec.json.encode(encoded)), "base64")
