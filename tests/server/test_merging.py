"""Figures of several workers as one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tidewire.server.line import Family, Sample
from tidewire.server.merging import families_of, merged, metrics_of, retire


def family(name: str, kind: str, **values: float) -> Family:
    """A metric with one label, whose values are named."""
    suffix = "_total" if kind == "counter" else ""
    samples = [Sample(name + suffix, {"of": of}, value) for of, value in values.items()]
    return Family(name, f"What {name} is.", kind, samples)


def values(families: list[Family]) -> dict[tuple[str, ...], float]:
    """Each value by the names of its sample and its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_what_is_counted_is_summed() -> None:
    found = merged(
        {
            "1": [family("drops", "counter", slow=1, hole=2), family("open", "gauge", ws=5)],
            "2": [family("drops", "counter", slow=10), family("open", "gauge", ws=6, sse=1)],
        },
        [],
    )
    assert values(found) == {
        ("drops_total", "slow"): 11,
        ("drops_total", "hole"): 2,
        ("open", "ws"): 11,
        ("open", "sse"): 1,
    }
    assert [(f.name, f.type, f.documentation) for f in found] == [
        ("drops", "counter", "What drops is."),
        ("open", "gauge", "What open is."),
    ]


def test_of_some_the_largest_counts() -> None:
    workers = {
        str(number): [
            family("tidewire_position", "gauge", it=position),
            family("tidewire_breaker", "gauge", memory=number == 2),
        ]
        for number, position in enumerate((7, 9, 8))
    }
    assert values(merged(workers, [])) == {
        ("tidewire_position", "it"): 9,
        ("tidewire_breaker", "memory"): 1,
    }


def test_what_is_said_of_a_process_is_told_of_each() -> None:
    workers = {
        name: [family("process_open_fds", "gauge", it=int(name)), family("python_gc", "gauge", x=1)]
        for name in ("1", "2")
    }
    assert values(merged(workers, [])) == {
        ("process_open_fds", "it", "1"): 1,
        ("process_open_fds", "it", "2"): 2,
        ("python_gc", "x", "1"): 1,
        ("python_gc", "x", "2"): 1,
    }


def test_what_the_dead_have_counted_stays() -> None:
    one = [
        family("drops", "counter", slow=3),
        family("open", "gauge", ws=9),
        family("process_cpu_seconds", "counter", it=4),
    ]
    retired = retire([], one)
    assert values(retired) == {("drops_total", "slow"): 3}
    retired = retire(retired, [family("drops", "counter", slow=4, hole=1)])
    found = values(merged({"1": [family("drops", "counter", slow=1)]}, retired))
    assert found == {("drops_total", "slow"): 8, ("drops_total", "hole"): 1}


def test_histograms_are_summed_bucket_by_bucket() -> None:
    parts = {}
    for name in ("1", "2"):
        registry = CollectorRegistry()
        seconds = Histogram("seconds", "How long.", buckets=(1, 2), registry=registry)
        Counter("done", "How many.", registry=registry).inc(3)
        Gauge("now", "How much.", registry=registry).set(0.5)
        seconds.observe(1.5)
        parts[name] = families_of(registry.collect())
    (histogram, *_) = (m for m in metrics_of(merged(parts, [])) if m.name == "seconds")
    found = {(s.name, s.labels.get("le")): s.value for s in histogram.samples}
    assert found["seconds_bucket", "1.0"] == 0
    assert found["seconds_bucket", "2.0"] == 2
    assert found["seconds_bucket", "+Inf"] == 2
    assert found["seconds_sum", None] == 3
    assert found["seconds_count", None] == 2
