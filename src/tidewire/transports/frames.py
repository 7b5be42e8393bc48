"""Envelopes as WebSocket frames: what one client's subprotocol and extensions make of them."""

from __future__ import annotations

from tidewire.model import Message
from tidewire.model.envelope import Control
from tidewire.model.message import joined
from tidewire.transports.codecs import JSON, Codec
from tidewire.transports.fragments import WHOLE
from tidewire.transports.framing import TEXT, deflate, message_frames

DEFLATE_FROM = 256  # bytes below which deflating costs more than it saves


class Frames:
    """The form of envelopes as frames, written by *codec*.

    *batch*: a WebSocket message holds an array of envelopes. *raw*: a message is its data alone.
    *window_bits*: messages of a size worth it are deflated with this window; 0 for none. Larger
    payloads than *fragment_size* bytes go out in several frames, so that others can go between.
    """

    __slots__ = ("_batch", "_fragment_size", "_plain", "_raw", "_window_bits", "codec")

    def __init__(
        self,
        *,
        batch: bool,
        raw: bool,
        window_bits: int,
        codec: Codec = JSON,
        fragment_size: int = WHOLE,
    ) -> None:
        self.codec = codec
        self._batch = batch
        self._raw = raw
        self._window_bits = window_bits
        self._fragment_size = fragment_size
        self._plain = codec is JSON and not raw and not window_bits

    def messages(self, messages: list[Message]) -> bytes:
        if self._batch:
            return self._frame(self.codec.batch([self._payload(message) for message in messages]))
        if len(messages) == 1:
            return self._message(messages[0])
        return joined(messages, self, self._message)

    def _message(self, message: Message) -> bytes:
        forms = message.forms
        if forms is None:
            forms = message.forms = {}
        elif (made := forms.get(self)) is not None:
            return made
        if self._plain:
            data = message_frames(TEXT, message.envelope, self._fragment_size)
        else:
            data = self._frame(self._payload(message))
        forms[self] = data
        return data

    def _payload(self, message: Message) -> bytes:
        if self._raw and message.gap is None:
            return self.codec.raw(message, batch=self._batch)
        return self.codec.message(message)

    def _frame(self, payload: bytes) -> bytes:
        opcode, most = self.codec.opcode, self._fragment_size
        if self._window_bits and len(payload) >= DEFLATE_FROM:
            payload = deflate(payload, self._window_bits)
            return message_frames(opcode, payload, most, compressed=True)
        return message_frames(opcode, payload, most)

    def control(self, envelope: Control, cursor: str = "") -> bytes:
        payload = self.codec.control(envelope)
        if self._batch:
            payload = self.codec.batch([payload])
        return message_frames(self.codec.opcode, payload, self._fragment_size)


_FORMS: dict[tuple[bool, bool, int, Codec, int], Frames] = {}


def frames_form(
    *,
    batch: bool,
    raw: bool,
    window_bits: int,
    codec: Codec = JSON,
    fragment_size: int = WHOLE,
) -> Frames:
    """The one object of each form, so that equal connections share an audience."""
    key = (batch, raw, window_bits, codec, fragment_size)
    form = _FORMS.get(key)
    if form is None:
        form = _FORMS[key] = Frames(
            batch=batch,
            raw=raw,
            window_bits=window_bits,
            codec=codec,
            fragment_size=fragment_size,
        )
    return form
