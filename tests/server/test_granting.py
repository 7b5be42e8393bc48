"""POST /refresh where the stream is another server's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.acceptance.credentials import SECRET, bearer, token
from tidewire.access.access import caller_of
from tidewire.access.claims import claims_of
from tidewire.access.passing import passed_on, taken_over
from tidewire.hub import NodeInfo
from tidewire.hub.fleet import _Seen
from tidewire.server import granting

if TYPE_CHECKING:
    from tests.server.conftest import MakeServer


def test_others_are_not_asked_all_the_time(make_server: MakeServer) -> None:
    server = make_server(token_secret=SECRET)
    shown = bearer(token("1", {"*": ["subscribe"]}))
    reply = server.get("/refresh?session=x", shown, method="POST")
    assert (reply.status, reply.json["code"]) == (404, "unknown_session")  # nobody could be asked
    server.app.fleet._view["other"] = _Seen(NodeInfo("other"), 0.0)
    most = int(granting.REFRESH_RATE.per_second * granting.REFRESH_RATE.seconds)
    for _ in range(most):
        client = server.client()
        client.send("/refresh?session=x", shown, method="POST")
        assert client.read() == b"", "the other server has not answered yet"
    reply = server.get("/refresh?session=x", shown, method="POST")
    assert (reply.status, reply.json["code"]) == (429, "too_many_requests")
    assert server.app.refusals["refresh_rate"] == 1
    client = server.client()
    client.send("/refresh?session=x", bearer(token("2", {})), method="POST")
    assert client.read() == b"", "another user is not to wait for the first"


def test_who_asks_is_passed_on_whole() -> None:
    claims = {
        "sub": "42",
        "iat": 1_700_000_000,
        "exp": 1_900_000_000,
        "jti": "t1",
        "device": "phone",
        "channels": {"chat:*": ["subscribe", "publish"], "news": ["history"]},
        "limits": {"connections": 3, "channels": 7},
    }
    caller = caller_of(claims_of(claims))
    again = taken_over(passed_on(caller))
    for name in ("kind", "name", "grants", "scopes", "token_id", "issued", "expires", "device"):
        assert getattr(again, name) == getattr(caller, name), name
    assert again.limits == caller.limits
    assert again.is_same_as(caller)
