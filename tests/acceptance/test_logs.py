"""The server's log, read from outside: what it tells of requests, and what it keeps to itself."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.acceptance.credentials import KEY, SECRET, bearer, token
from tests.acceptance.raw_http import RawConnection
from tests.acceptance.raw_websocket import RawWebSocket
from tests.acceptance.waiting import wait_until
from tests.certificates import Authority

if TYPE_CHECKING:
    from tests.conftest import StartServer
    from tests.server_process import ServerProcess

ROOM = {"room:*": ["subscribe", "publish", "history"]}
ADDRESSES = ["/sse", "/longpoll", "/poll", "/subscribe", "/history", "/publish", "/tickets"]


def lines(server: ServerProcess) -> list[dict[str, Any]]:
    """The log so far; the line that tells the address is not a part of it.

    Nor is one that is being written, of which there may be a half.
    """
    written = server.log().rpartition("\n")[0].splitlines()
    return [json.loads(line) for line in written if line.startswith("{")]


def requests(server: ServerProcess, count: int = 1) -> list[dict[str, Any]]:
    """The lines of the access log, once there are so many."""

    def found() -> list[dict[str, Any]]:
        return [line for line in lines(server) if line["logger"] == "tidewire.requests"]

    wait_until(lambda: len(found()) >= count)
    assert len(found()) == count, found()
    return found()


# The access log


@pytest.fixture
def logging(start: StartServer) -> ServerProcess:
    """A server with an access log, as JSON."""
    return start(access_log=True, log_format="json", log_level="warning")


def test_a_line_for_each_request(logging: ServerProcess) -> None:
    with RawConnection(logging.address) as client:
        bodies = []
        for number in range(1, 4):
            answer = client.get("/poll?channels=a", {"If-None-Match": "x"} if number == 3 else None)
            bodies.append(answer.body)
            line = requests(logging, number)[-1]
            assert line["method"] == "GET"
            assert line["target"] == "/poll?channels=a"
            assert line["status"] == answer.status == 200
            assert line["bytes"] > len(answer.body)
            assert 0 <= line["seconds"] < 10
    first, *others = requests(logging, 3)
    assert re.fullmatch(r"127\.0\.0\.1:\d+", first["peer"])
    assert all(line["connection"] == first["connection"] for line in others)
    assert len({line["request"] for line in (first, *others)}) == 3


def test_pipelined_requests_in_their_order(logging: ServerProcess) -> None:
    with RawConnection(logging.address) as client:
        targets = [f"/{name}" for name in ("healthz", "nothing", "poll?channels=a", "readyz")]
        client.send(
            b"".join(f"GET {t} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for t in targets)
        )
        statuses = [client.response().status for _ in targets]
    found = requests(logging, 4)
    assert [(line["target"], line["status"]) for line in found] == list(
        zip(targets, statuses, strict=True)
    )
    assert statuses == [200, 404, 200, 200]


def test_streams_when_they_have_ended(logging: ServerProcess) -> None:
    with RawWebSocket(logging.address) as socket, RawConnection(logging.address) as events:
        socket.open("/ws?channels=a")
        events.request("GET", "/sse?channels=a")
        events.read_until(b"tidewire.ready")
        answer = httpx.post(f"{logging.url}/publish", json={"channel": "a", "data": "x" * 5_000})
        assert answer.status_code == 200
        events.read_until(b"x" * 5_000)
        socket.read_frame()
        socket.read_frame()
        requests(logging, 1)
    publish, *streams = requests(logging, 3)
    assert (publish["method"], publish["target"]) == ("POST", "/publish")
    assert {(line["target"], line["status"]) for line in streams} == {
        ("/ws?channels=a", 101),
        ("/sse?channels=a", 200),
    }
    assert all(5_000 < line["bytes"] < 7_000 for line in streams)


def test_requests_that_get_no_answer_or_are_none(logging: ServerProcess) -> None:
    with RawConnection(logging.address) as client:
        client.request("GET", "/longpoll?channels=a&wait=60")
        client.request("GET", "/healthz")  # behind it
    (left,) = requests(logging, 1)
    assert (left["target"], left["status"], left["bytes"]) == ("/longpoll?channels=a&wait=60", 0, 0)
    with RawConnection(logging.address) as client:
        client.send(b"nonsense\r\n\r\n")
        assert client.response().status == 400
    _, wrong = requests(logging, 2)
    assert wrong["status"] == 400
    assert "target" not in wrong


def test_over_tls(start: StartServer, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    settings = authority.issue().settings
    server = start(**settings, access_log=True, log_format="json", log_level="warning")
    with RawConnection(server.address, tls=authority.client_context()) as client:
        assert client.get("/readyz").status == 200
    (line,) = requests(server)
    assert (line["target"], line["status"]) == ("/readyz", 200)


def test_who_asked(start: StartServer) -> None:
    server = start(
        access_log=True, log_format="json", log_level="warning", api_key=KEY, token_secret=SECRET
    )
    with httpx.Client(base_url=server.url) as client:
        for headers in (bearer(token("42", ROOM)), {"X-API-Key": KEY}):
            assert client.get("/poll?channels=room:1", headers=headers).status_code == 200
        assert client.get("/healthz").status_code == 200
    callers = [line.get("caller") for line in requests(server, 3)]
    assert callers == ["user '42'", "key 'api_key'", None]


def test_without_it_there_are_none(start: StartServer) -> None:
    server = start(log_format="json", log_level="debug")
    for path in ("/healthz", "/nothing", "/poll?channels=a"):
        httpx.get(server.url + path)
    server.terminate()
    server.wait()
    assert "tidewire.requests" not in {line["logger"] for line in lines(server)}


# Refusals


def test_a_refused_client_can_say_where_the_operator_has_to_look(start: StartServer) -> None:
    server = start(log_format="json", token_secret=SECRET)
    with httpx.Client(base_url=server.url) as client:
        good = bearer(token("42", ROOM))
        answers = [
            client.get("/poll?channels=room:1"),
            client.get("/poll?channels=room:1&token=nonsense"),
            client.get("/poll?channels=other:1", headers=good),
            client.get("/metrics", headers=good),
        ]
    assert [answer.status_code for answer in answers] == [401, 401, 403, 403]
    told = {line["request"]: line for line in lines(server) if line["event"] == "refused"}
    found = [told[answer.json()["instance"].rpartition(":")[2]] for answer in answers]
    assert "other:1" in found[2]["why"]
    assert found[2]["caller"] == "user '42'"
    assert "scope" in found[3]["why"]
    for answer, line in zip(answers, found, strict=True):
        assert line["status"] == answer.status_code
        assert line["why"] not in answer.text


def test_so_are_commands_of_a_websocket(start: StartServer) -> None:
    server = start(log_format="json", token_secret=SECRET)
    url = f"{server.url.replace('http', 'ws')}/ws?token={token('42', ROOM)}"
    with connect(url, proxy=None) as socket:
        socket.recv()
        socket.send('{"type":"subscribe","ref":1,"channels":["other:1"]}')
        assert json.loads(socket.recv())["code"] == "forbidden"
    (line,) = [line for line in lines(server) if line["event"] == "refused"]
    assert line["caller"] == "user '42'"
    assert "subscribe other:1" in line["why"]
    assert line["connection"]


# Secrets


class Secrets:
    """Makes secrets that are found again, and remembers them."""

    def __init__(self) -> None:
        self.all: list[str] = [KEY, SECRET]

    def any(self) -> str:
        """One that is no credential of anybody."""
        return self.keep(f"s3cret-{len(self.all)}-of-the-tests")

    def keep(self, secret: str) -> str:
        """Remember *secret*."""
        self.all.append(secret)
        return secret

    def good(self) -> str:
        """A token that is good."""
        return self.keep(token("42", ROOM, jti=f"id-{len(self.all)}"))

    def bad(self) -> str:
        """A token that is not."""
        return self.keep(token("42", ROOM, secret=SECRET[::-1], jti=f"id-{len(self.all)}"))


def show_everywhere(server: ServerProcess, secrets: Secrets) -> None:
    """Send a secret in every place where one can be sent, good ones and bad ones."""
    _show_in_odd_places(server, secrets)
    _show_to_a_websocket(server, secrets)
    with httpx.Client(base_url=server.url, timeout=20) as client:
        for path in [*ADDRESSES, "/nothing", "/metrics", "/revoke", "/healthz"]:
            method = "POST" if path in ("/publish", "/tickets", "/revoke") else "GET"
            for name in ("token", "ticket", "api_key", "tok%65n", "access_token", "TOKEN"):
                for secret in (secrets.good(), secrets.bad(), secrets.any()):
                    url = f"{path}?channels=room:1&wait=1&since=now&{name}={secret}"
                    with client.stream(method, url):
                        pass
            for header, secret in [
                ("Authorization", f"Bearer {secrets.bad()}"),
                ("Authorization", f"bearer  {secrets.any()}"),
                ("Authorization", f"Basic {secrets.any()}"),
                ("Authorization", secrets.any()),
                ("X-API-Key", secrets.any()),
                ("X-API-Key", KEY),
                ("Cookie", f"session={secrets.good()}; other={secrets.any()}"),
                ("Proxy-Authorization", secrets.any()),
            ]:
                with client.stream(
                    method, f"{path}?channels=room:1&wait=1", headers={header: secret}
                ):
                    pass
        ticket = client.post("/tickets", headers=bearer(secrets.good())).json()["ticket"]
        for _ in range(2):  # the second time it is used up
            client.get(f"/poll?channels=room:1&ticket={secrets.keep(ticket)}")
        client.post("/publish", content=f'{{"channel":{secrets.any()}', headers={"X-API-Key": KEY})
        client.post("/revoke", json={"token": "id-1"}, headers={"X-API-Key": KEY})


def _show_in_odd_places(server: ServerProcess, secrets: Secrets) -> None:
    for head in (
        f"GET http://user:{secrets.any()}@localhost/poll?channels=a&token={secrets.any()} HTTP/1.1",
        f"GET /sse%3Ftoken%3D{secrets.any()} HTTP/1.1",
        f"GET /poll?token={secrets.any()}&channels=\x1b[2J HTTP/1.1",
        f"GET /poll?token={secrets.any()} HTTP/3.0",
        f"GET /poll?channels=a HTTP/1.1\r\nAuthorization: Bearer {secrets.any()}\r\nbad header",
        f"GET /poll?token={secrets.any()}{'x' * 9000} HTTP/1.1",
        f"NONSENSE /ws?ticket={secrets.any()} HTTP/1.1",
        f"OPTIONS /ws?ticket={secrets.any()} HTTP/1.1",
        f"GET /{secrets.good()} HTTP/1.1",
    ):
        with RawConnection(server.address) as client:
            client.send(f"{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            client.read_to_end()


def _show_to_a_websocket(server: ServerProcess, secrets: Secrets) -> None:
    url = server.url.replace("http", "ws")
    for name, secret in [
        ("token", secrets.bad()),
        ("ticket", secrets.any()),
        ("api_key", secrets.any()),
    ]:
        with contextlib.suppress(InvalidStatus), connect(f"{url}/ws?{name}={secret}", proxy=None):
            pass
    with connect(f"{url}/ws?channels=room:1&token={secrets.good()}", proxy=None) as socket:
        socket.recv()
        for command in (
            {"type": "refresh", "ref": 1, "token": secrets.good()},
            {"type": "refresh", "ref": 2, "token": secrets.bad()},
            {"type": "refresh", "ref": 3, "token": secrets.any()},
            {"type": secrets.any(), "ref": 4},
        ):
            socket.send(json.dumps(command))
            socket.recv()
        socket.send(f"not JSON: {secrets.any()}")
        with contextlib.suppress(Exception):
            socket.recv()


@pytest.mark.parametrize("shape", ["json", "pretty"])
def test_no_secret_is_in_the_log(start: StartServer, shape: str) -> None:
    server = start(
        api_key=KEY,
        token_secret=SECRET,
        token_cookie="session",
        log_level="debug",
        log_format=shape,
        access_log=True,
    )
    secrets = Secrets()
    show_everywhere(server, secrets)
    server.terminate()
    assert server.wait() == 0
    written = server.log()
    assert len(secrets.all) > 250
    for secret in secrets.all:
        parts = [secret] if "." not in secret else [secret, secret.rpartition(".")[2]]
        for part in parts:
            at = written.find(part)
            assert at < 0, written[max(at - 300, 0) : at + 100]
    assert written.count("***") > 100
    assert all(line.isprintable() for line in written.splitlines())
    if shape == "json":
        about_requests = [line for line in lines(server) if "target" in line]
        assert len(about_requests) > 250
        assert all(line["connection"] and line["request"] for line in about_requests)
