"""Metrics of several workers as one: sums, where a sum says something."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import Metric

from tidewire.server.line import Family, Sample

_OF_PROCESSES = ("process_", "python_")
_SUMMED_AFTER_THE_END = ("counter", "histogram", "summary")
_LARGEST = frozenset({"tidewire_position", "tidewire_breaker"})
"""Gauges of which the largest counts: all workers hand out one log, and one worker that is short
of something is what there is to know."""

_Key = tuple[str, tuple[tuple[str, str], ...]]


def families_of(metrics: Iterable[Metric]) -> list[Family]:
    """Metrics as they go over the line."""
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            [Sample(s.name, dict(s.labels), float(s.value)) for s in metric.samples],
        )
        for metric in metrics
    ]


def metrics_of(families: Iterable[Family]) -> Iterable[Metric]:
    """What came over the line as metrics."""
    for family in families:
        metric = Metric(family.name, family.documentation, family.type)
        for sample in family.samples:
            metric.add_sample(sample.name, sample.labels, sample.value)
        yield metric


def merged(workers: Mapping[str, list[Family]], retired: list[Family]) -> list[Family]:
    """The metrics of all *workers*, and the counts of those that are no more.

    What is said of a process, and not of what it serves, is told of each with a label ``worker``.
    """
    parts = [
        [_labelled(family, worker) for family in families] for worker, families in workers.items()
    ]
    return _added([retired, *parts])


def retire(retired: list[Family], last: list[Family]) -> list[Family]:
    """*retired* and what a worker has counted until it ended.

    Without it the sums would go down when a worker ends, which means that all has begun anew.
    """
    counts = [
        family
        for family in last
        if family.type in _SUMMED_AFTER_THE_END and not family.name.startswith(_OF_PROCESSES)
    ]
    return _added([retired, counts])


def _labelled(family: Family, worker: str) -> Family:
    if not family.name.startswith(_OF_PROCESSES):
        return family
    samples = [Sample(s.name, {**s.labels, "worker": worker}, s.value) for s in family.samples]
    return Family(family.name, family.documentation, family.type, samples)


def _added(parts: Iterable[list[Family]]) -> list[Family]:
    known: dict[str, Family] = {}
    values: dict[str, dict[_Key, float]] = {}
    for families in parts:
        for family in families:
            known.setdefault(family.name, family)
            of_family = values.setdefault(family.name, {})
            add: Callable[[float, float], float] = max if family.name in _LARGEST else operator.add
            for name, labels, value in ((s.name, s.labels, s.value) for s in family.samples):
                key = name, tuple(labels.items())
                of_family[key] = add(of_family[key], value) if key in of_family else value
    return [
        Family(
            family.name,
            family.documentation,
            family.type,
            [
                Sample(name, dict(labels), value)
                for (name, labels), value in values[family.name].items()
            ],
        )
        for family in known.values()
    ]
