"""Every address and every WebSocket command, by every kind of caller.

The lists come from the server's own tables of routes and commands: a new one that is not dealt with
here fails, and so does one that lets in a caller without what its table says it needs.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.acceptance.credentials import KEY, SECRET, bearer, key_file, token
from tidewire.access.caller import RIGHTS, SCOPES
from tidewire.hub import Hub
from tidewire.log import MemoryEngine
from tidewire.model import Namespaces, Retention
from tidewire.server.app import App
from tidewire.settings import Settings
from tidewire.transports.commands import Command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

CHANNEL = "room:1"
ALL = sorted(RIGHTS)
DIGEST = "0" * 64


def routes() -> list[tuple[str, str, str]]:
    """Method, path and need of everything that the server answers."""

    async def make() -> list[tuple[str, str, str]]:
        hub = Hub(MemoryEngine(Namespaces(Retention(1, 1))))
        app = App(Settings(echo=True), hub, asyncio.get_running_loop())
        return [
            (method.decode(), path.decode(), endpoint.needs)
            for path, endpoints in app._routes.items()
            for method, endpoint in endpoints.items()
        ]

    return asyncio.run(make())


ROUTES = routes()
NEEDS = {(method, path): need for method, path, need in ROUTES}

# How to ask for each thing so that nothing but a right could be missing: query, and body.
REQUESTS: dict[str, tuple[str, str | None]] = {
    "GET /ws": (f"channels={CHANNEL}", None),
    "GET /sse": (f"channels={CHANNEL}&since=start", None),
    "GET /longpoll": (f"channels={CHANNEL}&since=start&wait=1", None),
    "GET /poll": (f"channels={CHANNEL}", None),
    "GET /subscribe": (f"channels={CHANNEL}", None),
    "POST /negotiate": ("", ""),
    "POST /publish": ("", json.dumps({"channel": CHANNEL, "data": 1})),
    "GET /history": (f"channel={CHANNEL}", None),
    "GET /presence": (f"channel={CHANNEL}", None),
    "DELETE /history": ("channel=room:gone", None),
    "DELETE /channels": ("channel=room:gone", None),
    "POST /ack": ("consumer=c&eventId={id}", ""),
    "POST /nack": ("consumer=c&eventId={id}", ""),
    "GET /receipts": (f"channel={CHANNEL}&eventId={{id}}", None),
    "POST /tickets": ("", ""),
    "POST /refresh": ("session=none", ""),
    "POST /revoke": ("", json.dumps({"token": "no-such-token"})),
    "GET /metrics": ("", None),
    "GET /connections": ("", None),
    "DELETE /connections": ("user=nobody", None),
    "GET /connections/{id}": ("", None),
    "DELETE /connections/{id}": ("", None),
    "GET /nodes": ("", None),
}

COMMANDS: dict[str, dict[str, Any]] = {
    "subscribe": {"channels": [CHANNEL]},
    "unsubscribe": {"channels": [CHANNEL]},
    "publish": {"channel": CHANNEL, "data": 1},
    "history": {"channel": CHANNEL},
    "presence": {"channel": CHANNEL},
    "ping": {},
    "ack": {"id": "{id}"},
    "nack": {"id": "{id}"},
    "upload": {
        "upload": "u1",
        "channel": CHANNEL,
        "name": "file",
        "size": 1,
        "sha256": DIGEST,
    },
    "chunk": {"upload": 99},
    "refresh": {"token": "none"},
}
COMMAND_NEEDS = {str(kind.__struct_config__.tag): kind.needs for kind in get_args(Command)}


class Caller(NamedTuple):
    """Who asks, by what, and what that gives: rights, scopes; ``refused``: its credentials."""

    name: str
    headers: dict[str, str]
    has: frozenset[str] = frozenset()
    refused: bool = False

    def __repr__(self) -> str:
        return self.name


def user(*rights: str) -> Caller:
    shown = bearer(token("42", {"room:*": list(rights)}))
    return Caller(f"user with {'+'.join(rights) or 'nothing'}", shown, frozenset(rights))


CALLERS = [
    Caller("stranger", {}, refused=True),
    Caller("forged token", bearer(token("42", {"*": ALL}, secret="x" * 40)), refused=True),
    Caller("expired token", bearer(token("42", {"*": ALL}, lasts=-60)), refused=True),
    Caller("unknown key", {"X-API-Key": "unknown"}, refused=True),
    Caller("no bearer", {"Authorization": "Basic abc"}, refused=True),
    user(),
    *(user(right) for right in ALL),
    user(*ALL),
    Caller("user of another channel", bearer(token("42", {"other:*": ALL}))),
    *(
        Caller(f"key with {scope}", {"X-API-Key": f"key-{scope}"}, frozenset({scope}))
        for scope in sorted(SCOPES)
    ),
    Caller("the key", {"X-API-Key": KEY}, SCOPES),
    Caller("the key as a bearer", bearer(KEY), SCOPES),
]


@pytest.fixture(scope="module")
def server(start_shared: StartServer, tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    directory = tmp_path_factory.mktemp("keys")
    keys = {scope: (f"key-{scope}", [scope]) for scope in SCOPES}
    return start_shared(
        api_key=KEY,
        api_keys_file=key_file(directory / "keys.toml", **keys),
        token_secret=SECRET,
        echo=True,
        upload_dir=directory / "uploads",
    )


@pytest.fixture(scope="module")
def everything() -> Caller:
    return user(*ALL)


@pytest.fixture(scope="module")
def message_id(server: ServerProcess) -> str:
    """A message, which the consumer ``c`` of user 42 and of the back ends has been sent."""
    by_key, by_user = {"X-API-Key": KEY}, user(*ALL).headers
    with httpx.Client(base_url=server.url) as http:
        published = http.post("/publish", json={"channel": CHANNEL, "data": 1}, headers=by_key)
        id = str(published.json()["id"])
        for headers in (by_key, by_user):
            query = {"channels": CHANNEL, "consumer": "c", "since": "start"}
            assert http.get("/poll", params=query, headers=headers).status_code == 200
    return id


def is_allowed(caller: Caller, need: str | None) -> bool:
    """What should be so."""
    if need == "nothing":
        return True
    if caller.refused:
        return False
    if need == "caller" or need is None:
        return True
    return need in caller.has or (need == "ack" and "subscribe" in caller.has)


@pytest.fixture(scope="module")
def http(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as client:
        yield client


def status_of(
    http: httpx.Client, method: str, path: str, query: str, body: str | None, **headers: str
) -> int:
    """The status of an answer whose body may never end."""
    with http.stream(method, f"{path}?{query}", content=body, headers=headers) as answer:
        if answer.status_code in (401, 403) and method != "HEAD":
            answer.read()
            assert answer.headers["content-type"] == "application/problem+json"
            problem = answer.json()
            assert problem["status"] == answer.status_code
            assert "allow_" not in problem["detail"], "why is for the operator"
            assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)
        return answer.status_code


@pytest.mark.parametrize("caller", CALLERS, ids=repr)
def test_every_address(
    http: httpx.Client, message_id: str, caller: Caller, server: ServerProcess
) -> None:
    wrong = []
    for method, path, need in ROUTES:
        asked = f"{'GET' if method == 'HEAD' else method} {path}"
        if need == "nothing" and asked not in REQUESTS:
            query, body = "", None
        else:
            query, body = REQUESTS[asked]  # a new address needs a line there
        query = query.format(id=message_id)
        if path in ("/ws", "/echo"):
            status = asyncio.run(handshake(server, f"{path}?{query}", caller.headers))
        else:
            target = path.replace("{id}", "nobody")
            status = status_of(http, method, target, query, body, **caller.headers)
        allowed = is_allowed(caller, need)
        if allowed == (status in (401, 403)) or (status == 401) != (not allowed and caller.refused):
            wrong.append((method, path, need, status))
    assert not wrong


async def handshake(server: ServerProcess, target: str, headers: dict[str, str]) -> int:
    try:
        async with connect(
            f"{server.url.replace('http', 'ws')}{target}", additional_headers=headers
        ):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


@pytest.mark.parametrize("caller", [one for one in CALLERS if not one.refused], ids=repr)
async def test_every_command(server: ServerProcess, message_id: str, caller: Caller) -> None:
    wrong = []
    url = f"{server.url.replace('http', 'ws')}/ws"
    async with connect(url, additional_headers=caller.headers) as socket:
        await socket.recv()  # ready
        for name, need in COMMAND_NEEDS.items():
            fields = {k: message_id if v == "{id}" else v for k, v in COMMANDS[name].items()}
            await socket.send(json.dumps({"type": name, "ref": name} | fields))
            while (answer := json.loads(await socket.recv())).get("ref") != name:
                pass
            refused = answer.get("code") in ("forbidden", "no_credentials")
            if is_allowed(caller, need) == refused:
                wrong.append((name, need, answer))
    assert not wrong


@pytest.mark.parametrize("caller", [one for one in CALLERS if not one.refused], ids=repr)
async def test_acknowledging_over_a_websocket(
    server: ServerProcess, message_id: str, caller: Caller
) -> None:
    """Who may subscribe may acknowledge; who may not gets no connection of a consumer."""
    url = f"{server.url.replace('http', 'ws')}/ws?channels={CHANNEL}&consumer=w&since=start"
    if not is_allowed(caller, "subscribe"):
        with pytest.raises(InvalidStatus):
            await connect(url, additional_headers=caller.headers)
        return
    async with connect(url, additional_headers=caller.headers) as socket:
        await socket.send(json.dumps({"type": "ack", "ref": 1, "id": message_id}))
        while (answer := json.loads(await socket.recv())).get("ref") != 1:
            pass
        assert answer["type"] == "ok"


def test_every_address_says_what_it_needs() -> None:
    open_to_all = {path for _, path, need in ROUTES if need == "nothing"}
    console = {path for path in open_to_all if path == "/" or "." in path}
    assert open_to_all - console == {"/healthz", "/readyz", "/echo"}
    assert NEEDS["DELETE", "/history"] == "admin"
    assert NEEDS["GET", "/history"] == "history"


@pytest.mark.parametrize("path", ["/publish", "/sse", "/metrics", "/revoke"])
def test_a_preflight_needs_no_credentials(
    http: httpx.Client, server: ServerProcess, path: str
) -> None:
    """Browsers send none with it (Fetch, CORS-preflight)."""
    answer = http.options(path, headers={"Origin": server.url})
    assert answer.status_code == 204
    assert "Authorization" in answer.headers["access-control-allow-headers"]
