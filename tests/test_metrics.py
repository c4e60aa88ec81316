"""Counts for Prometheus and spans for OpenTelemetry, by answers that were really given."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client.parser import text_string_to_metric_families

from rag import tracing
from rag.answering import Engine
from rag.errors import SettingsError
from rag.metrics import Meter
from rag.tracing import Tracer, set_up
from rag.watching import WatchedEngine
from tests.test_receipts import QUESTION, Writer

Watch = Callable[..., WatchedEngine]


@pytest.fixture
def watch(engine_over: Callable[..., Engine], shelf: Path) -> Watch:
    def make(watcher: Any, **others: Any) -> WatchedEngine:
        return WatchedEngine(**vars(engine_over(shelf, **others)), door="api", watchers=[watcher])

    return make


def read(meter: Meter) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, in the order of their names."""
    families = text_string_to_metric_families(meter.as_text().decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_answers_struck_sentences_and_fallbacks_are_counted(watch: Watch) -> None:
    meter = Meter()
    engine = watch(meter, broken=Writer(fails=True), idle=Writer("Bakers earn 1,000,000 francs [1]."))
    engine.ask(QUESTION)
    engine.ask(QUESTION)
    engine.ask("Quantum chromodynamics lattice?")
    engine.ask("Do Bakers know flour?", generator="broken")
    engine.ask("Do Bakers know flour?", generator="idle")
    with pytest.raises(SettingsError):
        engine.ask("")
    found = read(meter)
    assert found["rolewise_answers_total", "api", "extractive", "answered"] == 4
    assert found["rolewise_answers_total", "api", "extractive", "not_found"] == 1
    assert found["rolewise_answers_total", "api", "extractive", "error"] == 1
    assert found["rolewise_struck_sentences_total", "idle"] == 1
    assert found["rolewise_fallbacks_total", "broken", "failed"] == 1
    assert found["rolewise_fallbacks_total", "idle", "nothing stood the check"] == 1
    assert found["rolewise_answer_seconds_count", "extractive"] == 5
    assert found["rolewise_first_sentence_seconds_count", "extractive"] == 4  # a refusal has none
    assert found["rolewise_retrieve_seconds_bucket", "extractive", "+Inf"] == 5
    assert (
        0 < found["rolewise_retrieve_seconds_sum", "extractive"] <= found["rolewise_answer_seconds_sum", "extractive"]
    )


def test_gauges_are_read_when_somebody_asks() -> None:
    values = [1.0]
    meter = Meter(lambda: [("passages", "How many.", {"of": "x"}, values[0]), ("passages", "", {"of": "y"}, 7)])
    values[0] = 2.0
    assert read(meter)["rolewise_passages", "x"] == 2.0
    assert read(meter)["rolewise_passages", "y"] == 7.0


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracer(provider)


def spans(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, list[ReadableSpan]]:
    """That of the answer, and those of its stages in the order in which they began."""
    *stages, whole = exporter.get_finished_spans()
    assert whole.name == "answer"
    for one in stages:
        assert one.parent is not None
        assert one.parent.span_id == whole.context.span_id
        assert one.context.trace_id == whole.context.trace_id
        assert whole.start_time is not None
        assert whole.end_time is not None
        assert one.start_time is not None
        assert one.end_time is not None
        assert whole.start_time <= one.start_time <= one.end_time <= whole.end_time
    return whole, sorted(stages, key=lambda one: one.start_time or 0)


def test_an_answer_has_a_span_for_each_stage(watch: Watch, tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    watch(tracer).ask("What do Bakers know of flour?")
    whole, stages = spans(exporter)
    names = [one.name for one in stages]
    assert names[:4] == ["understand", "retrieve", "evidence", "draft"]  # it is clear without a judgement
    assert set(names[4:]) == {"verify"}
    ends = [one.end_time or 0 for one in stages[:3]]
    assert ends == sorted(ends)
    assert whole.attributes is not None
    assert whole.attributes["rolewise.status"] == "answered"
    assert whole.attributes["rolewise.door"] == "api"
    assert whole.attributes["rolewise.passages"] == 4
    assert "flour" not in str([one.to_json() for one in exporter.get_finished_spans()])


def test_a_refusal_drafts_nothing(watch: Watch, tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    watch(tracer).ask("Quantum chromodynamics lattice?")
    _, stages = spans(exporter)
    assert [one.name for one in stages] == ["understand", "retrieve", "evidence", "judge"]


def test_an_answer_that_is_repeated_has_no_stages(watch: Watch, tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    engine = watch(tracer)
    engine.ask(QUESTION)
    exporter.clear()
    assert engine.ask(QUESTION).repeated
    _, stages = spans(exporter)
    assert stages == []


def test_a_failure_is_marked_as_one(watch: Watch, tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with pytest.raises(SettingsError):
        watch(tracer).ask("")
    whole, stages = spans(exporter)
    assert whole.status.status_code is StatusCode.ERROR
    assert stages == []


def test_without_a_collector_nothing_is_set_up(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    monkeypatch.delenv(tracing.ENDPOINT, raising=False)
    set_up()
    assert not tracing._is_set_up
    assert watch(Tracer()).ask(QUESTION).status == "answered"


def test_a_missing_package_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"pip install 'rolewise\[otel\]'"):
        set_up("http://127.0.0.1:4318")
