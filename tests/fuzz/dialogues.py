"""Fuzzed: commands, as bytes in each codec, and carried out on a hub; what clients decode."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

from tests.fuzz.pieces import is_sentence, numbers, pieces
from tests.transports.client import Client
from tests.transports.frames import BINARY, CLOSE, TEXT, head, server_frames
from tests.transports.world import World
from tidewire.client.envelope import parse_envelope, parse_packed
from tidewire.client.errors import ClientError
from tidewire.client.eventsource import EventDecoder, ServerEvent, TooMuchData
from tidewire.model import Subscription, TidewireError
from tidewire.transports.codecs import JSON, MSGPACK, PROTOBUF
from tidewire.transports.codecs.schema import Envelope
from tidewire.transports.commands import Chunk, Command, Upload
from tidewire.uploads import Wanted, check_wanted, parse_chunk

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_DEPTH = 8
CODECS = (JSON, MSGPACK, PROTOBUF)
BETWEEN = b"\n--\n"
"""Stands between the commands of an input."""


def commands(data: bytes) -> None:
    """In every codec bytes are a command or a bad request."""
    (which,), body = numbers(data, 1)
    codec = CODECS[which % len(CODECS)]
    if codec is JSON and not is_text(body):
        return  # the frame parser has refused it
    assert isinstance(codec.ref_of(body), int | str | None)
    try:
        command: Command = codec.command(body, MOST_DEPTH)
        if isinstance(command, Upload):
            names = ("upload", "channel", "name", "size", "sha256", "content_type")
            check_wanted(Wanted(*(getattr(command, name) for name in names)), 1000)
        elif isinstance(command, Chunk):
            parse_chunk(command.data)
    except TidewireError as error:
        check_refusal(error)


def check_refusal(error: TidewireError) -> None:
    """It is the sender's mistake, and said in some words."""
    assert error.status < 500
    assert is_sentence(error.detail)


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def dialogues(data: bytes) -> None:
    """A connection carries out its commands or refuses them; nothing fails, nor the hub behind."""
    (which,), rest = numbers(data, 1)
    codec = CODECS[which % len(CODECS)]
    parts = rest.split(BETWEEN)[:8]
    if codec is JSON and not is_text(rest):
        return
    loop = asyncio.new_event_loop()
    try:
        world = World(loop)
        client = Client(world, Subscription(("news",)), codec=codec)
        client.feed(*(frame(TEXT if codec is JSON else BINARY, part) for part in parts))
        world.turn(40)
        for one in server_frames(client.wire.take()):
            assert one.opcode != CLOSE
            if codec is JSON:
                assert json.loads(one.text)["type"]
            elif codec is MSGPACK:
                parse_packed(one.payload)
            else:
                assert Envelope.FromString(one.payload).WhichOneof("envelope")
        world.end()
    finally:
        loop.close()


def frame(opcode: int, payload: bytes) -> bytes:
    """A frame of a client whose mask changes nothing."""
    return head(opcode, len(payload), mask=b"\0\0\0\0") + payload


def clients(data: bytes) -> None:
    """A client's decoders take what any server sends, or say that it is none of ours."""
    (which,), body = numbers(data, 1)
    if which < 64:
        assert events_of(pieces(body, which)) == events_of([body])
        return
    with contextlib.suppress(ClientError):
        (parse_envelope if which % 2 else parse_packed)(body)


def events_of(parts: Iterable[bytes]) -> list[ServerEvent | str | int | None]:
    """What an EventSource dispatches, with its id and delay at the end."""
    decoder = EventDecoder(max_size=200)
    found: list[ServerEvent | str | int | None] = []
    try:
        for part in parts:
            found += decoder.feed(part)
    except TooMuchData:
        return []  # what came before it in the same piece is lost
    assert "\0" not in decoder.last_event_id
    return [*found, decoder.last_event_id, decoder.retry]
