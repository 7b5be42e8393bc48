"""The page's modules that need no browser, under Node's own test runner."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

TESTS = sorted((Path(__file__).parent / "javascript").glob("*.test.mjs"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name.partition(".")[0])
def test_javascript(path: Path) -> None:
    """Every file of tests passes; its report is shown if one does not."""
    run = subprocess.run(
        ["node", "--test", "--test-reporter=spec", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
