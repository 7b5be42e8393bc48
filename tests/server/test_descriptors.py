"""A server takes the descriptors that it may have."""

from __future__ import annotations

import subprocess
import sys

import pytest

TAKE = "from tidewire.server.descriptors import take_descriptors; print(take_descriptors())"


@pytest.mark.parametrize(("soft", "hard"), [(256, 4096), (4096, 4096)])
def test_the_soft_limit_is_raised_to_the_hard_one(soft: int, hard: int) -> None:
    command = ["prlimit", f"--nofile={soft}:{hard}", sys.executable, "-c", TAKE]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"4096\n"
