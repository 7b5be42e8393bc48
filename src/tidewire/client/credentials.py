"""What a client shows of who it is: a token, tokens that are asked for in time, or an API key.

They go into headers only. Neither their ``repr`` nor an error has them.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tidewire.client.errors import ClientError, Interrupted, Refused, Unauthorized
from tidewire.client.lifetime import Lifetime, lifetime_of

_log = logging.getLogger("tidewire.client")

GetToken = Callable[[], str | Awaitable[str]]
"""Gives a token that is good now: a coroutine function, or a function, which is run in a thread.

Whatever it raises is taken for a failure that may pass, but :class:`Refused`, which is the end.
"""

TAKES_AT_MOST = 30.0
"""Seconds after which a call of :data:`GetToken` is given up."""
SECRET_HEADERS = ("Authorization", "X-API-Key")

# RFC 6750 section 2.1 and RFC 9110 section 5.5: what a header can hold, and a token may be.
_SHOWABLE = re.compile(r"[\x21-\x7e]+", re.ASCII)
# Another token may do better; a proxy that checks tokens gives no code of ours.
_ASK_AGAIN = frozenset({"token_expired", "invalid_token", None})


class Token:
    """A token, and how long it is good as far as it says."""

    __slots__ = ("due", "life", "text")

    def __init__(self, text: str, life: Lifetime | None, due: float) -> None:
        """``due`` is when to ask for the next: a time of the clock that ``life`` has."""
        self.text = text
        self.life = life
        self.due = due

    def __repr__(self) -> str:
        return "<Token>"


class Credentials:
    """What one client shows. Without any of the three it shows nothing."""

    def __init__(
        self,
        *,
        token: str | None = None,
        get_token: GetToken | None = None,
        api_key: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """``clock`` never goes back, ``wall`` is Unix time, ``draw`` gives 0 to below 1.

        Raises:
            ValueError: if there is more than one of them, or one cannot be in a header.
        """
        if sum(one is not None for one in (token, get_token, api_key)) > 1:
            raise ValueError("give one of token, get_token and api_key: the server looks at one")
        self._get = get_token
        self._key = None if api_key is None else _checked("api_key", api_key)
        self._token = None
        if token is not None:
            self._token = Token(_checked("token", token), None, float("inf"))
        # The token was asked for in place of a refused one, and no server has taken it yet.
        self._on_trial = False
        self._clock = clock
        self._wall = wall
        self._draw = draw
        self._asking = asyncio.Lock()

    def __repr__(self) -> str:
        kind = "get_token" if self._get else "token" if self._token else "api_key"
        return f"<Credentials {kind}>" if self else "<Credentials: none>"

    def __bool__(self) -> bool:
        """Whether there is anything to show."""
        return any(one is not None for one in (self._get, self._token, self._key))

    @property
    def renewable(self) -> bool:
        """Whether there are other tokens to be had."""
        return self._get is not None

    async def token(self) -> Token | None:
        """The token to show now; ``None`` if none is shown.

        Raises:
            Interrupted: if there was none to be had.
            Refused: if ``get_token`` says so, or gives what is no token.
        """
        if self._get is None or (self._token is not None and self._clock() < self._token.due):
            return self._token
        return await self._newer(None)

    async def newer(self, than: Token) -> Token:
        """Another token than this one; or the same, if there is none yet and it is still good.

        Raises:
            Interrupted, Refused: as :meth:`token` does.
        """
        return await self._newer(than)

    def seconds_left(self, token: Token) -> float:
        """Seconds until the next token should be asked for; 0 if it should be now."""
        return max(token.due - self._clock(), 0.0)

    def headers(self, token: Token | None) -> dict[str, str]:
        """What shows *token*, or the key."""
        if token is not None:
            return {"Authorization": f"Bearer {token.text}"}
        return {} if self._key is None else {"X-API-Key": self._key}

    def accepted(self, token: Token | None) -> None:
        """A server has taken this token."""
        if token is self._token:
            self._on_trial = False

    def after(self, error: ClientError, token: Token | None) -> ClientError:
        """What it comes to that a server has answered *error* to who showed this token.

        That is :class:`Interrupted` if it is good to try again: with another token, which is asked
        for then, and was not refused itself.
        """
        if (
            token is None
            or not self.renewable
            or not isinstance(error, Unauthorized)
            or error.code not in _ASK_AGAIN
        ):
            return error
        if token is not self._token:
            return Interrupted(error.reason)  # there is another by now
        self._token = None
        # One that was good for most of its time has just ended, however it began.
        if token.life is None or not token.life.is_half_over(self._clock()):
            if self._on_trial:
                return Unauthorized(
                    f"{error.reason}; a new one was refused, too", error.status, error.code
                )
            self._on_trial = True
        return Interrupted(error.reason)

    async def _newer(self, than: Token | None) -> Token:
        async with self._asking:
            token = self._token
            if token is None:
                token = self._token = self._made(await self._ask())
            elif token is than or self._clock() >= token.due:
                token = self._token = await self._replacement(token)
            return token

    async def _replacement(self, token: Token) -> Token:
        """What takes the place of a token in good time: itself, while there is nothing better."""
        try:
            text = await self._ask()
        except Interrupted as error:
            if token.life is None or token.life.is_over(self._clock()):
                raise
            _log.warning("%s; the token that there is stays in use", error.reason)
            text = token.text
        if text != token.text:
            return self._made(text)
        # It has not been replaced where it comes from; asked again more often towards its end.
        now = self._clock()
        left = 0.0 if token.life is None else token.life.ends - now
        token.due = now + min(max(left / 2, 0.1), 30.0)
        return token

    def _made(self, text: str) -> Token:
        life = lifetime_of(text, self._clock(), self._wall())
        due = float("inf") if life is None else life.due(self._draw())
        return Token(text, life, due)

    async def _ask(self) -> str:
        assert self._get is not None
        try:
            async with asyncio.timeout(TAKES_AT_MOST):
                text = await _called(self._get)
        except ClientError:
            raise
        except TimeoutError as error:
            raise Interrupted("get_token has taken too long") from error
        except Exception as error:
            # Its text is not ours: it may have anything in it.
            raise Interrupted(f"get_token has failed: {type(error).__name__}") from error
        try:
            return _checked("what get_token has returned", text)
        except ValueError as error:
            raise Refused(str(error)) from None


async def _called(get: GetToken) -> Any:
    if inspect.iscoroutinefunction(get) or inspect.iscoroutinefunction(type(get).__call__):
        return await get()  # type: ignore[misc]
    # Whatever it waits for, the connections are not held up by it.
    text = await asyncio.to_thread(get)
    return await text if inspect.isawaitable(text) else text


def _checked(what: str, text: object) -> str:
    """*text*, if it can be in a header; a library that found out would say the text itself."""
    if not isinstance(text, str) or _SHOWABLE.fullmatch(text) is None:
        raise ValueError(f"{what} is no text of visible ASCII characters without spaces")
    return text


NOBODY = Credentials()
"""Shows nothing."""
