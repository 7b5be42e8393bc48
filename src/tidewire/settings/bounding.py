"""Settings: sizes, numbers and times that bound what clients can ask for."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from tidewire.settings.describe import Unit
from tidewire.settings.kinds import DAY, Bytes, Milliseconds, Names, Seconds
from tidewire.settings.values import check_networks


class Limits(BaseModel):
    """Limits"""

    max_message_size: Annotated[
        Bytes, Field(ge=64, le=64 << 20, description="size of one message")
    ] = 1 << 20
    max_batch_size: Annotated[
        Bytes, Field(ge=64, le=512 << 20, description="size of one batch body")
    ] = 8 << 20
    max_connections: Annotated[
        int, Field(ge=1, le=10_000_000, description="open connections per worker")
    ] = 18_000
    max_connections_per_ip: Annotated[
        int,
        Field(
            ge=0,
            le=10_000_000,
            description="open connections per client address (in IPv6 per /64 network); 0 for none",
        ),
    ] = 0
    max_connections_per_user: Annotated[
        int,
        Field(
            ge=0,
            le=10_000_000,
            description="streams and held polls per user at a time; 0 for none",
        ),
    ] = 0
    max_connection_rate: Annotated[
        float,
        Unit("connections per second"),
        Field(ge=0, le=1_000_000, description="new connections, twice as many at once; 0 for none"),
    ] = 0.0
    max_memory: Annotated[
        Bytes,
        Field(
            ge=0,
            le=1 << 50,
            description="memory of the process from which on new clients are refused; 0 for none",
        ),
    ] = 0
    trusted_proxies: Annotated[
        Names,
        AfterValidator(check_networks),
        Field(
            description="addresses and networks (CIDR) of proxies whose Forwarded and "
            "X-Forwarded-For are believed"
        ),
    ] = ()
    max_channels: Annotated[
        int, Field(ge=1, le=65536, description="channels of one subscription")
    ] = 256
    max_message_rate: Annotated[
        float,
        Unit("messages per second"),
        Field(
            ge=0,
            le=1_000_000,
            description="messages from one WebSocket, or published over HTTP by one caller; "
            "twice as many at once; 0 for none",
        ),
    ] = 0.0
    max_byte_rate: Annotated[
        float,
        Unit("bytes per second"),
        Field(
            ge=0,
            le=1 << 40,
            description="bytes of such messages, twice as many at once; 0 for none",
        ),
    ] = 0.0
    max_control_rate: Annotated[
        float,
        Unit("control frames per second"),
        Field(
            ge=0,
            le=1_000_000,
            description="pings and pongs from one WebSocket, twice as many at once; 0 for none",
        ),
    ] = 50.0
    max_head_size: Annotated[
        Bytes, Field(ge=1024, le=1 << 20, description="size of a request head")
    ] = 16 << 10
    max_target_size: Annotated[
        Bytes, Field(ge=256, le=1 << 20, description="size of a request target")
    ] = 8 << 10
    max_json_depth: Annotated[
        int, Field(ge=1, le=512, description="levels of nesting in a JSON body")
    ] = 64
    max_fragments: Annotated[
        int, Field(ge=1, le=1 << 20, description="frames of one WebSocket message")
    ] = 4096


class Timing(BaseModel):
    """Time"""

    head_timeout: Annotated[
        Seconds, Field(gt=0, le=DAY, description="time for a whole request head")
    ] = 10.0
    body_timeout: Annotated[
        Seconds, Field(gt=0, le=DAY, description="time for a whole request body")
    ] = 30.0
    keepalive_timeout: Annotated[
        Seconds, Field(gt=0, le=DAY, description="how long an idle HTTP connection is kept")
    ] = 75.0
    stall_timeout: Annotated[
        Seconds,
        Field(
            gt=0,
            le=DAY,
            description="how long a client may take no byte of a stream until it is ended",
        ),
    ] = 60.0
    drain_timeout: Annotated[
        Seconds, Field(gt=0, le=3600, description="longest drain after SIGTERM")
    ] = 10.0
    ping_interval: Annotated[
        Seconds, Field(gt=0, le=DAY, description="time between WebSocket pings")
    ] = 25.0
    pong_timeout: Annotated[
        Seconds, Field(gt=0, le=DAY, description="longest wait for the pong")
    ] = 10.0
    sse_heartbeat: Annotated[
        Seconds, Field(gt=0, le=DAY, description="time between SSE comments on a quiet stream")
    ] = 15.0
    sse_retry: Annotated[
        Milliseconds,
        Field(ge=0, le=600_000, description="how long an EventSource waits before it reconnects"),
    ] = 3000
    longpoll_wait: Annotated[
        Seconds,
        Field(ge=1, le=60, description="how long a long poll is held that does not say so"),
    ] = 30.0
    poll_interval: Annotated[
        Seconds, Field(gt=0, le=3600, description="time between short polls, as told to pollers")
    ] = 3.0
    min_poll_interval: Annotated[
        Seconds,
        Field(
            ge=0,
            le=3600,
            description="time between short polls below which they get 429; 0 for none",
        ),
    ] = 0.0
