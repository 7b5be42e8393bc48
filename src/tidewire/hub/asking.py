"""Questions to other nodes, and their answers, over the channel that all nodes hear.

A question is one message, and so is each answer to it. Both are bounded: in size, so that one
who asks for much asks for it in pages, and in number, so that who asks too often is refused, and
does not keep the others from their clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from asyncio import Future
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import NamedTuple

import msgspec

from tidewire.hub.hub import Hub
from tidewire.model import Draft, Message, Receipt, TidewireError, Unavailable

logger = logging.getLogger("tidewire.hub")

CHANNEL = "!nodes"

MOST_BYTES = 512 << 10
"""Of a question, or of an answer."""

MOST_ASKED = 64
"""Questions of this node that wait for answers."""

MOST_WAITING = 256
"""Questions of other nodes that wait to be looked at."""

AT_ONCE = 4
"""Of those, how many are being answered."""

MOST_SECONDS = 30.0
"""For an answer: one that hangs must not keep those behind it waiting for ever."""

ASK, ANSWER = "ask", "answer"

Handler = Callable[[bytes], bytes | Awaitable[bytes]]


class Answers(NamedTuple):
    """What the nodes said; ``missing`` are those that are there and did not answer."""

    by_node: dict[str, bytes]
    missing: list[str]


class _Question(msgspec.Struct, frozen=True):
    """``to``: the nodes that are asked."""

    asker: str
    number: int
    kind: str
    body: bytes
    to: list[str]


class _Answer(msgspec.Struct, frozen=True):
    """``body`` is ``None`` where the node has failed to find an answer."""

    number: int
    node: str
    body: bytes | None


class _Asked:
    """A question that waits for answers of the nodes ``waiting``."""

    __slots__ = ("by_node", "done", "failed", "waiting")

    def __init__(self, waiting: set[str]) -> None:
        self.waiting = waiting
        self.failed: set[str] = set()
        self.by_node: dict[str, bytes] = {}
        self.done = asyncio.Event()

    def look(self) -> None:
        """Wake who has asked, if nobody is left to wait for."""
        if not self.waiting:
            self.done.set()


_encode = msgspec.json.Encoder().encode
_decode_question = msgspec.json.Decoder(_Question).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


class Asking:
    """The questions of the node *id*, and its answers to those of others."""

    def __init__(self, hub: Hub, id: str) -> None:
        self._hub = hub
        self._id = id
        self._handlers: dict[str, Handler] = {}
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self._questions: deque[_Question] = deque()
        self._answering = 0

    def answer(self, kind: str, handler: Handler) -> None:
        """Have *handler* answer questions of a *kind*. It raises whatever it likes."""
        self._handlers[kind] = handler

    async def ask(
        self, kind: str, question: bytes, seconds: float, others: Iterable[str], *, here: bool
    ) -> Answers:
        """The answers of *others*, and with *here* of this node, within *seconds*.

        Raises:
            Unavailable: if too many questions wait for answers already.
        """
        waiting = set(others)
        if len(question) > MOST_BYTES:
            raise ValueError(f"a question may have {MOST_BYTES} bytes")
        if len(self._asked) >= MOST_ASKED:
            raise Unavailable("too many questions to other servers wait for their answers")
        number = next(self._numbers)
        asked = self._asked[number] = _Asked(waiting)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    if waiting:
                        body = _encode(_Question(self._id, number, kind, question, sorted(waiting)))
                        self._send(ASK, body, partial(self._not_asked, asked))
                    if here:
                        asked.waiting.add(self._id)
                        self._take(asked, self._id, await self._find(kind, question))
                    asked.look()
                    await asked.done.wait()
        finally:
            del self._asked[number]
        return Answers(asked.by_node, sorted(asked.waiting | asked.failed))

    def forget(self, node: str) -> None:
        """The node is gone, and with it what it could have said: nobody waits for that."""
        for asked in self._asked.values():
            asked.waiting.discard(node)
            asked.look()

    def hear(self, message: Message) -> None:
        """Take in a question or an answer that came through the log."""
        event = message.event or ""
        if event == ASK:
            question = _decode_question(message.data)
            if self._id in question.to:
                self._heard_question(question)
        elif event == f"{ANSWER} {self._id}":
            answer = _decode_answer(message.data)
            asked = self._asked.get(answer.number)
            if asked is not None:
                self._take(asked, answer.node, answer.body)

    def _heard_question(self, question: _Question) -> None:
        if len(self._questions) >= MOST_WAITING:
            self._hub.drops["unanswered"] += 1
            logger.warning(
                "too many questions of other servers: one of %s waits in vain", question.asker
            )
            return
        self._questions.append(question)
        if self._answering < AT_ONCE:
            self._answering += 1
            self._hub.spawn(self._answer_them())

    async def _answer_them(self) -> None:
        """Answer what waits, one after the other, with a turn for everybody else in between."""
        try:
            while self._questions:
                question = self._questions.popleft()
                body = await self._find(question.kind, question.body)
                answer = _encode(_Answer(question.number, self._id, body))
                self._send(f"{ANSWER} {question.asker}", answer, _not_answered)
                await asyncio.sleep(0)
        finally:
            self._answering -= 1

    async def _find(self, kind: str, question: bytes) -> bytes | None:
        """This node's answer; ``None`` if it fails to find one."""
        try:
            found = self._handlers[kind](question)
            if isinstance(found, bytes):
                answer = found
            else:
                async with asyncio.timeout(MOST_SECONDS):
                    answer = await found
        except TidewireError as error:
            logger.warning("a question for %s was not answered: %s", kind, error.detail)
        except Exception:
            logger.exception("a question for %s was not answered", kind)
        else:
            if len(answer) <= MOST_BYTES:
                return answer
            logger.error("an answer for %s has %d bytes: too many", kind, len(answer))
        return None

    def _take(self, asked: _Asked, node: str, body: bytes | None) -> None:
        if body is None:
            asked.failed.add(node)
        else:
            asked.by_node[node] = body
        asked.waiting.discard(node)
        asked.look()

    def _send(self, event: str, body: bytes, failed: Callable[[TidewireError], None]) -> None:
        """Append a message; *failed* is called if it cannot be."""
        sent = self._hub.engine.append([Draft(CHANNEL, body, event=event)])
        sent.add_done_callback(partial(_sent, failed))

    def _not_asked(self, asked: _Asked, error: TidewireError) -> None:
        logger.warning("a question was not asked: %s", error.detail)
        asked.failed |= asked.waiting - {self._id}
        asked.waiting &= {self._id}
        asked.look()


def _not_answered(error: TidewireError) -> None:
    logger.warning("an answer was not sent: %s", error.detail)


def _sent(failed: Callable[[TidewireError], None], sent: Future[list[Receipt]]) -> None:
    if sent.cancelled():
        return
    error = sent.exception()
    if isinstance(error, TidewireError):
        failed(error)
    elif error is not None:
        logger.error("a message to other servers was not sent", exc_info=error)
