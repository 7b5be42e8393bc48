"""Runs all 517 cases of the Autobahn suite and writes the table of docs/conformance.md.

Usage: python -m scripts.conformance [CASES ...], for example 1.* 9.7.1; with cases given it only
prints. Ends with 1 if a case failed, or if not all of them ran.
"""

from __future__ import annotations

import asyncio
import platform
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conformance.autobahn import RAISED, WHOLE, run, shown
from tests.server_process import start_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kosoku._kosoku import CaseResult

PAGE = Path(__file__).parent.parent / "docs" / "conformance.md"
START = "<!-- autobahn: start -->"
END = "<!-- autobahn: end -->"

SECTIONS = {
    "1": "Whole messages of every length",
    "2": "Pings and pongs",
    "3": "Reserved bits",
    "4": "Opcodes",
    "5": "Fragmentation",
    "6": "UTF-8",
    "7": "Closing",
    "9": "Large messages, many messages",
    "10": "Fragments chosen by the peer",
    "12": "permessage-deflate: payloads",
    "13": "permessage-deflate: parameters",
}

# The slow sections go in smaller portions, for something to be seen meanwhile.
PORTIONS = [
    *(f"{section}.*" for section in ("1", "2", "3", "4", "5", "6", "7", "9", "10")),
    *(f"12.{family}.*" for family in range(1, 6)),
    *(f"13.{family}.*" for family in range(1, 8)),
]


async def run_all(portions: list[str]) -> list[CaseResult]:
    """Run the cases against a server of their own; print one line for each portion."""
    results: list[CaseResult] = []
    with tempfile.TemporaryDirectory() as directory:
        server = start_server(Path(directory), echo=True, **RAISED)
        try:
            for portion in portions:
                began = time.monotonic()
                found = await run(server, [portion])
                good = sum(result.passed for result in found)
                seconds = time.monotonic() - began
                print(f"  {portion:<8} {good:>3} of {len(found):>3} in {seconds:.1f} s", flush=True)
                for result in found:
                    if not result.passed:
                        print(f"    {shown(result)}", flush=True)
                results += found
        finally:
            server.kill()
    return results


def verdict(result: CaseResult) -> str:
    """``OK``, ``NON-STRICT``, ``INFORMATIONAL``, or ``FAILED`` for everything that is no pass."""
    return str(result.behavior.value) if result.passed else "FAILED"


def table(results: list[CaseResult]) -> Iterator[str]:
    """The results by section, and their sum."""
    yield "| section | | cases | passed | non-strict | informational | failed |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    total: Counter[str] = Counter()
    for section, what in SECTIONS.items():
        counts = Counter(verdict(one) for one in results if one.case_id.split(".")[0] == section)
        total += counts
        yield row(section, what, counts)
    yield row("", "**all**", total)


def row(section: str, what: str, counts: Counter[str]) -> str:
    numbers = (counts[kind] for kind in ("OK", "NON-STRICT", "INFORMATIONAL", "FAILED"))
    return f"| {section} | {what} | {counts.total()} | {' | '.join(map(str, numbers))} |"


def report(results: list[CaseResult], seconds: float) -> str:
    """What stands between the marks of the page."""
    began = f"Run on {datetime.now(UTC):%Y-%m-%d} in {seconds:.0f} s: "
    versions = f"Tidewire {version('tidewire')} under Python {platform.python_version()}"
    lines = [f"{began}{versions}, kosoku {version('kosoku')}.", "", *table(results)]
    informational = [one.case_id for one in results if verdict(one) == "INFORMATIONAL"]
    if informational:
        lines += ["", f"Informational: {', '.join(informational)}."]
    return "\n".join(lines)


def put(text: str) -> None:
    """Put *text* between the marks of the page."""
    page = PAGE.read_text("utf-8")
    before, after = page.index(START) + len(START), page.index(END)
    PAGE.write_text(f"{page[:before]}\n{text}\n{page[after:]}", "utf-8")


def main(cases: list[str]) -> int:
    began = time.monotonic()
    results = asyncio.run(run_all(cases or PORTIONS))
    failed = sum(not result.passed for result in results)
    print(f"{len(results)} cases, {failed} failed")
    if cases:
        return failed > 0
    if len({result.case_id for result in results}) != WHOLE:
        print(f"these are not the {WHOLE} cases that there are", file=sys.stderr)
        return 1
    put(report(results, time.monotonic() - began))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
