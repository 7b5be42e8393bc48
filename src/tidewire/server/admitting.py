"""Who is let in, as the settings say."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from tidewire.access.access import Access
from tidewire.access.revocations import CHANNEL, Revocations
from tidewire.access.rights import Rights, Rules
from tidewire.access.tickets import Tickets
from tidewire.server.staying import end_revoked

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.settings import Settings

logger = logging.getLogger("tidewire.access")

SHORT_SECRET = 32  # bytes: what RFC 7518 section 3.2 asks of a key for HS256


def access_of(app: App) -> Access:
    """The access of *app*, by its settings."""
    settings, engine = app.settings, app.hub.engine
    revocations = Revocations(engine, settings.revocation_ttl, lambda _: end_revoked(app))

    async def load_again() -> None:
        await revocations.load()
        end_revoked(app)

    app.hub.listen(CHANNEL, revocations.hear, load_again)
    keys = tokens = None
    if settings.api_key or settings.api_keys_file:
        from tidewire.access.api_keys import ApiKeys

        file = Path(settings.api_keys_file) if settings.api_keys_file else None
        keys = ApiKeys(settings.api_key or None, file)
    if settings.token_secret or settings.token_key_file or settings.token_jwks_url:
        # Not at the top: the libraries behind them take longer to import than all the rest.
        from tidewire.access.key_sets import key_source
        from tidewire.access.tokens import Tokens

        if 0 < len(settings.token_secret.encode()) < SHORT_SECRET:
            logger.warning("token_secret is short: whoever has a token could guess it")
        tokens = Tokens(
            key_source(
                secret=settings.token_secret or None,
                file=Path(settings.token_key_file) if settings.token_key_file else None,
                url=settings.token_jwks_url or None,
                ttl=settings.token_jwks_ttl,
            ),
            audience=settings.token_audience or None,
            issuer=settings.token_issuer or None,
            leeway=settings.token_leeway,
        )
    tickets = Tickets(engine, settings.ticket_ttl)
    return Access(rights_of(settings), revocations, tickets, keys=keys, tokens=tokens)


def rights_of(settings: Settings) -> Rights:
    """Who may do what, by namespace."""
    default = Rules(
        settings.allow_subscribe,
        settings.allow_publish,
        settings.allow_history,
        settings.allow_presence,
    )
    by_namespace = {
        name: Rules(
            space.allow_subscribe or default.subscribe,
            space.allow_publish or default.publish,
            space.allow_history or default.history,
            space.allow_presence or default.presence,
        )
        for name, space in settings.namespaces.items()
    }
    return Rights(default, by_namespace)
