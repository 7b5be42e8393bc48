"""What the operator is told of refusals and failures, and how a client's problem leads there."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.credentials import key_file
from tidewire.access.rates import Bucket
from tidewire.model import Forbidden, TooManyRequests
from tidewire.server import journal
from tidewire.server.journal import REFUSALS, URN, Refusals

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.conftest import MakeServer, Server

KEY = {"X-API-Key": "a key for the tests"}


@pytest.fixture(autouse=True)
def _room_for_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests had refused does not count."""
    monkeypatch.setattr(journal.refusals, "_bucket", Bucket())


@pytest.fixture
def guarded(make_server: MakeServer) -> Server:
    """A server that wants to know who asks."""
    return make_server(api_key=KEY["X-API-Key"])


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Any:
    """A function that gives the facts of each refusal so far."""
    caplog.set_level(logging.DEBUG, "tidewire.server")
    return lambda: [record.facts for record in caplog.records if record.message == "refused"]  # type: ignore[attr-defined]


def test_a_refusal_has_an_instance_that_is_in_the_log(guarded: Server, told: Any) -> None:
    client = guarded.client()
    reply = client.get("/poll?channels=a&token=wrong&since=-1", {"User-Agent": "curl"})
    assert reply.status == 401
    (facts,) = told()
    assert reply.json["instance"] == URN + facts.pop("request")
    assert facts.pop("why")
    assert facts == {
        "connection": client.connection.number,
        "peer": "127.0.0.1:1",
        "method": "GET",
        "target": "/poll?channels=a&token=***&since=-1",
        "client": None,
        "status": 401,
        "code": reply.json["code"],
    }


def test_each_request_has_an_id_of_its_own(guarded: Server, told: Any) -> None:
    client = guarded.client()
    replies = [client.get("/poll?channels=a") for _ in range(3)]
    ids = [reply.json["instance"] for reply in replies]
    assert len(set(ids)) == 3
    assert ids == [URN + facts["request"] for facts in told()]


def test_who_may_not_is_named(make_server: MakeServer, told: Any, tmp_path: Path) -> None:
    file = key_file(tmp_path / "keys.toml", shop=("the key of a shop", ["publish"]))
    server = make_server(api_keys_file=str(file))
    reply = server.get("/history?channel=a", {"X-API-Key": "the key of a shop"})
    assert reply.status == 403
    assert "scope" not in reply.json["detail"]
    (facts,) = told()
    assert facts["caller"] == "key 'shop'"
    assert facts["why"] == "history a: the key 'shop' has no scope for it"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, "wrong_host"),
        ({"Origin": "https://evil.example"}, "wrong_origin"),
    ],
)
def test_the_wrong_place(app_server: Server, told: Any, headers: dict[str, str], code: str) -> None:
    reply = app_server.get("/poll?channels=a", headers)
    (facts,) = told()
    assert (facts["code"], reply.json["instance"]) == (code, URN + facts["request"])
    assert "evil.example" in facts["why"]


@pytest.mark.parametrize("target", ["/poll", "/nothing", "/poll?channels=a&since=x"])
def test_mistakes_are_between_the_client_and_us(app_server: Server, told: Any, target: str) -> None:
    reply = app_server.get(target)
    assert "instance" not in reply.json
    assert told() == []


def test_a_failure_is_found_by_its_instance(
    app_server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_server.app.subscribers, "query", lambda *_: 1 / 0)
    reply = app_server.get("/sse?channels=a&ticket=secret")
    assert reply.status == 500
    (record,) = caplog.records
    assert record.exc_info is not None
    facts: dict[str, Any] = record.facts  # type: ignore[attr-defined]
    assert reply.json["instance"] == URN + facts["request"]
    assert facts["target"] == "/sse?channels=a&ticket=***"


def test_clients_behind_a_proxy(make_server: MakeServer, told: Any) -> None:
    server = make_server(api_key="a key for the tests", trusted_proxies=("127.0.0.1",))
    server.get("/poll?channels=a", {"X-Forwarded-For": "192.0.2.7"})
    (facts,) = told()
    assert (facts["peer"], facts["client"]) == ("127.0.0.1:1", "192.0.2.7")


def test_many_refusals_do_not_fill_the_disk(app_server: Server, told: Any) -> None:
    now = 1_000.0
    connection = app_server.client().connection
    refusals = Refusals(lambda: now)
    for _ in range(10_000):
        refusals.tell(connection, None, Forbidden("no"))
    most = int(REFUSALS.per_second * REFUSALS.seconds)
    assert len(told()) == most
    now += 1
    refusals.tell(connection, None, Forbidden("no"))
    last = told()[-1]
    assert last["left_out"] == 10_000 - most
    refusals.tell(connection, None, Forbidden("no"))
    assert "left_out" not in told()[-1]


def test_who_comes_too_often_is_told_of_in_detail_only(
    app_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    connection = app_server.client().connection
    error = TooManyRequests("slowly", retry_after=1, refusal="polls")
    with caplog.at_level(logging.INFO, "tidewire.server"):
        Refusals().tell(connection, None, error)
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, "tidewire.server"):
        Refusals().tell(connection, None, error)
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_connections_are_numbered(app_server: Server) -> None:
    numbers = [app_server.client().connection.number for _ in range(3)]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [("DELETE", "/history?channel=a", "purge"), ("DELETE", "/channels?channel=a", "forget")],
)
def test_what_operators_discard_is_noted(
    guarded: Server, caplog: pytest.LogCaptureFixture, method: str, path: str, action: str
) -> None:
    caplog.set_level(logging.INFO, "tidewire.audit")
    assert guarded.get(path, KEY, method=method).status == 200
    (record,) = [record for record in caplog.records if record.name == "tidewire.audit"]
    facts: dict[str, Any] = record.facts  # type: ignore[attr-defined]
    assert record.message == action
    assert (facts["caller"], facts["channel"]) == ("key 'api_key'", "a")
    assert facts["peer"] == "127.0.0.1:1"
    assert facts["request"]


def test_what_operators_revoke_is_noted(guarded: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tidewire.audit")
    reply = guarded.get("/revoke", KEY, method="POST", body=b'{"user":"42"}')
    assert reply.status == 204
    (record,) = [record for record in caplog.records if record.name == "tidewire.audit"]
    assert (record.message, record.facts["user"]) == ("revoke", "42")  # type: ignore[attr-defined]
