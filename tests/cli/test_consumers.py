"""``tidewire sub --consumer``, ``ack``, ``nack`` and ``receipts`` against a real server."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.cli.commands import Running, run

if TYPE_CHECKING:
    from tests.server_process import ServerProcess

TRANSPORTS = pytest.mark.parametrize("transport", ["ws", "sse", "longpoll", "poll"])


def publish(server: ServerProcess, channel: str, *data: Any) -> list[str]:
    """Publish a message for each of ``data``; return their ids."""
    body = {"messages": [{"channel": channel, "data": one} for one in data]}
    answer = httpx.post(f"{server.url}/publish", json=body).raise_for_status()
    return [result["id"] for result in answer.json()["results"]]


def consume(channel: str, *arguments: str) -> list[str]:
    return ["sub", channel, "--consumer", f"{channel}:worker", "--messages-only", *arguments]


@TRANSPORTS
def test_a_consumer_goes_on_after_what_it_has_printed(
    transport: str, live: ServerProcess, channel: str
) -> None:
    publish(live, channel, *range(6))
    common = consume(channel, "-t", transport, "--since", "start", "-n", "3", "-q")
    first = run(*common, TIDEWIRE_URL=live.url)
    assert (first.code, first.err, first.data) == (0, "", [0, 1, 2])
    second = run(*common, TIDEWIRE_URL=live.url)
    assert second.data == [3, 4, 5]
    assert all("deliveries" not in line for line in first.lines)


def test_what_is_printed_is_acknowledged_when_a_signal_ends_it(
    live: ServerProcess, channel: str
) -> None:
    publish(live, channel, 1)
    with Running(*consume(channel, "--since", "start"), TIDEWIRE_URL=live.url) as sub:
        assert sub.line()["data"] == 1
        assert sub.end(signal.SIGINT).code == 0
    publish(live, channel, 2)
    assert run(*consume(channel, "-n", "1"), TIDEWIRE_URL=live.url).data == [2]


def test_without_acknowledgement_it_all_comes_again(live: ServerProcess, channel: str) -> None:
    publish(live, channel, 1, 2)
    common = consume(channel, "--ack", "none", "--since", "start", "-n", "2")
    assert run(*common, TIDEWIRE_URL=live.url).data == [1, 2]
    again = run(*common, TIDEWIRE_URL=live.url)
    assert again.data == [1, 2]
    assert [line["deliveries"] for line in again.lines] == [2, 2]


def test_acknowledged_by_hand(live: ServerProcess, channel: str) -> None:
    ids = publish(live, channel, 1, 2, 3)
    name = f"{channel}:worker"
    common = consume(channel, "--ack", "none", "--since", "start", "-n")
    assert run(*common, "3", TIDEWIRE_URL=live.url).data == [1, 2, 3]
    upto = run("ack", name, ids[0], TIDEWIRE_URL=live.url)
    assert (upto.code, upto.out) == (0, "")
    assert upto.err == f"acknowledged for {name}: all up to {ids[0]}\n"
    alone = run("ack", name, ids[2], "--single", "-q", TIDEWIRE_URL=live.url)
    assert (alone.code, alone.err) == (0, "")
    left = run(*common, "1", TIDEWIRE_URL=live.url)
    assert left.data == [2]


def test_what_is_not_dealt_with_comes_again_at_once_or_is_given_up(
    live: ServerProcess, channel: str
) -> None:
    ids = publish(live, channel, 1, 2)
    name = f"{channel}:worker"
    with Running(*consume(channel, "--ack", "none", "--since", "start"),
                 TIDEWIRE_URL=live.url) as sub:  # fmt: skip
        assert [sub.line()["data"] for _ in range(2)] == [1, 2]
        again = run("nack", name, ids[0], TIDEWIRE_URL=live.url)
        assert (again.code, again.err) == (0, f"to be sent again for {name}: {ids[0]}\n")
        line = sub.line()
        assert (line["data"], line["deliveries"]) == (1, 2)
        given_up = run("nack", name, ids[1], "--reject", TIDEWIRE_URL=live.url)
        assert given_up.err == f"rejected for {name}: {ids[1]}\n"
    [dead] = run("history", f"dead-letter:{name}", TIDEWIRE_URL=live.url).lines
    assert dead["data"] == 2
    assert dead["headers"]["tidewire-reason"] == "rejected"


def test_receipts_name_those_who_have_it_and_those_who_have_not(
    live: ServerProcess, channel: str
) -> None:
    [id] = publish(live, channel, "hello")
    for name, ack in {"alice": "auto", "bob": "none"}.items():
        flags = ["--consumer", f"{channel}:{name}", "--ack", ack, "--since", "start", "-n", "1"]
        assert run("sub", channel, *flags, TIDEWIRE_URL=live.url).code == 0
    result = run("receipts", channel, id, TIDEWIRE_URL=live.url)
    assert result.code == 0
    assert [json.loads(line) for line in result.out.splitlines()] == [
        {"consumer": f"{channel}:alice", "acknowledged": True},
        {"consumer": f"{channel}:bob", "acknowledged": False, "deliveries": 1},
    ]
    assert result.err == "acknowledged by 1, not yet by 1\n"


@TRANSPORTS
def test_the_newer_of_two_takes_over(transport: str, live: ServerProcess, channel: str) -> None:
    arguments = consume(channel, "-t", transport)
    with Running(*arguments, TIDEWIRE_URL=live.url) as older:
        older.told("connected")
        with Running(*arguments, TIDEWIRE_URL=live.url) as newer:
            newer.told("connected")
            if transport == "poll":
                return  # neither is held, so neither is in the way of the other
            result = older.end()
            assert result.code == 1
            assert result.err == (
                f"tidewire: {live.url}: another connection with the same consumer name took over; "
                "give each program a name of its own, or run one of them\n"
            )
            publish(live, channel, "for the newer")
            assert newer.line()["data"] == "for the newer"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["sub", "a", "--ack", "none"], "add --consumer NAME"),
        (["sub", "a", "--consumer", "w", "--cursor-file", "f"], "leave out --cursor-file"),
        (["ack", "w", "x-1", "x-2"], "add --single"),
        (["nack", "w", "x-1", "--reject", "--delay", "1"], "use --delay or --reject"),
    ],
)
def test_calls_that_contradict_themselves(arguments: list[str], problem: str) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert problem in result.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["ack", "nobody", "{id}"], "(HTTP 404)"),
        (["nack", "nobody", "{id}"], "(HTTP 404)"),
        (["ack", "nobody", "AAAAAA-1"], "(HTTP 400)"),
        (["ack", "no body", "{id}"], "use 1 to 128 of A-Z a-z 0-9 _ - . : / @ # (HTTP 400)"),
        (["receipts", "no such name", "{id}"], "is not a channel name"),
    ],
)
def test_a_refusal_says_why(
    arguments: list[str], problem: str, live: ServerProcess, channel: str
) -> None:
    [id] = publish(live, channel, 1)
    result = run(*(one.format(id=id) for one in arguments), TIDEWIRE_URL=live.url)
    assert (result.code, result.out) == (1, "")
    assert problem in result.err
    assert result.err.count("\n") == 1
