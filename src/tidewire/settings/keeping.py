"""Settings: the log, and how its messages are delivered."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from tidewire.settings.describe import Address, Allowed, Unit
from tidewire.settings.kinds import DAY, TEN_YEARS, Bytes, Messages, Names, Policy, Seconds
from tidewire.settings.namespace import NamespaceSettings
from tidewire.settings.values import (
    ENGINE_FORMS,
    check_auto_channels,
    check_engine,
    check_namespace,
)


class Log(BaseModel):
    """The log"""

    engine: Annotated[
        str,
        AfterValidator(check_engine),
        Field(description="where messages are kept; memory: forgets them when the server ends"),
        Allowed(ENGINE_FORMS),
        Address(),
    ] = "sqlite:///tidewire-data/log.db"
    history_size: Annotated[
        Messages, Field(ge=0, le=100_000_000, description="how many a channel keeps")
    ] = 10_000
    history_ttl: Annotated[
        Seconds, Field(gt=0, le=TEN_YEARS, description="how long a message is kept")
    ] = 3600.0
    idempotency_window: Annotated[
        Seconds, Field(gt=0, le=DAY, description="how long the key of a publish is remembered")
    ] = 120.0
    namespaces: Annotated[
        dict[Annotated[str, AfterValidator(check_namespace)], NamespaceSettings],
        Field(description="settings by namespace, the part of a channel before the first colon"),
        Allowed("a table for each namespace (as a flag or a variable: JSON)"),
    ] = {}


class Delivery(BaseModel):
    """Delivery"""

    slow_policy: Annotated[
        Policy,
        Field(
            description="what a subscriber gets that has fallen behind: all that history holds, "
            "the latest of each channel, or the end of its connection"
        ),
    ] = "catch_up"
    coalesce: Annotated[
        Seconds,
        Field(
            ge=0,
            le=10,
            description="how long a message may wait to be written with others, which spares a "
            "large room most of its writes; 0 for not at all",
        ),
    ] = 0.0
    auto_channels: Annotated[
        Names,
        AfterValidator(check_auto_channels),
        Field(
            description="joined to every subscription: @me for the user's own channels, @all for "
            "everybody's, or names"
        ),
    ] = ()
    presence: Annotated[bool, Field(description="keep, and tell, who is on the channels")] = False
    presence_grace: Annotated[
        Seconds,
        Field(
            ge=0,
            le=300,
            description="how long a client whose stream has ended is there still, for it to come "
            "back without a leave and a join",
        ),
    ] = 2.0
    poll_presence_ttl: Annotated[
        Seconds,
        Field(
            gt=0,
            le=120,
            description="how long a client is there after a poll; one that polls often leaves "
            "when it has missed three polls",
        ),
    ] = 120.0
    ack_wait: Annotated[
        Seconds,
        Field(gt=0, le=DAY, description="time to acknowledge a message until it comes again"),
    ] = 30.0
    max_deliver: Annotated[
        int,
        Unit("deliveries"),
        Field(
            ge=0,
            le=1_000_000,
            description="after so many unacknowledged ones a message goes to the channel "
            "dead-letter:CONSUMER; 0 for never",
        ),
    ] = 5
    consumer_ttl: Annotated[
        Seconds,
        Field(gt=0, le=TEN_YEARS, description="how long a consumer that does nothing is known"),
    ] = 2_592_000.0
    session_ttl: Annotated[
        Seconds,
        Field(gt=0, le=DAY, description="how long a session outlives its connection"),
    ] = 300.0
    fragment_size: Annotated[
        Bytes,
        Field(
            ge=1024,
            le=64 << 20,
            description="larger envelopes are sent in parts of this size: frames of a WebSocket, "
            "and events for those who ask for fragments",
        ),
    ] = 32 << 10
    upload_dir: Annotated[
        str,
        Field(description="folder for uploaded files; without one uploads are refused"),
        Allowed("nothing, or a path"),
    ] = ""
    upload_callback: Annotated[
        str,
        Field(
            pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$",
            description="called with each whole upload",
        ),
        Allowed("nothing, or module:function"),
    ] = ""
    max_upload_size: Annotated[
        Bytes, Field(ge=1, le=1 << 40, description="size of one uploaded file")
    ] = 1 << 30
    upload_ttl: Annotated[
        Seconds, Field(gt=0, le=TEN_YEARS, description="how long an unfinished upload is kept")
    ] = 86_400.0
