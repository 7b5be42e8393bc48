"""Latencies: recorded as cheaply as possible while messages arrive, summed up as an HDR histogram
after.
"""

from __future__ import annotations

from array import array
from collections import Counter

from hdrh.histogram import HdrHistogram

LONGEST_US = 60_000_000
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


class Latencies:
    """Latencies in nanoseconds. `add` is one append; the histogram is built when asked for."""

    __slots__ = ("_ns", "add")

    def __init__(self) -> None:
        self._ns = array("q")
        self.add = self._ns.append

    def clear(self) -> None:
        """Forgets everything; `add` stays valid."""
        del self._ns[:]

    def histogram(self) -> HdrHistogram:
        """In microseconds, from 1 µs to 60 s, three significant digits. A latency below 1 µs counts
        as 1.
        """
        histogram = HdrHistogram(1, LONGEST_US, 3)
        for microseconds, count in Counter(max(ns // 1000, 1) for ns in self._ns).items():
            histogram.record_value(min(microseconds, LONGEST_US), count)
        return histogram


def summary(histogram: HdrHistogram) -> dict[str, float]:
    """Count, percentiles and maximum of a histogram, in milliseconds."""
    figures = {"count": histogram.total_count}
    if histogram.total_count:
        for percentile in PERCENTILES:
            figures[f"p{percentile:g}"] = histogram.get_value_at_percentile(percentile) / 1000
        figures["max"] = histogram.get_max_value() / 1000
    return figures
