"""Log lines for operators, on standard error: pretty on a terminal, or one JSON object a line.

Besides its text a record may have facts, ``logger.info(text, extra={"facts": {...}})``: they become
keys of the object, or stand behind the text as ``name=value``. Texts and facts may come from
clients and from libraries. Secrets are taken out of them, control characters are escaped (CWE-117),
and what is very long is cut.
"""

from __future__ import annotations

import logging
import string
import sys
from collections.abc import Iterable
from functools import partial

import structlog
from structlog.dev import Column, ConsoleRenderer, KeyValueColumnFormatter, LogLevelColumnFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from tidewire.server.redacting import Scrubber, Shown

AUDIT = "tidewire.audit"
REQUESTS = "tidewire.requests"
_ALWAYS = (AUDIT, REQUESTS)  # what was asked for by a setting of its own, or must not be missed

LONGEST = 4_096
"""Characters of a text or a traceback that are shown."""
LONGEST_FACT = 512

_LONGEST_READ = 16 * LONGEST  # beyond it not even secrets are looked for
_PLAIN = frozenset(string.ascii_letters + string.digits + "_-.:/@#?&,*+%~[]")


def configure(
    level: str, shape: str, secrets: Iterable[str] = (), *, worker: int | None = None
) -> None:
    """Send the records of all loggers to standard error.

    *level* is the least severe one shown, *shape* is ``pretty`` or ``json``; *secrets* are never
    shown, wherever they turn up. Where there is more than one, lines tell which *worker* it was.
    """
    first: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_facts,
    ]
    if worker is not None:
        first.append(partial(_add_worker, worker))
    last: list[Processor]
    if shape == "json":
        first.append(structlog.stdlib.add_logger_name)
        last = [structlog.processors.JSONRenderer()]
    else:
        last = [_escape, _pretty(colours=sys.stderr.isatty())]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=first,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _Cleaner(Scrubber(secrets)),
            *last,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _ALWAYS:
        logging.getLogger(name).setLevel(logging.INFO)
    # They tell of every request that we make, with the whole address and what may be secret in it.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _add_facts(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """The facts of the record as keys; those that are not there are left out."""
    facts = getattr(event["_record"], "facts", {})
    event.update({key: fact for key, fact in facts.items() if fact is not None})
    return event


def _add_worker(worker: int, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    event["worker"] = worker
    return event


class _Cleaner:
    """Takes secrets out of all texts, and bounds their length."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        for key, value in event.items():
            if key == "exception":
                event[key] = self._ends(value)
            elif isinstance(value, str) and not isinstance(value, Shown):
                longest = LONGEST if key == "event" else LONGEST_FACT
                text = self._scrubber.scrub(value[:_LONGEST_READ])
                event[key] = text if len(text) <= longest else text[:longest] + "…"
        return event

    def _ends(self, traceback: str) -> str:
        """Of a traceback the end is what matters most. Local variables are not in it."""
        text = self._scrubber.scrub(traceback[-_LONGEST_READ:])
        return text if len(text) <= 2 * LONGEST else f"{text[:LONGEST]}…\n…{text[-LONGEST:]}"


def _pretty(*, colours: bool) -> ConsoleRenderer:
    """Lines for people: when, how severe, what, and the facts. A traceback stands below."""
    styles = structlog.dev.ConsoleRenderer.get_default_level_styles(colours)
    bright, dim, reset = ("\x1b[1m", "\x1b[2m", "\x1b[0m") if colours else ("", "", "")

    def column(style: str) -> KeyValueColumnFormatter:
        return KeyValueColumnFormatter(None, style, reset, str)

    return ConsoleRenderer(
        sort_keys=False,
        columns=[
            Column("", KeyValueColumnFormatter(dim, "", reset, _quoted)),
            Column("timestamp", column(dim)),
            Column("level", LogLevelColumnFormatter(styles, reset)),
            Column("event", column(bright)),
        ],
        # The pretty one shows local variables: messages, and keys.
        exception_formatter=structlog.dev.plain_traceback,
    )


def _quoted(fact: object) -> str:
    """A fact so that no part of it can be taken for the next one."""
    text = str(fact)
    if text and _PLAIN.issuperset(text):
        return text
    return '"' + _printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _escape(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Control characters must not reach the terminal; those of facts are escaped as quoted."""
    event["event"] = _printable(str(event["event"]))
    if "exception" in event:
        event["exception"] = "\n".join(map(_printable, event["exception"].split("\n")))
    return event


def _printable(text: str) -> str:
    """*text* with escapes for what a terminal would act upon."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
