"""Tickets, cookies, and what is offered to whom: how browsers come in."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.acceptance.credentials import BRIEF, KEY, SECRET, bearer, key_file, token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

ROOM = {"room:*": ["subscribe", "publish"]}
APP = "https://app.example"
EVIL = "https://evil.example"
BY_KEY = {"X-API-Key": KEY}
TTL = 60
"""Seconds: no ticket ends of itself before it is shown, but where that is tested."""


@pytest.fixture(scope="module")
def server(start_shared: StartServer) -> ServerProcess:
    return start_shared(
        api_key=KEY,
        token_secret=SECRET,
        allowed_origins=APP,
        ticket_ttl=TTL,
        token_cookie="session",
    )


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as client:
        yield client


def ticket_of(http: httpx.Client, body: object = None, **headers: str) -> str:
    answer = http.post("/tickets", content=json.dumps(body) if body else b"", headers=headers)
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == TTL
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.json()["ticket"])


def status(http: httpx.Client, path: str, ticket: str, **headers: str) -> int:
    query = {"channels": "room:1", "wait": "1", "ticket": ticket}
    with http.stream("GET", path, params=query, headers=headers) as answer:
        return answer.status_code


def handshake(server: ServerProcess, query: str, **headers: str) -> int:
    async def shake() -> int:
        url = f"{server.url.replace('http', 'ws')}/ws?{query}"
        try:
            async with connect(url, additional_headers=headers):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    return asyncio.run(shake())


@pytest.mark.parametrize("path", ["/sse", "/longpoll", "/poll"])
def test_a_ticket_is_good_once(http: httpx.Client, path: str) -> None:
    ticket = ticket_of(http, **bearer(token("1", ROOM)))
    assert status(http, path, ticket) in (200, 204)
    assert status(http, path, ticket) == 401


def test_a_captured_handshake_cannot_be_repeated(http: httpx.Client, server: ServerProcess) -> None:
    ticket = ticket_of(http, **bearer(token("1", ROOM)), Origin=APP)
    query = f"channels=room:1&ticket={ticket}"
    assert handshake(server, query, Origin=APP) == 101
    assert handshake(server, query, Origin=APP) == 401


def test_a_ticket_is_for_pages_of_the_origin_that_asked(
    http: httpx.Client, server: ServerProcess
) -> None:
    ticket = ticket_of(http, **bearer(token("1", ROOM)), Origin=APP)
    assert handshake(server, f"ticket={ticket}") == 401
    given = ticket_of(http, {"origin": "https://other.example"}, **bearer(token("1", ROOM)))
    assert handshake(server, f"ticket={given}", Origin=APP) == 401


def test_a_ticket_has_no_more_rights_than_who_asked_for_it(http: httpx.Client) -> None:
    ticket = ticket_of(http, **bearer(token("1", {"room:2": ["subscribe"]})))
    assert status(http, "/poll", ticket) == 403


def test_a_ticket_is_good_for_seconds(start: StartServer) -> None:
    server = start(token_secret=SECRET, ticket_ttl=1)
    with httpx.Client(base_url=server.url, timeout=10) as http:
        given = http.post("/tickets", headers=bearer(token("1", ROOM))).json()
        assert given["expires_in"] == 1
        time.sleep(1.1)  # its time, which the setting says
        assert status(http, "/poll", given["ticket"]) == 401


def test_a_connection_by_ticket_ends_with_the_token_behind_it(http: httpx.Client) -> None:
    ticket = ticket_of(http, **bearer(token("1", ROOM, lasts=BRIEF)))
    query = {"channels": "room:1", "ticket": ticket}
    with http.stream("GET", "/sse", params=query) as answer:
        *_, last = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert json.loads(last.removeprefix("data: "))["code"] == 4401


def test_a_back_end_asks_for_its_users(http: httpx.Client) -> None:
    ticket = ticket_of(http, {"user": "7", "channels": {"room:*": ["subscribe"]}}, **BY_KEY)
    assert status(http, "/poll", ticket) == 200
    private = ticket_of(http, {"user": "7"}, **BY_KEY)
    query = {"channels": "inbox:#7", "ticket": private}
    assert http.get("/poll", params=query).status_code == 200


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        ({"user": "7"}, bearer(token("1", ROOM)), 403),
        ({"channels": {"*": ["subscribe"]}}, bearer(token("1", ROOM)), 400),
        ({"user": "7", "channels": {"*": ["everything"]}}, BY_KEY, 400),
        ({"user": ""}, BY_KEY, 400),
        ({"user": "a\nb"}, BY_KEY, 400),
        ({"nonsense": 1}, BY_KEY, 400),
        ([], BY_KEY, 400),
    ],
)
def test_what_no_ticket_is_made_of(
    http: httpx.Client, body: object, headers: dict[str, str], expected: int
) -> None:
    answer = http.post("/tickets", content=json.dumps(body), headers=headers)
    assert answer.status_code == expected


def test_of_many_that_show_it_at_once_one_gets_in(
    http: httpx.Client, server: ServerProcess
) -> None:
    ticket = ticket_of(http, **bearer(token("1", ROOM)))

    async def storm() -> list[int]:
        async with httpx.AsyncClient(base_url=server.url) as client:
            query = {"channels": "room:1", "ticket": ticket}
            answers = await asyncio.gather(*(client.get("/poll", params=query) for _ in range(30)))
            return [answer.status_code for answer in answers]

    assert sorted(asyncio.run(storm())) == [200] + [401] * 29


def test_a_ticket_counts_on_every_server_of_the_log(start: StartServer, shared_engine: str) -> None:
    one, other = (start(engine=shared_engine, token_secret=SECRET) for _ in range(2))
    with httpx.Client(base_url=one.url) as a, httpx.Client(base_url=other.url) as b:
        answer = a.post("/tickets", headers=bearer(token("1", ROOM)))
        query = {"channels": "room:1", "ticket": answer.json()["ticket"]}
        assert b.get("/poll", params=query).status_code == 200
        assert a.get("/poll", params=query).status_code == 401


# Cookies


def cookie(text: str) -> dict[str, str]:
    return {"Cookie": f"other=1; session={text}"}


def test_a_cookie_on_a_page_of_an_allowed_origin(http: httpx.Client, server: ServerProcess) -> None:
    good = cookie(token("1", ROOM))
    query = {"channels": "room:1"}
    assert http.get("/poll", params=query, headers={**good, "Origin": APP}).status_code == 200
    fetched = {**good, "Sec-Fetch-Site": "same-origin"}
    assert http.get("/poll", params=query, headers=fetched).status_code == 200
    assert handshake(server, "channels=room:1", **good, Origin=APP) == 101


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": EVIL, "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_a_cookie_alone_is_nothing(
    http: httpx.Client, server: ServerProcess, headers: dict[str, str]
) -> None:
    """A browser sends it with what any page makes it send (CSRF, CSWSH)."""
    sent = {**cookie(token("1", ROOM)), **headers}
    assert http.get("/poll?channels=room:1", headers=sent).status_code in (401, 403)
    message = {"channel": "room:1", "data": "forged"}
    assert http.post("/publish", json=message, headers=sent).status_code in (401, 403)
    assert handshake(server, "channels=room:1", **sent) in (401, 403)


def test_pages_of_an_allowed_origin_may_send_cookies(http: httpx.Client) -> None:
    """Fetch: without that header a page does not see the answer."""
    headers = {**cookie(token("1", ROOM)), "Origin": APP}
    answer = http.get("/poll?channels=room:1", headers=headers)
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-credentials"] == "true"
    preflight = http.options("/publish", headers={"Origin": APP})
    assert preflight.headers["access-control-allow-credentials"] == "true"


def test_without_the_setting_a_cookie_is_nothing(start: StartServer) -> None:
    server = start(token_secret=SECRET, allowed_origins=APP)
    headers = {**cookie(token("1", ROOM)), "Origin": APP}
    answer = httpx.get(f"{server.url}/poll?channels=room:1", headers=headers)
    assert answer.status_code == 401
    assert "access-control-allow-credentials" not in answer.headers


# Negotiating


def test_what_can_be_used_best_first(http: httpx.Client, server: ServerProcess) -> None:
    answer = http.post("/negotiate", headers=bearer(token("1", ROOM)))
    assert answer.status_code == 200
    offer = answer.json()
    assert [one["transport"] for one in offer["transports"]] == [
        "websocket",
        "sse",
        "longpoll",
        "poll",
    ]
    assert offer["user"] == "1"
    assert offer["limits"]["max_message_size"] == 1 << 20
    for one in offer["transports"]:
        if one["transport"] != "websocket":
            found = (
                http.get(
                    one["url"],
                    params={"channels": "room:1", "wait": "1", "since": "-1"},
                    headers={**bearer(token("1", ROOM)), "Range": "bytes=0-0"},
                )
                if one["transport"] != "sse"
                else None
            )
            assert found is None or found.status_code in (200, 204)
    assert offer["transports"][0]["url"] == f"{server.url.replace('http', 'ws')}/ws"


def test_what_the_client_cannot_use_is_not_offered(http: httpx.Client) -> None:
    headers = bearer(token("1", ROOM))
    wishes = {"transports": ["poll", "sse"]}
    offer = http.post("/negotiate", json=wishes, headers=headers).json()
    assert [one["transport"] for one in offer["transports"]] == ["sse", "poll"]
    old = {**headers, "User-Agent": "Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko"}
    offer = http.post("/negotiate", headers=old).json()
    assert "sse" not in [one["transport"] for one in offer["transports"]]


def test_channels_that_are_not_allowed_are_refused_here_too(
    http: httpx.Client, server: ServerProcess
) -> None:
    wishes = {"channels": ["room:1", "secret"]}
    answer = http.post("/negotiate", json=wishes, headers=bearer(token("1", ROOM)))
    assert answer.status_code == 403
    assert "allow_subscribe" not in answer.text
    assert "allow_subscribe" in server.log()


def test_more_channels_than_a_subscription_may_hold(http: httpx.Client) -> None:
    wishes = {"channels": [f"room:{number}" for number in range(257)]}
    answer = http.post("/negotiate", json=wishes, headers=bearer(token("1", ROOM)))
    assert (answer.status_code, answer.json()["code"]) == (400, "too_many_channels")


@pytest.mark.parametrize(
    "wishes", [{"transports": ["carrier pigeon"]}, {"x": 1}, {"channels": [""]}]
)
def test_wishes_that_make_no_sense(http: httpx.Client, wishes: object) -> None:
    answer = http.post("/negotiate", json=wishes, headers=bearer(token("1", ROOM)))
    assert answer.status_code == 400


# Scopes of keys


def test_a_key_that_may_make_tickets_and_nothing_else(start: StartServer, tmp_path: Path) -> None:
    server = start(
        token_secret=SECRET,
        api_keys_file=key_file(tmp_path / "keys.toml", login=("login-key", ["tickets"])),
    )
    with httpx.Client(base_url=server.url, headers={"X-API-Key": "login-key"}) as http:
        body = {"user": "7", "channels": {"room:*": ["subscribe"]}}
        ticket = http.post("/tickets", json=body).json()["ticket"]
        assert http.get("/poll?channels=room:1").status_code == 403
    query = {"channels": "room:1", "ticket": ticket}
    assert httpx.get(f"{server.url}/poll", params=query).status_code == 200
