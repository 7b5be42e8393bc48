"""The JavaScript client's own checks, as ``npm`` runs them in clients/javascript."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "clients" / "javascript"


def npm(*arguments: str) -> str:
    """What an npm script says, which must not fail."""
    run = subprocess.run(
        ["npm", "run", "--silent", *arguments],
        cwd=CLIENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    """The tests below look at what is built."""
    npm("build")


def test_style_and_types() -> None:
    npm("lint")


def test_it_is_small() -> None:
    assert npm("size").startswith("core ")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "path", sorted((CLIENT / "test").glob("*.test.mjs")), ids=lambda path: path.name.split(".")[0]
)
def test_javascript(path: Path) -> None:
    """Every file of tests passes; its report is shown if one does not."""
    npm("test:file", "--", f"test/{path.name}")
