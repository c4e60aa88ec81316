"""What has happened in this process, counted for Prometheus: answers, struck sentences, fallbacks, times.

Outcomes come in, and what a monitoring server reads goes out as text. Counts begin at nought with the process; the log
of answers has the rest. No label holds anything that a person or a document said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from rag.receipts import Outcome, facts_of

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
"""Buckets of times: a search takes hundredths of a second, a model on two old cores minutes."""

Gauge = tuple[str, str, dict[str, str], float]
"""Name, what it tells, labels and value."""


class Meter:
    """Counts outcomes; told of each as `watching.Watcher`. `gauges` are read whenever somebody asks."""

    def __init__(self, gauges: Callable[[], Iterable[Gauge]] = lambda: ()) -> None:
        self.gauges = gauges
        self._registry = CollectorRegistry()
        self._answers = self._counter("answers", "Questions by how they ended.", "status", "generator", "door")
        self._struck = self._counter("struck_sentences", "Sentences that were not shown as drafted.", "generator")
        self._fallbacks = self._counter(
            "fallbacks", "Answers that another generator had to write.", "generator", "reason"
        )
        self._times = {
            "retrieve": self._histogram("retrieve_seconds", "Until the passages were found."),
            "first_sentence": self._histogram("first_sentence_seconds", "Until a checked sentence was shown."),
            "total": self._histogram("answer_seconds", "Until the answer was done."),
        }
        self._registry.register(_Read(self))

    def __call__(self, outcome: Outcome) -> str:
        facts = facts_of(outcome)
        self._answers.labels(outcome.status, facts.generator, outcome.door).inc()
        self._struck.labels(facts.asked_for).inc(facts.struck)
        if facts.fell_back:
            self._fallbacks.labels(facts.asked_for, "failed").inc()
        if facts.nothing_stood:
            self._fallbacks.labels(facts.asked_for, "nothing stood the check").inc()
        for name, histogram in self._times.items():
            if (milliseconds := getattr(facts, name)) is not None:
                histogram.labels(facts.generator).observe(milliseconds / 1000)
        return ""

    def as_text(self) -> bytes:
        """In the text format of Prometheus."""
        return generate_latest(self._registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"rolewise_{name}", what, labels, registry=self._registry)

    def _histogram(self, name: str, what: str) -> Histogram:
        return Histogram(f"rolewise_{name}", what, ("generator",), registry=self._registry, buckets=SECONDS)


class _Read(Collector):
    """Gauges that are worked out when they are read."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()  # so that registering reads nothing

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        for name, what, labels, value in self._meter.gauges():
            family = families.setdefault(name, GaugeMetricFamily(f"rolewise_{name}", what, labels=list(labels)))
            family.add_metric(list(labels.values()), value)
        yield from families.values()
