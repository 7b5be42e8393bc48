"""The operator's function that is called with each whole upload, before anyone hears of it."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
import threading
from asyncio import Future
from collections.abc import Callable
from typing import Any

from tidewire.uploads.upload import Upload

#: What ``upload_callback`` names: a function or a coroutine function. What it returns, anything
#: that JSON has, becomes the data of the message; ``None`` leaves that as it is by default.
Callback = Callable[[Upload], Any]


class CallbackError(Exception):
    """The setting names nothing that could be called; the text says why."""


class Refused(Exception):
    """To be raised by a callback: the upload is deleted, and its client told the text.

    Any other exception refuses it too; its text goes to the server's log only.
    """


def load_callback(name: str) -> Callback:
    """The function that *name*, ``module:function``, stands for.

    Modules are looked for in the working directory too.

    Raises:
        CallbackError: if there is none.
    """
    module, _, attribute = name.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        callback = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise CallbackError(f"upload_callback {name}: {error}") from error
    if not callable(callback):
        raise CallbackError(f"upload_callback {name} is no function")
    found: Callback = callback
    return found


async def call(callback: Callback, upload: Upload) -> Any:
    """What *callback* returns for *upload*: a coroutine runs here, a function on a thread.

    The thread does not keep the process from ending.
    """
    if inspect.iscoroutinefunction(callback):
        return await callback(upload)
    loop = asyncio.get_running_loop()
    future: Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if not future.done():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            result = callback(upload)
        except BaseException as error:  # whatever it is, who waits must learn of it
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    threading.Thread(target=run, name="upload callback", daemon=True).start()
    return await future
