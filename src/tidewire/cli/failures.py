"""Why a server did not start: one sentence, and what to do about it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from tidewire.model import TidewireError

if TYPE_CHECKING:
    from tidewire.server.listening import StartError
    from tidewire.settings import Settings


def explain(error: StartError, settings: Settings) -> str:
    """What to tell people; the system's reason for the failure is the error's cause."""
    cause = error.__cause__
    if isinstance(cause, TidewireError):
        return f"{error}; choose another place with --engine"
    if not isinstance(cause, OSError):
        return str(error)
    place = f"port {settings.port} of {settings.host}"
    match cause.errno:
        case errno.EADDRINUSE:
            return (
                f"{place} is in use; end the program that has it, or choose another with --port "
                "(0 picks a free one)"
            )
        case errno.EACCES | errno.EPERM:
            return f"no permission to listen on {place}; choose one from 1024 on with --port"
        case errno.EADDRNOTAVAIL:
            return f"this machine has no address {settings.host}; set --host to one that it has"
    return f"{error}; set --host to an address of this machine"
