"""Every transport behind every fault, in a real Chromium: in the end exactly what was published."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.checker import BrokenPromiseError
from tests.javascript.matrix import CELLS, SETTINGS, WRONG, Cell, Matrix, Outcome
from tests.javascript.pages import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from selenium import webdriver

    from tests.conftest import StartServer
    from tests.javascript.pages import Pages

pytestmark = [pytest.mark.browser, pytest.mark.faults, pytest.mark.crash]


@pytest.fixture(scope="module")
def outcomes(
    browser: webdriver.Chrome,
    pages: Pages,
    start_shared: StartServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[Cell, Outcome]:
    """What came of one run with a client for each cell, all in one page."""
    directory: Path = tmp_path_factory.mktemp("log")
    revive = partial(start_shared, engine=f"sqlite:///{directory}/log.db", **SETTINGS)
    mortal = revive()
    rig = Rig.opened(browser, pages.url)
    matrix = Matrix(rig, start_shared(**SETTINGS), mortal, partial(revive, port=mortal.port))
    try:
        return asyncio.run(matrix.perform())
    finally:
        rig.close()


@pytest.mark.timeout(360)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name.replace(", ", "-"))
def test_exactly_what_was_published(cell: Cell, outcomes: dict[Cell, Outcome]) -> None:
    outcome = outcomes[cell]
    assert outcome.injected or not cell.concerned
    outcome.check()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("forgetful", "lost"), ("credulous", "received twice"), ("mangling", "changed on the way")],
)
def test_a_client_that_is_wrong_is_found_out(
    wrong: str, message: str, outcomes: dict[Cell, Outcome]
) -> None:
    with pytest.raises(BrokenPromiseError, match=message):
        outcomes[WRONG[wrong]].check()
