"""Commands over a WebSocket, and the answers that belong to them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from tidewire.client.envelope import Other, Received, contents
from tidewire.client.errors import ClientError, Interrupted, refused

if TYPE_CHECKING:
    from collections.abc import Mapping

# The same command may well succeed later.
_PASSING = frozenset(
    {"unavailable", "engine_unavailable", "keys_unavailable", "too_many_requests", "internal"}
)


class Commands:
    """The commands of one connection that wait for their answers."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._count = 0
        self._ended: ClientError | None = None

    def begin(self) -> tuple[int, asyncio.Future[dict[str, Any]]]:
        """A ``ref`` for a new command, and what will be its answer.

        The answer raises :class:`Interrupted` or :class:`Refused` as the server says.
        """
        if self._ended is not None:
            raise self._ended
        self._count += 1
        future = asyncio.get_running_loop().create_future()
        self._waiting[self._count] = future
        future.add_done_callback(partial(self._forget, self._count))
        return self._count, future

    def _forget(self, ref: int, _: asyncio.Future[dict[str, Any]]) -> None:
        self._waiting.pop(ref, None)

    def take(self, received: Received) -> bool:
        """Whether *received* is an answer, which is then where it belongs."""
        envelope = received.envelope
        if not isinstance(envelope, Other) or envelope.type not in ("ok", "error"):
            return False
        answer = contents(received)
        future = self._waiting.get(answer.get("ref") or 0)
        if future is not None and not future.done():
            if envelope.type == "ok":
                future.set_result(answer)
            else:
                future.set_exception(refusal(answer))
        return True

    def end(self, reason: str) -> None:
        """The connection has ended: nothing that waits will be answered."""
        self._ended = Interrupted(reason)
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(self._ended)
                future.exception()  # whoever asked may have gone


def refusal(answer: Mapping[str, Any]) -> ClientError:
    """What an ``error`` envelope stands for."""
    reason, code = str(answer.get("message", "")), str(answer.get("code", ""))
    return Interrupted(reason) if code in _PASSING else refused(reason, code=code)


def refresh(token: str) -> dict[str, Any]:
    """The command that lets a connection stay by another token."""
    return {"type": "refresh", "token": token}
