"""Log lines: one a record, readable by people or by programs, harmless to terminals."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tidewire.server import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a client may send: escape sequences, line ends, a right-to-left override, NUL
HOSTILE = "\x1b[2J\r\n2030-01-01 [error] forged\u2028\u202e\x00\x7f\x9b1m"


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


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
        logging.getLogger("tidewire.test").exception("it failed")


def test_requests_of_ours_are_not_told_with_their_addresses(lines: Any) -> None:
    logs.configure("debug", "pretty")
    for name in ("httpx", "httpcore.connection"):
        logging.getLogger(name).info("GET https://issuer.example/keys?key=hunter2")
    logging.getLogger("tidewire.test").info("after")
    assert len(lines()) == 1


def test_a_pretty_line(lines: Any) -> None:
    logs.configure("info", "pretty")
    logging.getLogger("tidewire.test").warning("%d things at %s", 3, "/poll")
    (line,) = lines()
    assert line.endswith("3 things at /poll")
    assert "warning" in line
    assert "\x1b" not in line  # no colours: it is no terminal


def test_a_json_line(lines: Any) -> None:
    logs.configure("info", "json")
    logging.getLogger("tidewire.test").warning("%d things at %s", 3, "/poll")
    (line,) = lines()
    record = json.loads(line)
    when = datetime.fromisoformat(record.pop("timestamp"))
    assert when.utcoffset() is not None
    assert record == {"event": "3 things at /poll", "level": "warning"}


@pytest.mark.parametrize("shape", ["pretty", "json"])
def test_control_characters_do_not_reach_the_terminal(lines: Any, shape: str) -> None:
    logs.configure("info", shape)
    logging.getLogger("tidewire.test").info("a request to %s failed", HOSTILE)
    (line,) = lines()
    assert line.isprintable()
    if shape == "json":
        assert json.loads(line)["event"] == f"a request to {HOSTILE} failed"
    else:
        assert "\\x1b[2J\\r\\n2030" in line


@pytest.mark.parametrize("shape", ["pretty", "json"])
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


@pytest.mark.parametrize("shape", ["pretty", "json"])
def test_a_traceback_shows_no_variables(lines: Any, shape: str) -> None:
    logs.configure("info", shape)
    fail_with("of a usual kind")
    written = "\n".join(lines())
    assert "of a usual kind" in written
    assert "fail_with" in written
    assert "hunter2" not in written


def test_the_level(lines: Any) -> None:
    logs.configure("warning", "json")
    logger = logging.getLogger("tidewire.test")
    for log in (logger.debug, logger.info, logger.warning, logger.error):
        log("said")
    assert [json.loads(line)["level"] for line in lines()] == ["warning", "error"]


def test_configuring_again_does_not_double_the_lines(lines: Any) -> None:
    logs.configure("info", "json")
    logs.configure("info", "json")
    logging.getLogger("other.library").info("said")
    assert len(lines()) == 1
