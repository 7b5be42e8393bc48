"""What is fuzzed: functions that take any bytes, and fail if something is wrong.

Nothing in them knows who makes the bytes: ``test_corpus.py`` runs the kept inputs and some of
hypothesis' own with every run of the tests, ``scripts/fuzz.py`` runs atheris for as long as it is
told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.fuzz.configurations import settings
from tests.fuzz.connections import frames, handshakes, requests
from tests.fuzz.dialogues import clients, commands, dialogues
from tests.fuzz.publications import bodies, contents
from tests.fuzz.questions import cursors, queries
from tests.fuzz.strangers import addresses, origins, patterns, tokens, validators

if TYPE_CHECKING:
    from collections.abc import Callable


class Target(NamedTuple):
    """A function, and how long its inputs may be, in bytes."""

    run: Callable[[bytes], None]
    longest: int


TARGETS = {
    "frames": Target(frames, 512),
    "requests": Target(requests, 1024),
    "handshakes": Target(handshakes, 256),
    "cursors": Target(cursors, 64),
    "queries": Target(queries, 256),
    "commands": Target(commands, 256),
    "dialogues": Target(dialogues, 512),
    "clients": Target(clients, 256),
    "bodies": Target(bodies, 512),
    "contents": Target(contents, 256),
    "settings": Target(settings, 512),
    "tokens": Target(tokens, 512),
    "origins": Target(origins, 64),
    "addresses": Target(addresses, 128),
    "patterns": Target(patterns, 64),
    "validators": Target(validators, 96),
}
