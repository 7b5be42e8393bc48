"""Log lines for operators, on standard error: pretty on a terminal, or one JSON object a line."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger


def configure(level: str, shape: str) -> None:
    """Send the records of all loggers to standard error.

    *level* is the least severe one shown, *shape* is ``pretty`` or ``json``.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if shape == "json":
        last: list[structlog.typing.Processor] = [structlog.processors.JSONRenderer()]
    else:
        last = [
            _escape,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                pad_event_to=0,
                # The pretty one shows local variables: messages, and keys.
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            *last,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # They tell of every request that we make, with the whole address and what may be secret in it.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _escape(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Control characters that came from a client must not reach the terminal (CWE-117)."""
    event["event"] = _printable(str(event.get("event", "")))
    if "exception" in event:
        event["exception"] = "\n".join(map(_printable, str(event["exception"]).split("\n")))
    return event


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
