"""Fuzzed: the settings, from a file and from the environment."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from tests.fuzz.pieces import is_sentence
from tidewire.settings import Loaded, SettingsError, load
from tidewire.settings.describe import is_secret
from tidewire.settings.document import effective_file
from tidewire.settings.fields import Settings

SECRETS = [name for name, info in Settings.model_fields.items() if is_secret(info)]


@functools.cache
def directory() -> tempfile.TemporaryDirectory[str]:
    """Where the file of settings is; in memory where that can be had."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)


def settings(data: bytes) -> None:
    """Settings are refused in sentences, or hold and can be written down and read again.

    Lines with ``=`` before a line of ``---`` are the environment, what follows it is the file.
    """
    before, mark, text = data.partition(b"---\n")
    if not mark:
        before, text = b"", data
    environ = {}
    for line in before.decode("utf-8", "surrogateescape").replace("\0", "").split("\n"):
        name, equals, value = line.partition("=")
        if equals and name:
            environ[f"TIDEWIRE_{name}"] = value
    environ.pop("TIDEWIRE_CONFIG", None)
    folder = Path(directory().name)
    file = folder / "tidewire.toml"
    file.write_bytes(text)
    try:
        loaded = load({}, environ, config=file)
    except SettingsError as error:
        problems = error.problems
    else:
        check_written(loaded, file)
        return
    assert problems
    assert all(map(is_sentence, problems))


def check_written(loaded: Loaded, file: Path) -> None:
    """Settings that hold are the same when they were written to *file* and read again."""
    written = effective_file(loaded)
    file.write_text(written, "utf-8")
    again = load({}, {}, config=file).settings
    for name in Settings.model_fields:
        value = getattr(loaded.settings, name)
        assert getattr(again, name) == ("***" if name in SECRETS and value else value)
