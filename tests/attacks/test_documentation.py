"""docs/security.md has every attack that is carried out, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from tests.attacks.table import ATTACKS

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text("utf-8")


def test_the_threat_table_is_what_is_carried_out() -> None:
    rows = re.findall(r"^\| (.+) \| (.+) \| .+ \| `(\w+)` \|$", PAGE, re.MULTILINE)
    told = {name: (how, expects.removesuffix(".").lower()) for how, expects, name in rows}
    done = {
        attack.name: (attack.how, attack.expects.removesuffix(".").lower())
        for attack in ATTACKS.values()
    }
    assert told == done
