"""``tidewire version``"""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Annotated

import msgspec
import typer

import tidewire


def version(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the versions of Tidewire and of what it runs on."""
    print_version(as_json=as_json)


def print_version(*, as_json: bool, short: bool = False) -> None:
    """Print the versions, or with *short* only ours."""
    versions: dict[str, str | None] = {"tidewire": tidewire.__version__}
    if not short:
        versions["python"] = platform.python_version()
        for package in ("uvloop", "httptools"):
            try:
                versions[package] = installed(package)
            except PackageNotFoundError:  # uvloop has no wheels for some platforms
                versions[package] = None
        versions["sqlite"] = sqlite3.sqlite_version
    if as_json:
        typer.echo(msgspec.json.encode(versions))
    else:
        for name, number in versions.items():
            typer.echo(f"{name} {number or 'not installed'}")
