"""The Autobahn WebSocket test suite, run by kosoku against a server's ``/echo``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kosoku import FailureError, run_fuzzingclient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kosoku._kosoku import CaseResult

    from tests.server_process import ServerProcess

QUICK = 247
"""Cases of the sections 1 to 7 and 10: framing, UTF-8, closing. A few seconds."""

WHOLE = 517
"""Those, and 9 (large messages), 12 and 13 (permessage-deflate): minutes."""

SLOW = ["9.*", "12.*", "13.*"]

RAISED: dict[str, Any] = {"max_message_size": 64 << 20, "max_fragments": 1 << 20}
"""Settings for section 9: messages of 16 MiB, and of 65,536 fragments."""


async def run(
    server: ServerProcess, cases: Sequence[str] | None = None, without: Sequence[str] | None = None
) -> list[CaseResult]:
    """The results of the cases, whatever they are; ``*`` stands for anything in their numbers."""
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
