"""Envelopes as WebSocket frames: what one client's subprotocol and extensions make of them."""

from __future__ import annotations

from tidewire.model import Message
from tidewire.model.envelope import Control, encode_control
from tidewire.model.payload import text_of
from tidewire.transports.framing import TEXT, deflate, frame

SUBPROTOCOLS = {"tidewire.v1.json": False, "tidewire.v1.json.batch": True}

DEFLATE_FROM = 256  # bytes below which deflating costs more than it saves


class Frames:
    """The form of envelopes as text frames.

    *batch*: a frame holds an array of envelopes. *raw*: a message is its data alone.
    *window_bits*: messages of a size worth it are deflated with this window; 0 for none.
    """

    __slots__ = ("_batch", "_plain", "_raw", "_window_bits")

    def __init__(self, *, batch: bool, raw: bool, window_bits: int) -> None:
        self._batch = batch
        self._raw = raw
        self._window_bits = window_bits
        self._plain = not raw and not window_bits

    def messages(self, messages: list[Message]) -> bytes:
        if self._batch:
            return self._frame(
                b"[%b]" % b",".join([self._payload(message) for message in messages])
            )
        if len(messages) == 1:
            return self._message(messages[0])
        return b"".join([self._message(message) for message in messages])

    def _message(self, message: Message) -> bytes:
        forms = message.forms
        if forms is None:
            forms = message.forms = {}
        elif (made := forms.get(self)) is not None:
            return made
        plain = self._plain
        data = frame(TEXT, message.envelope) if plain else self._frame(self._payload(message))
        forms[self] = data
        return data

    def _payload(self, message: Message) -> bytes:
        if not self._raw or message.gap is not None:
            return message.envelope
        if message.binary:
            return message.data if self._batch else message.data[1:-1]
        if self._batch or (text := text_of(message.data)) is None:
            return message.data
        return text.encode()

    def _frame(self, payload: bytes) -> bytes:
        if self._window_bits and len(payload) >= DEFLATE_FROM:
            return frame(TEXT, deflate(payload, self._window_bits), compressed=True)
        return frame(TEXT, payload)

    def control(self, envelope: Control, cursor: str = "") -> bytes:
        payload = encode_control(envelope)
        return frame(TEXT, b"[%b]" % payload if self._batch else payload)


_FORMS: dict[tuple[bool, bool, int], Frames] = {}


def frames_form(*, batch: bool, raw: bool, window_bits: int) -> Frames:
    """The one object of each form, so that equal connections share an audience."""
    key = (batch, raw, window_bits)
    return _FORMS.get(key) or _FORMS.setdefault(
        key, Frames(batch=batch, raw=raw, window_bits=window_bits)
    )
