"""The addresses that let in and out: tickets, new tokens, revocations."""

from __future__ import annotations

from tidewire.server.openapi.operations import NOT_KEPT, Operation, Paths, answer, query, sent
from tidewire.server.openapi.values import ref
from tidewire.settings import Settings


def paths(settings: Settings) -> Paths:
    """The operations on these addresses."""
    tickets = Operation(
        "postTickets",
        "caller",
        "A one-time ticket, for what cannot set headers",
        {200: answer("It is to be used at once.", ref("Ticket"), NOT_KEPT)},
        f"It is good once, for {settings.ticket_ttl:g} seconds. A back end with the scope "
        "`tickets` names a `user`, and what it would put into a token; anybody else gets one for "
        "itself.",
        body=sent(ref("TicketFor"), required=False),
        refusals={503: ("engine_unavailable",)},
    )
    refresh = Operation(
        "postRefresh",
        "caller",
        "An open stream stays for as long as the token of this request lasts",
        {200: answer("It stays.", ref("Renewed"), NOT_KEPT)},
        "Any server may be asked.",
        parameters=(query("session", ref("Session"), "What `ready` said.", required=True),),
        refusals={400: ("invalid_session",), 404: ("unknown_session",)},
    )
    revoke = Operation(
        "postRevoke",
        "admin",
        "A user, a session or a token is let in no more, and is put out",
        {204: answer("Every server of the log knows, or will within a second.", headers=NOT_KEPT)},
        "`token` is a token's claim `jti`.",
        body=sent(ref("Revocation"), required=True),
        refusals={503: ("engine_unavailable",)},
    )
    return {
        "/tickets": {"post": tickets},
        "/refresh": {"post": refresh},
        "/revoke": {"post": revoke},
    }
