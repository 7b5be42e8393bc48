"""What ``pip install`` gets: pure Python, with everything that the server needs beside its code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "tidewire"


def test_the_wheel_is_pure_and_complete(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*build, "--directory", str(tmp_path)], cwd=ROOT, check=True, timeout=60)
    (wheel,) = tmp_path.iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")  # no compiler needed, any platform
    with ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("tidewire/")}
    needed = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == needed
    assert {"tidewire/py.typed", "tidewire/console/static/index.html"} <= packed
