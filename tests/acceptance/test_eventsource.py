"""The suite's own event stream parser against the conformance cases of browsers."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.eventsource import EventStream

CASES = json.loads((Path(__file__).parents[1] / "data" / "eventsource_cases.json").read_text())[
    "parse"
]


def chunks_of(stream: bytes, how: str) -> list[bytes]:
    if how == "whole":
        return [stream]
    if how == "bytes":
        return [stream[i : i + 1] for i in range(len(stream))]
    choice = random.Random(how)
    cuts = sorted(choice.choices(range(len(stream) + 1), k=min(len(stream), 40)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@pytest.mark.parametrize("how", ["whole", "bytes", "cut 1", "cut 2", "cut 3"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_parses_as_a_browser_does(case: dict[str, Any], how: str) -> None:
    parser = EventStream()
    events = []
    for chunk in chunks_of(base64.b64decode(case["stream_b64"]), how):
        events += parser.feed(chunk)
    seen = [{"type": e.type, "data": e.data, "lastEventId": e.last_event_id} for e in events]
    assert seen == case["events"]
    assert parser.last_event_id == case["last_event_id"]
    assert parser.retry_ms == case["retry_ms"]
