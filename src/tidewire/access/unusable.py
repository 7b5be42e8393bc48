"""What keeps a server from starting because of what it was given to know people by."""

from __future__ import annotations


class Unusable(Exception):
    """Something of the operator's cannot be used. The text says what it is, and why."""
