"""Patterns of channel names, as tokens and keys have them: exact names, and ``*`` for any text.

``*`` stands for any text without ``#``: what follows a ``#`` names the user to whom a channel
belongs, and nobody is let into other people's channels by a star in another place. So ``chat:*``
has ``chat:room:7`` and not ``chat:#42``; ``chat:#*`` has that.

A match takes time linear in the lengths: there is no backtracking that a pattern could provoke.
"""

from __future__ import annotations

import re

_PATTERN = re.compile(r"[A-Za-z0-9_\-.:/@#*]{1,255}", re.ASCII)


def is_pattern(text: str) -> bool:
    """Whether *text* can be a pattern: a channel's name in which stars may stand."""
    return _PATTERN.fullmatch(text) is not None


def matches(pattern: str, channel: str) -> bool:
    """Whether *pattern* has *channel*."""
    if "*" not in pattern:
        return pattern == channel
    wanted = pattern.split("#")
    found = channel.split("#")
    return len(wanted) == len(found) and all(map(_matches, wanted, found))


def _matches(pattern: str, text: str) -> bool:
    """The same between two ``#``."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    last = rest.pop()
    begin, end = len(first), len(text) - len(last)
    if begin > end or not text.startswith(first) or not text.endswith(last):
        return False
    for part in rest:  # the leftmost place of each is as good as any
        begin = text.find(part, begin, end)
        if begin < 0:
            return False
        begin += len(part)
    return True
