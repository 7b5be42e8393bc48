"""RFC 6455 as others test it: the quick part of the Autobahn suite, all but 9, 12 and 13.

The whole of it is run by ``make conformance``, which writes docs/conformance.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.autobahn import QUICK, RAISED, SLOW, run, shown

if TYPE_CHECKING:
    from tests.conftest import StartServer


async def test_the_quick_part_of_autobahn(start: StartServer) -> None:
    results = await run(start(echo=True), without=SLOW)
    assert [shown(result) for result in results if not result.passed] == []
    # What passes without being strict is a choice, to be looked at before it is made here.
    loose = [result.case_id for result in results if result.behavior.value == "NON-STRICT"]
    assert loose == []
    assert len({result.case_id for result in results}) == QUICK


@pytest.mark.parametrize("limits", [{}, RAISED], ids=["default", "raised"])
async def test_large_messages_pass_if_the_limits_let_them(
    start: StartServer, limits: dict[str, Any]
) -> None:
    """9.1.6: 16 MiB in one frame. 9.3.1: 65,536 fragments. That it can fail says that it looks."""
    results = await run(start(echo=True, **limits), ["9.1.1", "9.1.6", "9.3.1"])
    passed = [result.case_id for result in results if result.passed]
    assert passed == (["9.1.1", "9.1.6", "9.3.1"] if limits else ["9.1.1"])
    assert [result.remote_close_code for result in results if not result.passed] == (
        [] if limits else [1009, 1009]
    )
