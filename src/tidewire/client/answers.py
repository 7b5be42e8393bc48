"""HTTP answers of the server: which may be tried again, and what they say."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import msgspec

from tidewire.client.errors import ClientError, Interrupted, Replaced, refused

if TYPE_CHECKING:
    from collections.abc import Mapping

# The same request may well succeed later: time-outs, limits, and a server or a proxy in trouble.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_LONGEST_SHOWN = 300


class _Problem(msgspec.Struct):
    title: str | None = None
    detail: str | None = None
    code: str | None = None


def failure(status: int, headers: Mapping[str, str], body: bytes) -> ClientError:
    """The error that an answer other than the one hoped for stands for."""
    problem = _problem(headers, body)
    said = problem.detail or problem.title
    reason = (
        f"{said[:_LONGEST_SHOWN]} (HTTP {status})" if said else f"the server answered HTTP {status}"
    )
    if status in PASSING:
        return Interrupted(reason, retry_after(headers.get("retry-after"), time.time()))
    if problem.code == "replaced":
        return Replaced(status)
    return refused(reason, status, problem.code)


def retry_after(value: str | None, now: float) -> float | None:
    """The seconds that ``Retry-After`` asks for, as a number or as a date; ``now`` in Unix time."""
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _problem(headers: Mapping[str, str], body: bytes) -> _Problem:
    """What the server says of it (RFC 9457); nothing if that is no problem document."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/problem+json":
        try:
            return msgspec.json.decode(body, type=_Problem)
        except msgspec.DecodeError:
            pass
    return _Problem()
