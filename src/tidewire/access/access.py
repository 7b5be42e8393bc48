"""From what a request shows to who asks: keys, tokens, tickets, and what was revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tidewire.access.caller import OPEN, RIGHTS, Caller, CallerLimits, Grant
from tidewire.model import Forbidden, InvalidKey, InvalidToken, NoCredentials

if TYPE_CHECKING:
    from tidewire.access.api_keys import ApiKey, ApiKeys
    from tidewire.access.claims import Claims
    from tidewire.access.revocations import Revocations
    from tidewire.access.rights import Rights
    from tidewire.access.tickets import Tickets
    from tidewire.access.tokens import Tokens

_MOST_USERS = 100_000


class Credentials(NamedTuple):
    """What a request shows: a text that may be a key or a token, a ticket, and its origin.

    ``host`` is where it was sent to, if a page of the same origin has sent it: browsers leave the
    origin out then, unless they publish or open a WebSocket.
    """

    key: str | None = None
    token: str | None = None
    ticket: str | None = None
    origin: str | None = None
    host: str | None = None


class Access:
    """Who comes in. Without *keys* and *tokens* everybody does, and may do everything."""

    def __init__(
        self,
        rights: Rights,
        revocations: Revocations,
        tickets: Tickets,
        *,
        keys: ApiKeys | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        self.rights = rights
        self.revocations = revocations
        self.tickets = tickets
        self.open = keys is None and tokens is None
        self._stranger = Caller("anonymous")
        self._keys = keys
        self._tokens = tokens
        self._users: dict[str, tuple[Claims, Caller]] = {}
        self._by_key: dict[str, tuple[ApiKey, Caller]] = {}

    async def fetch_keys(self) -> None:
        """Ask the issuer of tokens for its keys before the first token comes."""
        if self._tokens is not None:
            await self._tokens.open()

    async def close(self) -> None:
        """Ask nobody for keys any more."""
        if self._tokens is not None:
            await self._tokens.close()

    def caller_now(self, shown: Credentials) -> Caller | None:
        """Who shows this; ``None`` when that cannot be told at once: then ``caller_later`` can.

        Raises:
            Unauthorized: if what is shown is not good, or nothing is and it is needed everywhere.
        """
        if self.open:
            return OPEN
        if shown.key is not None:
            return self._of_key(shown.key)
        if shown.token is not None:
            return self._of_token(shown.token)
        if shown.ticket is not None:
            return None
        if self.rights.for_anyone:
            return self._stranger
        raise NoCredentials("show who you are: send a token or a key", why="nothing was shown")

    async def caller_later(self, shown: Credentials) -> Caller:
        """Who shows this, as far as the engine or the issuer of tokens has to be asked.

        Raises:
            Unauthorized: if what is shown is not good.
            Unavailable: if it cannot be found out now.
        """
        if shown.token is None and shown.ticket is not None:
            caller = await self.tickets.redeem(shown.ticket, shown.origin, shown.host)
            self._check_revoked(caller)
            return caller
        assert shown.token is not None  # that is what ``caller_now`` left
        assert self._tokens is not None
        return self._of_claims(shown.token, await self._tokens.verify_later(shown.token))

    async def renewed(self, caller: Caller, token: str) -> Caller:
        """The user *caller* by its new *token*.

        Raises:
            Unauthorized: if that is not good.
            Forbidden: if it is somebody else's.
            Unavailable: if that cannot be found out now.
        """
        shown = Credentials(token=token)
        renewed = self.caller_now(shown) or await self.caller_later(shown)
        if caller.kind not in ("anonymous", "open") and not renewed.is_same_as(caller):
            raise Forbidden("this is another's token: connect anew with it")
        return renewed

    def _of_token(self, text: str) -> Caller | None:
        """Who shows *text* where a token may stand, and a key as well."""
        # Not looked for among the keys if it was a good token before: most are pollers'.
        if self._keys is not None and text not in self._users:
            key = self._keys.find(text)
            if key is not None:
                return self._caller_of_key(key)
        if self._tokens is None:
            raise InvalidKey("there is no such key here", why="no tokens are configured")
        claims = self._tokens.verify(text)
        return None if claims is None else self._of_claims(text, claims)

    def _of_key(self, text: str) -> Caller:
        key = None if self._keys is None else self._keys.find(text)
        if key is None:
            raise InvalidKey("there is no such key here", why="an unknown API key")
        return self._caller_of_key(key)

    def _caller_of_key(self, key: ApiKey) -> Caller:
        known = self._by_key.get(key.name)
        if known is not None and known[0] is key:
            return known[1]
        rights = key.scopes & RIGHTS
        grants = [Grant(pattern, rights) for pattern in key.channels]
        caller = Caller("key", key.name, grants=grants, scopes=key.scopes)
        self._by_key[key.name] = (key, caller)
        return caller

    def _of_claims(self, text: str, claims: Claims) -> Caller:
        known = self._users.get(text)
        if known is not None and known[0] is claims:
            caller = known[1]
        else:
            if len(self._users) >= _MOST_USERS:
                self._users.clear()
            caller = caller_of(claims)
            self._users[text] = (claims, caller)
        self._check_revoked(caller)
        return caller

    def _check_revoked(self, caller: Caller) -> None:
        if self.revocations.refuses(caller):
            raise InvalidToken("this token is no longer good: get a new one", why="it was revoked")


def caller_of(claims: Claims) -> Caller:
    """The user that a token speaks of."""
    return Caller(
        "user",
        claims.user,
        grants=[Grant(pattern, rights) for pattern, rights in claims.channels.items()],
        token_id=claims.token_id,
        issued=claims.issued,
        expires=claims.expires,
        device=claims.device,
        limits=CallerLimits(**claims.limits),
    )
