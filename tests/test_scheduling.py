"""How the tests are shared out among workers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.scheduling import LONG, TOGETHER, pytest_collection_modifyitems, seconds_of, unit_of

ROOT = Path(__file__).parent.parent

CONFTEST = """
pytest_plugins = ["tests.scheduling"]
"""
TEST = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(3))
def test_it(number):
    with pathlib.Path(__file__).with_name("seen.txt").open("a") as seen:
        print(pathlib.Path(__file__).name, os.environ["PYTEST_XDIST_WORKER"], number, file=seen)
"""


@pytest.mark.parametrize("file", [*LONG, *(file for files in TOGETHER for file in files)])
def test_what_is_named_is_there(file: str) -> None:
    assert (ROOT / file).is_file()


def test_a_file_is_together_with_no_other_unless_it_is_said() -> None:
    assert unit_of("tests/hub/test_holes.py::test_it[a::b]") == "tests/hub/test_holes.py"
    for files in TOGETHER:
        assert {unit_of(f"{file}::test_it") for file in files} == {files[0]}
        assert seconds_of(files[0]) == sum(LONG.get(file, 0) for file in files)
    named = [file for files in TOGETHER for file in files]
    assert len(named) == len(set(named))


def test_two_tests_of_one_id_end_the_session(request: pytest.FixtureRequest) -> None:
    with pytest.raises(pytest.UsageError, match=r"same id: .*of_one_id_end_the_session"):
        pytest_collection_modifyitems(request.config, [request.node, request.node])


def test_files_stay_whole_and_in_order(tmp_path: Path) -> None:
    """Seen in a real session of two workers."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    names = [f"test_{letter}.py" for letter in "abcdef"]
    for name in names:
        (tmp_path / name).write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", str(tmp_path)]
    options = ["-c", "/dev/null", f"--rootdir={tmp_path}", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = [line.split() for line in (tmp_path / "seen.txt").read_text().splitlines()]
    for name in names:
        of_it = [(worker, number) for file, worker, number in seen if file == name]
        assert [number for _, number in of_it] == ["0", "1", "2"]
        assert len({worker for worker, _ in of_it}) == 1
    assert len({worker for _, worker, _ in seen}) == 2
