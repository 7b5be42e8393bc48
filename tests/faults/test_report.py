"""The table of the fault runs, wherever its rows come from."""

from __future__ import annotations

from collections import Counter

from tests.faults.report import Report, Row


def test_rows_of_other_processes_are_in_the_table() -> None:
    here, there = Report(), Report()
    here.rows.append(Row("stall, sqlite", Counter(stall=2), 10, 30, 0, 0))
    there.rows.append(Row("cut, memory", Counter(cut=3, refuse=1), 5, 10, 0, 1))
    here.take(there.plain())
    head, *rows = (" ".join(line.split()) for line in here.lines())
    assert head == "run faults sent received lost duplicated"
    assert rows == [
        "cut, memory 4 5 10 0 1 3 cut, 1 refuse",
        "stall, sqlite 2 10 30 0 0 2 stall",
        "all 6 15 40 0 1",
    ]


def test_what_goes_over_is_plain() -> None:
    """As execnet takes it: of these types and of none that is derived from one."""
    report = Report()
    report.rows.append(Row("cut, memory", Counter(cut=3), 5, 10, 0, 0))
    [row] = report.plain()
    assert [type(value) for value in row] == [str, dict, int, int, int, int]
    assert type(row) is tuple
