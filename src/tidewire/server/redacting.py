"""Keeping secrets out of what is logged.

There are two lines of defence. What a client sent is shown by ``shown_target``, which knows where
secrets stand in it. And every line of the log goes through ``scrub``, which knows what they look
like: for texts that others made, such as the exceptions of libraries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

HIDDEN = "***"
LONGEST_TARGET = 256
"""Characters of a target that are shown."""

_SHORTEST_SECRET = 6  # characters of a setting that is looked for in each line

_SECRET_NAME = re.compile(
    r"token|ticket|api[_-]?key|secret|passw|authorization|jwt|signature", re.I
)

# Each expression below begins with one of these, so most texts are done with after one look.
_SUSPECT = re.compile(
    r"token|ticket|api[_-]?key|secret|password|signature|authorization|cookie|bearer|basic|eyJ|tw_",
    re.I,
)
# A value ends where a query, a JSON text or a line would have it end.
_ASSIGNED = re.compile(
    r"(token|ticket|api[_-]?key|secret|password|signature)(=|%3[Dd])[^\s&\"'<>]+", re.I
)
_HEADER = re.compile(r"(authorization|x-api-key|cookie)(b?[\"']?[:=,] ?b?[\"']?)[^\"'\r\n]+", re.I)
_BEARER = re.compile(r"(bearer|basic)( )[A-Za-z0-9._~+/=-]{12,}", re.I)
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_.-]*)?")
_KEY = re.compile(r"tw_[A-Za-z0-9_-]{16,}")


class Shown(str):
    """A text that secrets were taken out of."""

    __slots__ = ()


def shown_target(target: bytes) -> Shown:
    """A request's target as it may be logged: ``/sse?channels=a&token=***``."""
    path, mark, query = target.decode("latin-1").partition("?")
    if "%" in path and scrub(plain := unquote(path)) != plain:
        path = plain
    shown = path + mark + "&".join(map(_shown_parameter, query.split("&")))
    return Shown(scrub(shown)[:LONGEST_TARGET])


def _shown_parameter(part: str) -> str:
    name, equals, _ = part.partition("=")
    return f"{name}={HIDDEN}" if equals and _SECRET_NAME.search(unquote(name)) else part


class Scrubber:
    """Takes out of a text what looks like a secret, and the *secrets* that are known."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = [re.escape(secret) for secret in secrets if len(secret) >= _SHORTEST_SECRET]
        self._known = re.compile("|".join(known)) if known else None

    def scrub(self, text: str) -> str:
        """*text* with ``***`` in the place of each secret. Takes time linear in its length."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        if not _SUSPECT.search(text):
            return text
        text = _ASSIGNED.sub(_behind_its_name, text)
        text = _HEADER.sub(_behind_its_name, text)
        text = _BEARER.sub(_behind_its_name, text)
        text = _TOKEN.sub(HIDDEN, text)
        return _KEY.sub(HIDDEN, text)


def _behind_its_name(match: re.Match[str]) -> str:
    return match[1] + match[2] + HIDDEN


scrub = Scrubber().scrub
