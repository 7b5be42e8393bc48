"""The Autobahn WebSocket test suite, run by kosoku against a server's ``/echo``."""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, Any

from kosoku import FailureError, run_fuzzingclient
from kosoku._caseindex import initialize_shims

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kosoku._kosoku import CaseResult

    from tests.server_process import ServerProcess

QUICK = 247
"""Cases of the sections 1 to 7 and 10: framing, UTF-8, closing. A few seconds."""

WHOLE = 517
"""Those, and 9 (large messages), 12 and 13 (permessage-deflate): minutes."""

SLOW = ["9.*", "12.*", "13.*"]

RAISED: dict[str, Any] = {"max_message_size": 64 << 20, "max_fragments": 1 << 20}
"""Settings for section 9: messages of 16 MiB, and of 65,536 fragments."""

PATIENCE = 10.0
"""Seconds that a server may take longer than the suite gives it, which is one for the most."""


class Patient:
    """A case's connection, on which a server that the machine has halted does not fail the case.

    What has come by then decides a case, not when it came: only a server that does nothing at all
    takes the longer time.
    """

    def __init__(self, connection: Any) -> None:
        object.__setattr__(self, "_connection", connection)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._connection, name, value)

    def killAfter(self, seconds: float) -> None:  # noqa: N802
        """Give up."""
        self._connection.killAfter(seconds + PATIENCE)

    def closeAfter(self, seconds: float) -> None:  # noqa: N802
        """Close, should the server have done nothing that the case waits for."""
        self._connection.closeAfter(seconds + PATIENCE)

    def continueLater(  # noqa: N802
        self, seconds: float, go_on: Callable[[], None], tag: str | None = None
    ) -> None:
        """Go on. Within ``B`` the server is to fail the connection; else it is to do nothing."""
        more = PATIENCE if tag == "B" else 0
        self._connection.continueLater(seconds + more, go_on, tag)


@cache
def be_patient() -> None:
    """Give all cases such connections."""
    initialize_shims()
    case = importlib.import_module("case").Case
    begin = case.__init__
    case.__init__ = lambda self, connection: begin(self, Patient(connection))


async def run(
    server: ServerProcess, cases: Sequence[str] | None = None, without: Sequence[str] | None = None
) -> list[CaseResult]:
    """The results of the cases, whatever they are; ``*`` stands for anything in their numbers."""
    be_patient()
    url = f"{server.url.replace('http', 'ws', 1)}/echo"
    try:
        return await run_fuzzingclient(url, cases, without)
    except FailureError as failure:
        return failure.results


def shown(result: CaseResult) -> str:
    """One line about a case that did not pass."""
    return (
        f"{result.case_id}: {result.behavior.value}, closing {result.behavior_close.value}: "
        f"{result.result} {result.result_close}"
    )
