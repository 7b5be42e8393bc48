"""What a namespace may set for its channels."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from tidewire.settings.describe import Allowed, Unit
from tidewire.settings.kinds import CONFIG, TEN_YEARS, Policy, Who


class NamespaceSettings(BaseModel):
    """What one namespace sets apart from the defaults; ``None`` means the default holds."""

    model_config = CONFIG

    history_size: Annotated[
        int | None,
        Unit("messages"),
        Field(ge=0, le=100_000_000, description="how many a channel keeps"),
    ] = None
    history_ttl: Annotated[
        float | None,
        Unit("seconds"),
        Field(gt=0, le=TEN_YEARS, description="how long a message is kept"),
    ] = None
    slow_policy: Annotated[
        Policy | None, Field(description="what a subscriber gets that has fallen behind")
    ] = None
    conflate_by: Annotated[
        str | None,
        Field(max_length=128, description="the header whose newest of each value `latest` keeps"),
        Allowed("a header's name"),
    ] = None
    coalesce: Annotated[
        float | None,
        Unit("seconds"),
        Field(ge=0, le=10, description="how long a message may wait for others"),
    ] = None
    presence: Annotated[
        bool | None, Field(description="keep, and tell, who is on the channels")
    ] = None
    allow_subscribe: Annotated[
        Who | None, Field(description="who may subscribe, and acknowledge what was received")
    ] = None
    allow_publish: Annotated[Who | None, Field(description="who may publish")] = None
    allow_history: Annotated[Who | None, Field(description="who may read the history")] = None
    allow_presence: Annotated[Who | None, Field(description="who may see who is there")] = None
