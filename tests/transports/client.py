"""A client of a WebSocket whose connection is a list of bytes."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.transports.frames import CLOSE, TEXT, ServerFrame, client_frame, server_frames, text
from tests.transports.world import FakeWire, World
from tidewire.hub import Session, State, Terms
from tidewire.model import Subscription
from tidewire.transports.codecs import JSON, Codec
from tidewire.transports.dialogue import Rules
from tidewire.transports.fragments import WHOLE
from tidewire.transports.frames import frames_form
from tidewire.transports.framing import FrameParser
from tidewire.transports.gate import OPEN_GATE
from tidewire.transports.pacing import Pacing
from tidewire.transports.publish import Limits
from tidewire.transports.websocket import Heartbeat, WebSocket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tidewire.uploads import Intake

INTERVAL, TIMEOUT = 25.0, 10.0
START = 1000.0  # what the loop's clock says when the connection begins
RETRY = 777


class Client:
    """One connection after its handshake: at most 4 channels, 1,000 bytes, batches of 20."""

    def __init__(
        self,
        world: World,
        wanted: Subscription | None = None,
        *,
        batch: bool = False,
        raw: bool = False,
        window_bits: int = 0,
        codec: Codec = JSON,
        fragment_size: int = WHOLE,
        heartbeat: Heartbeat | None = None,
        uploads: Intake | None = None,
        pacing: Pacing | None = None,
    ) -> None:
        self.world = world
        self.wire = FakeWire()
        form = frames_form(
            batch=batch,
            raw=raw,
            window_bits=window_bits,
            codec=codec,
            fragment_size=fragment_size,
        )
        self.session = Session(world.hub, self.wire, form, "s1")
        opening = None if wanted is None else world.open(wanted)
        after = {} if opening is None else opening.start.after
        self.stream = WebSocket(
            self.wire,
            world.hub,
            form,
            FrameParser(max_size=20_000, deflated=window_bits > 0),
            holding=world.sessions.hold(self.session, Terms("ws"), after),
            gate=OPEN_GATE,
            rules=Rules(Limits(1000, 16, batch=20), 4, pacing or Pacing(Counter()), uploads),
            heartbeat=heartbeat or Heartbeat(INTERVAL, TIMEOUT),
            now=START,
            retry=lambda: RETRY,
        )
        taken = self.wire.write(self.session.begin(opening))
        self.session.go_on(more=opening is not None and opening.page.more, congested=not taken)
        world.turn()

    def feed(self, *frames: bytes) -> None:
        """Send *frames* in one piece, without a turn of the loop."""
        self.stream.feed(b"".join(frames))

    def send(self, *commands: dict[str, object] | str) -> None:
        """Send *commands* in one piece; let everything come to rest."""
        self.feed(*(text(c if isinstance(c, str) else json.dumps(c)) for c in commands))
        self.world.turn()

    def frames(self) -> list[ServerFrame]:
        """The frames that came since the last call."""
        return server_frames(self.wire.take())

    def take(self) -> list[Any]:
        """The envelopes that came since the last call; a close frame is ["close", its code]."""
        items: list[Any] = []
        for frame in self.frames():
            if frame.opcode == CLOSE:
                items.append(["close", int.from_bytes(frame.payload[:2])])
            else:
                assert frame.opcode == TEXT, frame
                items.append(json.loads(frame.text))
        return items

    def ask(self, *commands: dict[str, object] | str) -> list[Any]:
        """Forget what came, send *commands*, and return what comes for them."""
        self.take()
        self.send(*commands)
        return self.take()

    def close(self, payload: bytes = b"") -> None:
        """Send a close frame."""
        self.feed(client_frame(CLOSE, payload))

    def reads(self) -> bool:
        """Whether the server reads what the client sends."""
        return self.wire.reading

    @property
    def live(self) -> bool:
        """Whether its session has everything there is."""
        return self.session.state is State.LIVE


def id_of(envelope: dict[str, Any]) -> int:
    """The number in an envelope's id."""
    return int(envelope["id"].partition("-")[2])


def ids(envelopes: Iterable[dict[str, Any]]) -> list[int]:
    """The ids of the messages among *envelopes*."""
    return [id_of(envelope) for envelope in envelopes if envelope["type"] == "message"]


def kinds(envelopes: Iterable[dict[str, Any]]) -> list[str]:
    """The types of *envelopes*."""
    return [envelope["type"] for envelope in envelopes]
