"""JSON objects read so that no two readers could understand them differently."""

from __future__ import annotations

import json
from typing import Any


class _Ambiguous(ValueError):
    """JSON that some readers take and others do not, or take for something else."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Ambiguous("a member is there twice")
    return members


def _no_number(text: str) -> None:
    raise _Ambiguous(f"{text} is no number of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_no_number)


def json_object(data: bytes) -> dict[str, Any]:
    """The object that *data* is: UTF-8, each member once, numbers as JSON has them.

    Raises:
        ValueError: if it is none; the text says what is wrong, and has nothing of the data in it.
    """
    try:
        value = _DECODER.decode(data.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON at character {error.pos}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except _Ambiguous:
        raise
    except ValueError:  # more digits than Python reads
        raise ValueError("a number is too long") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value
