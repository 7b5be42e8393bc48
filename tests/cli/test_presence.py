"""``tidewire presence``: a number, the members, and who comes and goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import connect

from tests.acceptance.waiting import wait_until
from tests.cli.commands import COMMAND, PATIENCE, environment, run, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server_process import ServerProcess


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = serve(tmp_path_factory.mktemp("presence"), "--presence", "--presence-grace", "0.2")
    yield server
    server.kill()


def count(server: ServerProcess, channel: str) -> Any:
    [line] = run("presence", channel, TIDEWIRE_URL=server.url).lines
    return line["count"]


def test_how_many_and_who(live: ServerProcess) -> None:
    url = live.url.replace("http", "ws")
    with connect(f"{url}/ws?channels=a&device=tv") as one, connect(f"{url}/ws?channels=a") as two:
        one.recv()
        two.recv()
        wait_until(lambda: count(live, "a") == 2)
        wait_until(lambda: len(run("presence", "a", "--members", TIDEWIRE_URL=live.url).lines) == 2)
        result = run("presence", "a", "--members", TIDEWIRE_URL=live.url)
        assert {member["transport"] for member in result.lines} == {"websocket"}
        assert sorted(member.get("device", "") for member in result.lines) == ["", "tv"]
        assert "2 on a" in result.err
    assert run("presence", "a", "--members", "--quiet", TIDEWIRE_URL=live.url).err == ""


def test_who_comes_and_goes(live: ServerProcess) -> None:
    url = live.url.replace("http", "ws")
    with connect(f"{url}/ws?channels=b") as first:
        first.recv()
        wait_until(lambda: run("presence", "b", "--members", TIDEWIRE_URL=live.url).lines)
        following = subprocess.Popen(
            [*COMMAND, "presence", "b", "--follow", "--quiet"],
            stdout=subprocess.PIPE,
            env=environment(TIDEWIRE_URL=live.url),
        )
        try:
            assert following.stdout is not None
            member = json.loads(following.stdout.readline())
            assert json.loads(following.stdout.readline())["type"] == "ready"
            with connect(f"{url}/ws?channels=b") as second:
                second.recv()
                news: list[dict[str, Any]] = []
                while not news or news[-1]["event"] != "leave":
                    news.append(json.loads(following.stdout.readline()))
                    second.close()
            joined = [one["data"]["client"] for one in news if one["event"] == "join"]
            assert news[-1]["data"]["client"] == joined[-1] != member["client"]
            assert {one["channel"] for one in news} == {"@presence:b"}
        finally:
            os.kill(following.pid, signal.SIGINT)
            following.communicate(timeout=PATIENCE)
    assert following.returncode == 0


def test_where_nobody_keeps_it(live: ServerProcess) -> None:
    result = run("presence", "@presence:a", TIDEWIRE_URL=live.url)
    assert result.code == 1
    assert "nobody keeps who is on" in result.err
