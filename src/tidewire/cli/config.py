"""``tidewire config``"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from tidewire.cli.options import settings_or_exit, takes_settings


@takes_settings
def config(
    flags: Mapping[str, object],
    config: Path | None,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Print a commented tidewire.toml instead.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only check the settings; exit with 2 if wrong."),
    ] = False,
) -> None:
    """Print the settings as they would hold for serve, and where each comes from.

    The output is itself a tidewire.toml. Takes the flags of serve, and reads the same variables
    and the same file.
    """
    from tidewire.settings.document import default_file, effective_file

    if defaults and check:
        raise typer.BadParameter("use --defaults or --check, not both")
    if defaults:
        typer.echo(default_file(), nl=False)
        return
    loaded = settings_or_exit(config, flags)
    if check:
        given = sum(origin.source != "default" for origin in loaded.origins.values())
        read = f", {loaded.file} was read" if loaded.file else ""
        typer.echo(f"the settings hold; {given} of them were given{read}")
    else:
        typer.echo(effective_file(loaded), nl=False)
