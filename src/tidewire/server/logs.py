"""Log lines for operators, on standard error: pretty on a terminal, or one JSON object a line.

Besides its text a record may have facts, ``logger.info(text, extra={"facts": {...}})``: they become
keys of the object, or stand behind the text as ``name=value``. Texts and facts may come from
clients and from libraries. Secrets are taken out of them, control characters are escaped (CWE-117),
and what is very long is cut.
"""

from __future__ import annotations

import json
import logging
import string
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from tidewire.server.redacting import Scrubber, Shown

AUDIT = "tidewire.audit"
REQUESTS = "tidewire.requests"
_ALWAYS = (AUDIT, REQUESTS)  # what was asked for by a setting of its own, or must not be missed

LONGEST = 4_096
"""Characters of a text or a traceback that are shown."""
LONGEST_FACT = 512

_LONGEST_READ = 16 * LONGEST  # beyond it not even secrets are looked for
_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31;1"}
_PLAIN = frozenset(string.ascii_letters + string.digits + "_-.:/@#?&,*+%~[]")


def configure(level: str, shape: str, secrets: Iterable[str] = ()) -> None:
    """Send the records of all loggers to standard error.

    *level* is the least severe one shown, *shape* is ``pretty`` or ``json``; *secrets* are never
    shown, wherever they turn up.
    """
    scrubber = Scrubber(secrets)
    handler = logging.StreamHandler(sys.stderr)
    if shape == "json":
        handler.setFormatter(JsonLines(scrubber))
    else:
        handler.setFormatter(PrettyLines(scrubber, colours=sys.stderr.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _ALWAYS:
        logging.getLogger(name).setLevel(logging.INFO)
    # They tell of every request that we make, with the whole address and what may be secret in it.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


class _Lines(logging.Formatter):
    """What both shapes have in common."""

    def __init__(self, scrubber: Scrubber) -> None:
        super().__init__()
        self._scrubber = scrubber

    def _cleaned(self, text: str, longest: int) -> str:
        text = self._scrubber.scrub(text[:_LONGEST_READ])
        return text if len(text) <= longest else text[:longest] + "…"

    def _facts(self, record: logging.LogRecord) -> Mapping[str, object]:
        facts: Mapping[str, object] = getattr(record, "facts", {})
        return {
            name: self._cleaned(fact, LONGEST_FACT)
            if isinstance(fact, str) and not isinstance(fact, Shown)
            else fact
            for name, fact in facts.items()
            if fact is not None
        }

    def _exception(self, record: logging.LogRecord) -> str:
        """The traceback: its end is what matters most. Local variables are not in it."""
        if not record.exc_info or record.exc_info[0] is None:
            return ""
        text = self._scrubber.scrub(self.formatException(record.exc_info)[-_LONGEST_READ:])
        return text if len(text) <= 2 * LONGEST else f"{text[:LONGEST]}…\n…{text[-LONGEST:]}"


class JsonLines(_Lines):
    """One JSON object a line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "timestamp": _when(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": self._cleaned(record.getMessage(), LONGEST),
        }
        fields.update(self._facts(record))
        if exception := self._exception(record):
            fields["exception"] = exception
        return json.dumps(fields, default=str)


class PrettyLines(_Lines):
    """A line for people; a traceback stands in lines of its own below."""

    def __init__(self, scrubber: Scrubber, *, colours: bool) -> None:
        super().__init__(scrubber)
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        shown = f"{level:<8}"
        if self._colours:
            shown = f"\x1b[{_COLOURS.get(level, '0')}m{shown}\x1b[0m"
        text = _printable(self._cleaned(record.getMessage(), LONGEST))
        facts = "".join(f" {name}={_quoted(fact)}" for name, fact in self._facts(record).items())
        line = f"{_when(record)} [{shown}] {text}{' ' if facts else ''}{facts}"
        if exception := self._exception(record):
            line += "\n" + "\n".join(map(_printable, exception.split("\n")))
        return line


def _when(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="microseconds") + "Z"


def _quoted(fact: object) -> str:
    """A fact so that no part of it can be taken for the next one."""
    text = str(fact)
    if text and _PLAIN.issuperset(text):
        return text
    return '"' + _printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _printable(text: str) -> str:
    """*text* with escapes for what a terminal would act upon."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
