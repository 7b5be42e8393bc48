"""``tidewire serve``"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import typer

from tidewire.cli.failures import explain
from tidewire.cli.options import settings_or_exit, takes_settings
from tidewire.cli.terminal import fail
from tidewire.settings import Settings, load


@takes_settings
def serve(flags: Mapping[str, object], config: Path | None) -> None:
    """Start the server; Ctrl-C or SIGTERM ends it once its clients are told.

    Every flag is also a variable (TIDEWIRE_POLL_INTERVAL for --poll-interval) and a key of
    tidewire.toml (poll_interval). Flags come first, then variables, then the file.
    """
    settings = settings_or_exit(config, flags).settings
    from tidewire.server.listening import StartError
    from tidewire.server.processors import usable_processors

    count = usable_processors() if settings.workers == "auto" else settings.workers
    try:
        code = _serve(settings, count, lambda: load(flags, config=config).settings)
    except StartError as error:
        fail(explain(error, settings))
    raise typer.Exit(code)


def _serve(settings: Settings, count: int, reread: Callable[[], Settings]) -> int:
    if count == 1:
        from tidewire.server.runner import run

        return run(settings)
    from tidewire.server.supervisor import supervise

    return supervise(settings, count, reread)
