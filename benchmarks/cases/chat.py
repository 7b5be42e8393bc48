"""Chat: a message comes in over WebSocket and goes out to 20 subscribers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from time import thread_time_ns
from typing import TYPE_CHECKING

from benchmarks.loadgen import stamp, wire
from benchmarks.meter import cpu_ns
from benchmarks.processes import LoadGenerator
from benchmarks.results import Figure, Outcome, check
from tidewire.model import Message
from tidewire.model.envelope import Ok
from tidewire.model.payload import check_depth
from tidewire.transports.commands import Publish, decode_command
from tidewire.transports.frames import frames_form
from tidewire.transports.framing import FrameParser, Text
from tidewire.transports.publish import Limits, drafts_of

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.loadgen.generator import Window

MOST_US = 3.0
SUBSCRIBERS = 20
RATE = 400.0
FIRST_ID = 1_795_392_012_345_678


@dataclass(frozen=True, slots=True)
class Round:
    """One window on one server."""

    us_per_message: float
    window: Window


def run(bench: Bench) -> Outcome:
    """The protocol's own work alone, and a whole server's CPU time beside the floor's."""
    outcome = Outcome()
    bench.say("parsing, decoding and encoding alone")
    cost = protocol_us(bench.rounds(7, 3))
    with bench.tidewire() as tidewire, bench.floor() as floor, LoadGenerator() as generator:
        servers = {"tidewire": tidewire, "floor": floor}
        for name, server in servers.items():
            generator.open(name, "ws", server, SUBSCRIBERS)
        generator.publish("tidewire", "ws", 3, RATE)

        def measure(name: str) -> Round:
            before = cpu_ns(servers[name].pid)
            window = generator.publish(
                name,
                "ws" if name == "tidewire" else "floor",
                bench.rounds(600, 400),
                RATE,
                like="tidewire",
            )
            used = cpu_ns(servers[name].pid) - before
            check(outcome, name, window)
            return Round(used / 1000 / window.publishes, window)

        rounds = bench.in_turn(
            ("floor", "tidewire"), bench.rounds(6, 2), measure, f"chat to {SUBSCRIBERS}"
        )
    whole, base = (median(r.us_per_message for r in rounds[name]) for name in ("tidewire", "floor"))
    outcome.figures = [
        Figure("parsing, decoding and encoding a chat message", cost, "µs", MOST_US, "<"),
        Figure(
            f"server CPU of a chat message to {SUBSCRIBERS}, beyond the floor's",
            median(
                t.us_per_message - f.us_per_message
                for t, f in zip(rounds["tidewire"], rounds["floor"], strict=True)
            ),
            "µs",
            basis=f"{whole:.1f} against {base:.1f} µs",
        ),
    ]
    outcome.details = {name: [asdict(r) for r in measured] for name, measured in rounds.items()}
    return outcome


def protocol_us(rounds: int, messages: int = 20_000) -> float:
    """The least µs, of some rounds, from a client's frame to the frame of its subscribers.

    Masked frame → command → checked draft → envelope → frame, and the answer to the publisher: all
    that is not the log, the hub or a system call. The least counts, as other work on the machine
    can only add to it.
    """
    command = (
        f'{{"type":"publish","ref":1,"channel":"bench","data":"{stamp.text(1, 0, 100)}"}}'.encode()
    )
    incoming = wire.frame(command)
    limits = Limits(message_size=1 << 20, json_depth=64)
    form = frames_form(batch=False, raw=False, window_bits=0)
    parser = FrameParser(max_size=1 << 20)
    times = []
    for _ in range(rounds):
        start = thread_time_ns()
        for number in range(messages):
            (event,) = parser.feed(incoming)
            assert type(event) is Text
            check_depth(event.data, limits.json_depth)
            publish = decode_command(event.data)
            assert type(publish) is Publish
            (draft,) = drafts_of(publish, limits)
            message = Message("q7Zf", FIRST_ID + number, draft.channel, number, 0, draft.data)
            form.messages([message])
            form.control(Ok(1, id="q7Zf-1795392012345678", channel="bench", seq=number))
        times.append((thread_time_ns() - start) / messages / 1000)
    return min(times)
