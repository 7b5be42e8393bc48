"""Settings: several servers of one log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, PlainValidator

from tidewire.settings.describe import Allowed
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
