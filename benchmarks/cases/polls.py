"""Short polls that bring nothing new: requests per second beside a bare protocol and Starlette on
uvicorn.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

from benchmarks.cases.requests import ask, basis, in_turn, publish_request, rates
from benchmarks.loadgen import wire
from benchmarks.processes import ProcessError, serving
from benchmarks.results import Figure, Outcome, ratios

if TYPE_CHECKING:
    from benchmarks.bench import Bench

BARE_SHARE = 0.60
STARLETTE_TIMES = 4.0


def run(bench: Bench) -> Outcome:
    """Polls with the newest cursor, answered 200 without and 304 with the current ETag."""
    outcome = Outcome()
    with bench.tidewire() as tidewire:
        for _ in range(10):
            ask(tidewire, publish_request(1))
        head, body, _ = ask(tidewire, wire.get("127.0.0.1", "/poll?channels=bench"))
        cursor, etag = json.loads(body)["cursor"], head.headers["etag"]
        target = f"/poll?channels=bench&cursor={quote(cursor, safe='')}"
        head, _, _ = ask(tidewire, wire.get("127.0.0.1", target))
        etag = head.headers["etag"]
        requests = {
            200: wire.get("127.0.0.1", target),
            304: wire.get("127.0.0.1", target, f"If-None-Match: {etag}\r\n"),
        }
        module = (sys.executable, "-m", "benchmarks.servers.starlette_poll", cursor, etag)
        for status, request in requests.items():
            answer, _, raw = ask(tidewire, request)
            if answer.status != status:
                raise ProcessError(f"expected {status}, not {raw[:300]!r}")
            bare_module = (sys.executable, "-m", "benchmarks.servers.bare_http")
            with (
                serving(bare_module, bench.directory, raw) as bare,
                serving(module, bench.directory) as starlette,
            ):
                servers = {"bare": bare, "tidewire": tidewire, "starlette": starlette}
                targets = {name: (server, request) for name, server in servers.items()}
                what = f"polls answered {status}"
                rounds = in_turn(bench, outcome, what, targets, status, bench.rounds(5, 2))
            outcome.figures += [
                Figure(
                    f"{what}, against the bare protocol",
                    ratios(rates(rounds["tidewire"]), rates(rounds["bare"])),
                    "× bare",
                    BARE_SHARE,
                    ">=",
                    basis(rounds, "tidewire", "bare"),
                ),
                Figure(
                    f"{what}, against Starlette",
                    ratios(rates(rounds["tidewire"]), rates(rounds["starlette"])),
                    "× Starlette",
                    STARLETTE_TIMES,
                    ">=",
                    basis(rounds, "tidewire", "starlette"),
                ),
            ]
    return outcome
