"""Log lines: one a record, readable by people or by programs, harmless to terminals."""

from __future__ import annotations

import json
import logging
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tidewire.access.audit import audit
from tidewire.server import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a client may send: escape sequences, line ends, a right-to-left override, NUL
HOSTILE = "\x1b[2J\r\n2030-01-01 [error] forged\u2028\u202e\x00\x7f\x9b1m"

SHAPES = ["pretty", "json"]
logger = logging.getLogger("tidewire.test")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Leave logging as it was."""
    names = ("", "httpx", "httpcore", logs.AUDIT, logs.REQUESTS)
    levels = {name: logging.getLogger(name).level for name in names}
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Any:
    """A function that gives the lines written since the last call."""

    def read() -> list[str]:
        out, error = capsys.readouterr()
        assert out == "", "standard output is for the address alone"
        assert error.endswith("\n")
        return error.removesuffix("\n").split("\n")

    return read


def fail_with(text: str) -> None:
    """Log an exception of *text*, raised where a secret is near."""
    api_key = "hunter2"
    try:
        if api_key:
            raise ValueError(text)
    except ValueError:
        logger.exception("it failed")


def say(text: str, **facts: object) -> None:
    """Log *text* with *facts*."""
    logger.info(text, extra={"facts": facts})


# Shapes


def test_a_pretty_line(lines: Any) -> None:
    logs.configure("info", "pretty")
    logger.warning("%d things at %s", 3, "/poll")
    (line,) = lines()
    assert line.endswith("[warning  ] 3 things at /poll")
    assert "\x1b" not in line  # no colours: it is no terminal
    assert datetime.fromisoformat(line.split(" ")[0]).utcoffset() is not None


def test_a_json_line(lines: Any) -> None:
    logs.configure("info", "json")
    logger.warning("%d things at %s", 3, "/poll")
    (line,) = lines()
    record = json.loads(line)
    when = datetime.fromisoformat(record.pop("timestamp"))
    assert when.utcoffset() is not None
    assert record == {
        "event": "3 things at /poll",
        "level": "warning",
        "logger": "tidewire.test",
    }


def test_facts(lines: Any) -> None:
    facts = {"connection": 7, "peer": "127.0.0.1:80", "why": "it is late", "nothing": None}
    logs.configure("info", "json")
    say("refused", **facts)
    record = json.loads(lines()[0])
    assert (record["connection"], record["peer"]) == (7, "127.0.0.1:80")
    assert record["why"] == "it is late"
    assert "nothing" not in record
    logs.configure("info", "pretty")
    say("refused", **facts)
    (line,) = lines()
    assert line.endswith('refused connection=7 peer=127.0.0.1:80 why="it is late"')


def test_a_fact_cannot_pass_for_another(lines: Any) -> None:
    logs.configure("info", "pretty")
    say("refused", user='42" status=200 x="', back="\\", empty="", status=403)
    (line,) = lines()
    assert line.endswith(r'user="42\" status=200 x=\"" back="\\" empty="" status=403')


def test_the_level(lines: Any) -> None:
    logs.configure("warning", "json")
    for log in (logger.debug, logger.info, logger.warning, logger.error):
        log("said")
    assert [json.loads(line)["level"] for line in lines()] == ["warning", "error"]


def test_configuring_again_does_not_double_the_lines(lines: Any) -> None:
    logs.configure("info", "json")
    logs.configure("info", "json")
    logging.getLogger("other.library").info("said")
    assert len(lines()) == 1


# What clients and libraries put into them


@pytest.mark.parametrize("shape", SHAPES)
def test_control_characters_do_not_reach_the_terminal(lines: Any, shape: str) -> None:
    logs.configure("info", shape)
    say(f"a request to {HOSTILE} failed", target=HOSTILE)
    (line,) = lines()
    assert line.isprintable()
    if shape == "json":
        record = json.loads(line)
        assert record["event"] == f"a request to {HOSTILE} failed"
        assert record["target"] == HOSTILE
    else:
        assert line.count("\\x1b[2J\\r\\n2030") == 2


@pytest.mark.parametrize("shape", SHAPES)
def test_nor_with_an_exception(lines: Any, shape: str) -> None:
    logs.configure("info", shape)
    fail_with(HOSTILE)
    written = lines()
    assert all(line.isprintable() for line in written)
    if shape == "json":
        (line,) = written
        record = json.loads(line)
        assert record["event"] == "it failed"
        assert record["exception"].startswith("Traceback")
        assert "ValueError" in record["exception"]
    else:
        assert written[0].endswith("it failed")
        assert written[1].startswith("Traceback")
        assert any(line.startswith("ValueError: \\x1b[2J") for line in written)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_traceback_shows_no_variables(lines: Any, shape: str) -> None:
    logs.configure("info", shape)
    fail_with("of a usual kind")
    written = "\n".join(lines())
    assert "of a usual kind" in written
    assert "fail_with" in written
    assert "hunter2" not in written


@pytest.mark.parametrize("shape", SHAPES)
def test_secrets_do_not_get_through(lines: Any, shape: str) -> None:
    logs.configure("info", shape, ["swordfish", ""])
    say("GET /sse?token=abc&channels=a", header="authorization: Bearer abc", key="swordfish")
    fail_with("https://issuer.example/?api_key=abc failed, swordfish")
    written = "\n".join(lines())
    for secret in ("abc", "swordfish"):
        assert secret not in written
    assert written.count("***") == 5
    assert "channels=a" in written


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_very_long_is_cut(lines: Any, shape: str) -> None:
    logs.configure("info", shape)
    begin = time.thread_time()  # in which no halt of the machine is
    say("x" * 10_000_000, fact="y" * 10_000_000)
    fail_with("z" * 10_000_000)
    assert time.thread_time() - begin < 5
    assert all(len(line) < 3 * logs.LONGEST for line in lines())


def test_the_end_of_a_long_traceback_is_there(lines: Any) -> None:
    def deeper(depth: int) -> None:
        if depth:
            deeper(depth - 1)
        fail_at_the_bottom()

    def fail_at_the_bottom() -> None:
        raise ValueError("the reason, " + ", ".join(map(str, range(3000))))

    logs.configure("info", "json")
    try:
        deeper(100)
    except ValueError:
        logger.exception("it failed")
    exception = json.loads(lines()[0])["exception"]
    assert exception.endswith("2998, 2999")


def test_the_http_client_does_not_tell_its_addresses(lines: Any) -> None:
    logs.configure("debug", "json")
    for name in ("httpx", "httpcore.connection"):
        logging.getLogger(name).info("GET https://issuer.example/keys")
    logger.debug("said")
    assert len(lines()) == 1


# What is always said


def test_what_operators_do_is_noted_at_any_level(lines: Any) -> None:
    logs.configure("error", "json")
    audit("purge", "key 'ops'", channel="news", connection=7)
    record = json.loads(lines()[0])
    del record["timestamp"]
    assert record == {
        "event": "purge",
        "level": "info",
        "logger": "tidewire.audit",
        "caller": "key 'ops'",
        "channel": "news",
        "connection": 7,
    }
