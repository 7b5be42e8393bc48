"""What one WebSocket may send a second, and what becomes of too much; by the test's own clock."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.transports.client import RETRY, Client, kinds
from tests.transports.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    ServerFrame,
    client_frame,
    server_frames,
    text,
)
from tests.transports.test_uploading import FakeIntake, command
from tests.transports.world import FakeWire, World
from tidewire.access.paces import paces_of
from tidewire.access.rates import Rate
from tidewire.model import Subscription
from tidewire.transports import pacing as pacing_module
from tidewire.transports.codecs import MSGPACK
from tidewire.transports.echo import Echo
from tidewire.transports.framing import FrameParser
from tidewire.transports.pacing import MOST_PONGS, Pacing

if TYPE_CHECKING:
    from collections.abc import Callable

NEWS = Subscription(("news",))


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refusals() -> Counter[str]:
    return Counter()


@pytest.fixture
def connect(world: World, clock: Clock, refusals: Counter[str]) -> Callable[..., Client]:
    """Connect a client that may send so much; it has read what came."""

    def connect(
        controls: float = 0, messages: float = 0, size: float = 0, **options: Any
    ) -> Client:
        rate = Rate(controls) if controls else None
        pacing = Pacing(refusals, rate, paces_of(messages, size), clock)
        client = Client(world, NEWS, pacing=pacing, **options)
        client.frames()
        return client

    return connect


def pings(count: int) -> list[bytes]:
    return [client_frame(PING, b"%d" % number) for number in range(count)]


# Pings and pongs


def test_pings_up_to_a_burst_and_not_one_more(
    connect: Callable[..., Client], refusals: Counter[str]
) -> None:
    client = connect(controls=10)
    client.feed(*pings(20))
    assert {frame.opcode for frame in client.frames()} == {PONG}
    client.feed(*pings(1))
    assert client.take() == [
        {"type": "close", "code": 4429, "reason": "too many control frames", "retry": RETRY},
        ["close", 4429],
    ]
    assert client.wire.done == ["linger"]
    assert refusals == {"control_rate": 1}


def test_pongs_count_too(connect: Callable[..., Client]) -> None:
    client = connect(controls=10)
    client.feed(*[client_frame(PONG)] * 20)
    assert client.take() == []
    client.feed(client_frame(PONG))
    assert client.take()[-1] == ["close", 4429]


def test_who_pings_at_the_rate_goes_on(connect: Callable[..., Client], clock: Clock) -> None:
    client = connect(controls=10)
    for _ in range(1_000):
        client.feed(*pings(1))
        clock.now += 0.1
    assert len(client.frames()) == 1_000


def test_messages_are_no_control_frames(connect: Callable[..., Client]) -> None:
    client = connect(controls=1)
    assert kinds(client.ask(*['{"type":"ping"}'] * 50)) == ["ok"] * 50


def test_without_a_rate_pings_have_no_limit(connect: Callable[..., Client]) -> None:
    client = connect()
    client.feed(*pings(5_000))
    assert {frame.opcode for frame in client.frames()} == {PONG}


def test_of_a_run_of_pings_the_newest_are_answered_at_once(
    connect: Callable[..., Client],
) -> None:
    client = connect()
    client.feed(*pings(100))
    assert len(client.wire.written) == 1
    newest = [ServerFrame(PONG, b"%d" % number) for number in range(100 - MOST_PONGS, 100)]
    assert client.frames() == newest


def test_a_few_pings_are_all_answered_in_their_place(connect: Callable[..., Client]) -> None:
    client = connect()
    first, second, third = pings(3)
    client.feed(first, text('{"type":"ping","ref":1}'), second, third, text('{"type":"ping"}'))
    assert [frame.opcode for frame in client.frames()] == [PONG, TEXT, PONG, PONG, TEXT]


def test_a_ping_within_a_message_is_answered_before_it(connect: Callable[..., Client]) -> None:
    client = connect()
    client.feed(
        client_frame(TEXT, b'{"type":', fin=False),
        client_frame(PING, b"!"),
        client_frame(CONTINUATION, b'"ping"}'),
    )
    assert [frame.opcode for frame in client.frames()] == [PONG, TEXT]


def test_what_is_behind_too_many_is_not_even_parsed(connect: Callable[..., Client]) -> None:
    client = connect(controls=10)
    client.feed(*pings(20_000), client_frame(3))  # the last one would be a protocol error
    assert client.take()[-1] == ["close", 4429]


def test_a_close_among_pings(connect: Callable[..., Client]) -> None:
    client = connect(controls=10)
    client.feed(*pings(2), client_frame(CLOSE), *pings(100))
    assert [frame.opcode for frame in client.frames()] == [PONG, PONG, CLOSE]


def test_the_echo_has_the_same_limit(clock: Clock, refusals: Counter[str]) -> None:
    wire = FakeWire()
    stream = Echo(wire, FrameParser(max_size=1000), 0, Pacing(refusals, Rate(10.0), clock=clock))
    stream.feed(b"".join(pings(2)) + text("a") + b"".join(pings(18)))
    opcodes = [frame.opcode for frame in server_frames(wire.take())]
    assert opcodes == [PONG, PONG, TEXT, *[PONG] * MOST_PONGS]
    clock.now += 0.1
    stream.feed(client_frame(PONG) + client_frame(PING))
    (close,) = server_frames(wire.take())
    assert (close.opcode, close.payload[:2]) == (CLOSE, struct.pack("!H", 4429))
    assert wire.done == ["linger"]
    assert refusals == {"control_rate": 1}


# Messages and bytes


def publish(number: int, data: str = "1") -> str:
    return f'{{"type":"publish","ref":{number},"channel":"other","data":{data}}}'


def test_commands_up_to_a_burst_and_not_one_more(
    connect: Callable[..., Client], refusals: Counter[str]
) -> None:
    client = connect(messages=10)
    answers = client.ask(*(publish(number) for number in range(21)))
    assert kinds(answers) == ["ok"] * 20 + ["error"]
    assert answers[-1] == {
        "type": "error",
        "ref": 20,
        "code": "too_many_requests",
        "message": "send at most 10 messages a second, 20 at once: wait 0.1 s",
    }
    assert refusals == {"message_rate": 1}


def test_what_is_refused_is_not_done(connect: Callable[..., Client], clock: Clock) -> None:
    client = connect(messages=10)
    client.ask(*(publish(number) for number in range(25)))
    clock.now += 1.0
    (answer,) = client.ask(publish(99))
    assert (answer["ref"], answer["seq"]) == (99, 21)


def test_bytes_up_to_a_burst_and_no_more(
    connect: Callable[..., Client], refusals: Counter[str]
) -> None:
    client = connect(size=1_000)
    answers = client.ask(*(publish(number, '"' + "x" * 600 + '"') for number in range(4)))
    assert kinds(answers) == ["ok"] * 3 + ["error"]
    assert refusals == {"byte_rate": 1}


def test_a_batch_is_as_many_messages_as_it_has(
    connect: Callable[..., Client], clock: Clock
) -> None:
    client = connect(messages=5)
    message = {"channel": "other", "data": 1}
    assert kinds(client.ask({"type": "publish", "ref": 1, "messages": [message] * 20})) == ["ok"]
    assert not client.reads()  # no one is told to wait: it is read no further for a while
    clock.now += 2.1
    client.world.turn()


def test_who_goes_on_is_sent_away(connect: Callable[..., Client], refusals: Counter[str]) -> None:
    client = connect(messages=10)
    answers = client.ask(*(publish(number) for number in range(20 + 51)))
    assert kinds(answers) == ["ok"] * 20 + ["error"] * 51
    assert client.wire.done == [
        "end 4429 send at most 10 messages a second, 20 at once: wait 0.1 s"
    ]
    assert refusals == {"message_rate": 51}


def test_who_waits_as_told_goes_on(connect: Callable[..., Client], clock: Clock) -> None:
    client = connect(messages=10)
    for _ in range(50):
        answers = client.ask(*(publish(number) for number in range(25)))
        assert kinds(answers)[:20] == ["ok"] * 20
        clock.now += 2.0
    assert client.wire.done == []


def test_without_a_pace_there_is_no_limit(connect: Callable[..., Client]) -> None:
    client = connect(controls=1)
    assert kinds(client.ask(*(publish(number) for number in range(500)))) == ["ok"] * 500


def test_a_command_that_is_none_counts(connect: Callable[..., Client]) -> None:
    client = connect(messages=1)
    codes = [answer["code"] for answer in client.ask("nonsense", "nonsense", "nonsense")]
    assert codes == ["malformed", "malformed", "too_many_requests"]


# Uploads: read more slowly instead of being refused


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> list[float]:
    """The pauses in reading, during which the clock moves on."""
    slept: list[float] = []

    class Asyncio:
        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)
            clock.now += seconds
            await asyncio.sleep(0)

    monkeypatch.setattr(pacing_module, "asyncio", Asyncio())
    return slept


def chunk(offset: int, data: bytes) -> bytes:
    return client_frame(BINARY, struct.pack("!IQ", 1, offset) + data)


def test_a_file_is_read_no_faster_than_its_pace(
    connect: Callable[..., Client], sleeps: list[float], refusals: Counter[str]
) -> None:
    client = connect(size=1_000, uploads=FakeIntake())
    client.ask(command(5_000))
    client.feed(chunk(0, b"x" * 5_000))
    assert not client.reads()
    client.world.turn()
    assert client.reads()
    assert client.take()[0] == {"type": "progress", "upload": "u1", "offset": 5_000}
    assert 3.0 < sum(sleeps) < 3.3
    assert max(sleeps) <= 1.0
    assert not refusals


def test_chunks_as_commands_are_not_refused_either(
    connect: Callable[..., Client], sleeps: list[float]
) -> None:
    client = connect(size=1_000, uploads=FakeIntake(), codec=MSGPACK)
    client.feed(client_frame(BINARY, msgspec.msgpack.encode(command(6_000))))
    client.world.turn()
    part = {"type": "chunk", "upload": 1, "data": b"x" * 3_000}
    for offset in (0, 3_000):
        client.feed(client_frame(BINARY, msgspec.msgpack.encode(part | {"offset": offset})))
        client.world.turn()
        assert client.reads()
    assert sum(sleeps) > 4.0


def test_a_pause_in_reading_ends_with_the_connection(
    connect: Callable[..., Client], sleeps: list[float]
) -> None:
    client = connect(size=1, uploads=FakeIntake())
    client.ask(command(10_000))
    client.feed(chunk(0, b"x" * 10_000))
    client.stream.lost()
    client.world.turn()
    assert sum(sleeps) <= 1.0
