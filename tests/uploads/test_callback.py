"""The operator's function: found by its name, called on a thread or as a coroutine."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tidewire.uploads import CallbackError, Upload, load_callback
from tidewire.uploads.callback import call

if TYPE_CHECKING:
    from collections.abc import Callable

UPLOAD = Upload(Path("/srv/file"), "name", 1, "0" * 64, "text/plain", "files")


def test_a_function_is_found() -> None:
    assert load_callback("os.path:basename")("a/b") == "b"  # type: ignore[arg-type]


def test_it_may_be_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tidewire_test_callbacks.py").write_text("def look(upload):\n    return 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["elsewhere"])
    assert load_callback("tidewire_test_callbacks:look")(UPLOAD) == 7


@pytest.mark.parametrize("name", ["no_such_module:f", "os:no_such_function", "os:sep"])
def test_what_is_no_function(name: str) -> None:
    with pytest.raises(CallbackError, match=name):
        load_callback(name)


async def test_a_function_runs_on_a_thread() -> None:
    def look(upload: Upload) -> object:
        return upload.name, threading.current_thread() is threading.main_thread()

    assert await call(look, UPLOAD) == ("name", False)


async def test_a_coroutine_runs_here() -> None:
    async def look(upload: Upload) -> object:
        return upload.name, threading.current_thread() is threading.main_thread()

    assert await call(look, UPLOAD) == ("name", True)


def failing(upload: Upload) -> object:
    raise ValueError(upload.name)


async def failing_later(upload: Upload) -> object:
    raise ValueError(upload.name)


@pytest.mark.parametrize("callback", [failing, failing_later])
async def test_what_it_raises_is_raised(callback: Callable[[Upload], object]) -> None:
    with pytest.raises(ValueError, match="name"):
        await call(callback, UPLOAD)
