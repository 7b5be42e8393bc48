"""Attacks by WebSocket frames: wrong ones, large ones, and far too many."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from itertools import cycle
from typing import TYPE_CHECKING

from tests.acceptance.raw_websocket import CLOSE, CONTINUATION, PING, PONG, TEXT, frame
from tests.acceptance.test_wrong_frames import WRONG_FRAMES, compressed
from tests.attacks.attack import MiB, attack

if TYPE_CHECKING:
    from tests.acceptance.raw_http import Headers
    from tests.attacks.target import Line, Target

DEFLATE: Headers = {"Sec-WebSocket-Extensions": "permessage-deflate"}
BOMB = 64 * MiB
MANY = 20


def close_code(line: Line) -> int:
    """The code with which the server closes; there is a close frame, and then nothing."""
    code = line.read_close().close_code
    assert line.ended
    return code


def history(target: Target, channel: str) -> list[object]:
    """What has been published in a channel of the attacker's."""
    answer = target.get(f"/history?channel={channel}", target.bearer())
    assert answer.status == 200, answer
    messages: list[object] = answer.json()["messages"]
    return messages


@attack("closed with 1002; nothing of it is carried out")
def unmasked_frames(target: Target) -> str:
    """Publishes in frames that are not masked, as proxies could be made to cache them."""
    channel = "mallory:" + target.unique("unmasked")
    command = json.dumps({"type": "publish", "channel": channel, "data": 1}).encode()
    count = 0
    for _ in target.flood(1):
        line = target.websocket()
        line.send(frame(TEXT, command, masked=False))
        assert close_code(line) == 1002
        line.socket.close()
        count += 1
        if count == 100:
            break
    assert history(target, channel) == []
    return f"{count} × 1002"


@attack("closed with the code that RFC 6455 has for it: 1002, 1007 or 1009")
def wrong_frames(target: Target) -> str:
    """Frames with reserved bits and opcodes, broken UTF-8, false lengths, bad close codes."""
    codes: Counter[int] = Counter()
    for name, (data, code) in WRONG_FRAMES.items():
        line = target.websocket()
        line.send(data)
        assert close_code(line) == code, name
        line.socket.close()
        codes[code] += 1
    return ", ".join(f"{count} × {code}" for code, count in sorted(codes.items()))


@attack(
    "closed with 1009 by the frame's head alone: no memory is set aside", counts=("message_size",)
)
def declared_lengths(target: Target) -> str:
    """100 frames that announce more bytes than a message may have, up to 2^62, and send none."""
    lengths = cycle([1 << 20, 1 << 32, 1 << 62])
    lines = [target.websocket() for _ in range(100)]
    for line in lines:
        line.send(frame(TEXT, b"", declared=next(lengths)))
    for line in lines:
        assert close_code(line) == 1009
    return "100 × 1009"


@attack("nothing is set aside for what has not come")
def announced_messages(target: Target) -> str:
    """100 frames that announce as many bytes as a message may have, and send none of them."""
    lines = [target.websocket() for _ in range(100)]
    for line in lines:
        line.send(frame(TEXT, b"x", declared=65_536))
    assert target.get("/readyz").status == 200
    assert not any(line.is_over() for line in lines)
    return "100 connections wait"


@attack("closed with 1009 at `max_fragments`, however small they are", counts=("fragments",))
def fragment_bombs(target: Target) -> str:
    """Messages in fragments without end: of no bytes, of one, and with pings between."""
    kinds = [
        frame(CONTINUATION, b"", fin=False) * 1_000,
        frame(CONTINUATION, b"x", fin=False) * 1_000,
        (frame(CONTINUATION, b"", fin=False) * 200 + frame(PING, b"")) * 5,
    ]
    for data in kinds * 5:
        line = target.websocket()
        line.send_until_refused(frame(TEXT, b"", fin=False) + data)
        assert close_code(line) == 1009
    return f"{5 * len(kinds)} × 1009"


@attack(
    "closed with 1009 as soon as it has inflated to more than a message may have",
    counts=("message_size",),
)
def deflate_bombs(target: Target) -> str:
    """64 KiB that inflate to 64 MiB, whole and in fragments; a bomb inside a bomb."""
    bomb = compressed(b" " * BOMB)
    inner = compressed(bomb)
    for _ in range(5):
        line = target.websocket(headers=DEFLATE)
        line.send_until_refused(frame(TEXT, bomb, rsv=4))
        assert close_code(line) == 1009
        line = target.websocket(headers=DEFLATE)
        line.send_until_refused(
            frame(TEXT, bomb[:100], rsv=4, fin=False) + frame(CONTINUATION, bomb[100:])
        )
        assert close_code(line) == 1009
        line = target.websocket(headers=DEFLATE)
        line.send_until_refused(frame(TEXT, inner, rsv=4))
        assert close_code(line) in (1007, 1009)
    return f"15 bombs of {len(bomb):,} bytes"


@attack("no window is kept between messages: an idle connection costs what it costs without")
def deflate_windows(target: Target) -> str:
    """200 connections ask for compression with contexts and windows of 32 KiB both ways."""
    offer = "permessage-deflate; client_max_window_bits=15; server_max_window_bits=15"
    compressor = zlib.compressobj(wbits=-15)
    text = compressor.compress(b'{"type":"ping","ref":1}') + compressor.flush(zlib.Z_SYNC_FLUSH)
    for _ in range(200):
        line = target.connect()
        answer = line.handshake(
            "/ws?channels=mallory:a", target.bearer() | {"Sec-WebSocket-Extensions": offer}
        )
        if answer.status == 503:  # too many at once
            continue
        agreed = answer.headers["sec-websocket-extensions"]
        assert "server_no_context_takeover" in agreed, agreed
        assert "client_no_context_takeover" in agreed, agreed
        line.send(frame(TEXT, text[:-4], rsv=4))
        assert line.read_envelope()["type"] == "ready"
        assert line.read_envelope() == {"type": "ok", "ref": 1}
    return "200 connections hold no window"


def _controls(target: Target, opcode: int) -> str:
    """Send control frames as fast as they are taken, on several connections after one another."""
    flood = frame(opcode, b"x" * 125) * 500
    for _ in range(5):
        line = target.websocket()
        for _ in target.flood(0.5):
            if not line.send_until_refused(flood):
                break
        assert line.read_close().close_code == 4429
    return "5 × 4429"


@attack("closed with 4429 past `max_control_rate`; pongs do not queue", counts=("control_rate",))
def ping_flood(target: Target) -> str:
    """Pings of 125 bytes as fast as they are taken."""
    return _controls(target, PING)


@attack("closed with 4429 past `max_control_rate`", counts=("control_rate",))
def pong_flood(target: Target) -> str:
    """Pongs that nobody has asked for, as fast as they are taken."""
    return _controls(target, PONG)


@attack(
    "an error for each beyond `max_message_rate`; who goes on is closed with 4429",
    counts=("message_rate",),
)
def command_flood(target: Target) -> str:
    """Commands over a WebSocket as fast as they are taken."""
    flood = frame(TEXT, b'{"type":"ping","ref":1}') * 500
    for _ in range(5):
        line = target.websocket()
        for _ in target.flood(0.5):
            if not line.send_until_refused(flood):
                break
        assert line.read_close().close_code == 4429
    return "5 × 4429"


@attack("refused in an error or closed with 1009; a connection never has more than `max_channels`")
def subscribe_flood(target: Target) -> str:
    """Subscriptions to names of 60 kB and 1 MB, to control characters, globs, 10,000 channels."""
    names = [
        "x" * 60_000,
        "mallory:\x00",
        "mallory:\n",
        "mallory:*",
        "mallory:[a-z]",
        "",
        "mallory:é",
    ]
    line = target.websocket()
    for ref, name in enumerate(names):
        answer = line.command(type="subscribe", ref=ref, channels=[name])
        assert answer["type"] == "error", answer
    answer = line.command(
        type="subscribe", ref=100, channels=[f"mallory:{n}" for n in range(2_000)]
    )
    assert (answer["type"], answer["code"]) == ("error", "too_many_channels"), answer
    line.send_until_refused(
        frame(TEXT, json.dumps({"type": "subscribe", "channels": ["x" * MiB]}).encode())
    )
    assert close_code(line) == 1009
    full = target.websocket("channels=" + ",".join(f"mallory:{n}" for n in range(100)))
    answer = full.command(type="subscribe", ref=1, channels=["mallory:one-more"])
    assert (answer["type"], answer["code"]) == ("error", "too_many_channels"), answer
    return f"{len(names) + 3} refusals"


@attack("the session, its channels and its subscription end with each; nothing of it is kept")
def coming_and_going(target: Target) -> str:
    """WebSockets that open with 100 channels, subscribe to more, and close at once."""
    channels = ",".join(f"mallory:{n}" for n in range(99))
    count = 0
    for _ in target.flood():
        line = target.connect()
        answer = line.handshake(f"/ws?channels={channels}", target.bearer())
        if answer.status == 101:
            line.send(frame(TEXT, b'{"type":"subscribe","ref":1,"channels":["mallory:more"]}'))
            line.send(frame(CLOSE, b"\x03\xe8"))
            assert close_code(line) == 1000
            count += 1
        line.socket.close()
    return f"{count} came and went"


@attack("an error each; the log is not written to", counts=("rights",))
def foreign_commands(target: Target) -> str:
    """Commands for channels of others: publish, subscribe, history, and acknowledgements."""
    line = target.websocket()
    foreign = ["live:news", "secret:plans", "private:#victim", "!access", "!consumers"]
    refused = 0
    for channel in foreign:
        mixed = [{"channel": "mallory:a", "data": 1}, {"channel": channel, "data": 1}]
        commands: list[dict[str, object]] = [
            {"type": "publish", "channel": channel, "data": 1},
            {"type": "publish", "messages": mixed},
            {"type": "subscribe", "channels": [channel, "mallory:b"]},
            {"type": "history", "channel": channel},
        ]
        for command in commands:
            if channel == "live:news" and command["type"] != "publish":
                continue  # that is everybody's to read
            answer = line.command(ref=refused, **command)
            assert answer["type"] == "error", (command, answer)
            refused += 1
    return f"{refused} refusals"
