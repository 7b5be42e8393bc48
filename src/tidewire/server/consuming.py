"""``consumer=NAME``: a subscriber that reads as a durable consumer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tidewire.hub import Consumer
from tidewire.model import BadRequest, Subscription, TidewireError, Unavailable
from tidewire.server.request import Request
from tidewire.transports.query import Query

if TYPE_CHECKING:
    from tidewire.server.app import App
    from tidewire.server.connection import Connection

_Then = Callable[[Subscription, Consumer | None], None]


def as_consumer(
    app: App, request: Request, connection: Connection, query: Query, then: _Then, *, claims: bool
) -> None:
    """Pass to *then* what is to be opened for *query*, and the consumer that it names.

    That is done at once when it names none. *claims*: it is a stream, so a newer one of any server
    replaces it.
    """
    if query.consumer is None:
        then(query.subscription, None)
        return
    if query.policy == "latest":
        raise BadRequest("a durable consumer gets all, not the latest", code="invalid_policy")
    attaching = app.consumers.attach(
        request.caller.own(query.consumer),
        query.subscription,
        claims=claims,
        acknowledges=query.ack_by_cursor,
    )
    app.answer_later(request, connection, _attach(app, request, connection, attaching, then))


async def _attach(
    app: App,
    request: Request,
    connection: Connection,
    attaching: Awaitable[tuple[Consumer, Subscription]],
    then: _Then,
) -> None:
    try:
        consumer, wanted = await attaching
        if connection.current is not request or connection.transport.is_closing():
            consumer.close()
        elif connection.draining:
            consumer.close()
            raise Unavailable("the server is going down")
        else:
            then(wanted, consumer)
    except Unavailable as error:
        app.put_off(request, connection, error)
    except TidewireError as error:
        connection.respond_error(error)
