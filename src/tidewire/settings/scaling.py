"""Settings: several servers of one log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, PlainValidator

from tidewire.settings.describe import Allowed
from tidewire.settings.kinds import Seconds
from tidewire.settings.values import MOST_WORKERS, check_workers

Workers = Annotated[
    int | Literal["auto"],
    PlainValidator(check_workers),
    Allowed(f"a whole number from 1 to {MOST_WORKERS}, or auto"),
]


class Scaling(BaseModel):
    """Several servers"""

    workers: Annotated[
        Workers,
        Field(
            description="processes that share the port and the log; auto for one on each processor"
        ),
    ] = 1
    drain_window: Annotated[
        Seconds,
        Field(
            ge=0,
            le=3600,
            description="after SIGTERM, time over which many clients are told to come back; "
            "3 s of drain_timeout, or half of it, are left for the last of them",
        ),
    ] = 5.0
