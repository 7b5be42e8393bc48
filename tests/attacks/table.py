"""All attacks: importing the modules enters them into the table."""

from tests.attacks import (
    on_frames,
    on_identity,
    on_input,
    on_others,
    on_pages,
    on_requests,
    on_sockets,
    on_time,
)
from tests.attacks.attack import ATTACKS

__all__ = [
    "ATTACKS",
    "on_frames",
    "on_identity",
    "on_input",
    "on_others",
    "on_pages",
    "on_requests",
    "on_sockets",
    "on_time",
]
