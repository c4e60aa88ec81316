"""An OpenTelemetry span for each answer and each stage of it, for whoever collects such.

Without the SDK, or where no collector is named, a span is nothing and costs nothing. Spans hold names, numbers and
hashes, never what a person or a document said.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from rag import __version__
from rag.errors import SettingsError
from rag.receipts import Outcome

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""The environment variable by which any program is told where its traces go; the other OTEL_* ones count as well."""
_MILLISECOND = 1_000_000
"""Nanoseconds."""
_is_set_up = False


def set_up(endpoint: str = "") -> None:
    """Sends traces to a collector that speaks OTLP over HTTP, if one is given or the environment names one.

    Raises SettingsError where the packages for that are not installed.
    """
    global _is_set_up  # noqa: PLW0603 - OpenTelemetry takes one provider for a process
    if _is_set_up or not (endpoint or os.environ.get(ENDPOINT)):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            f"traces need the package {error.name}. Install: pip install 'rolewise[otel]', or unset {ENDPOINT}."
        ) from error
    from opentelemetry import trace

    provider = TracerProvider(resource=Resource.create({"service.name": "rolewise", "service.version": __version__}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces") if endpoint else OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    _is_set_up = True


class Tracer:
    """Told of each outcome as `watching.Watcher`. `provider` is by default that of the process."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider

    def __call__(self, outcome: Outcome) -> str:
        from opentelemetry import trace

        tracer = trace.get_tracer("rolewise", __version__, tracer_provider=self._provider)
        times = outcome.record.get("timings_ms", {})
        lasted = max([times.get("total", 0.0), *(end for _, _, end in outcome.stages)])
        end = time.time_ns()
        start = end - int(lasted * _MILLISECOND)
        whole = tracer.start_span("answer", start_time=start, attributes=_attributes(outcome))
        within = trace.set_span_in_context(whole)
        if outcome.status == "error":
            whole.set_status(trace.StatusCode.ERROR)
        for name, since, until in (*outcome.stages, *_draft(outcome, lasted)):
            span = tracer.start_span(name, context=within, start_time=start + int(since * _MILLISECOND))
            span.end(start + int(until * _MILLISECOND))
        whole.end(end)
        return ""


def _draft(outcome: Outcome, lasted: float) -> list[tuple[str, float, float]]:
    """The stage of writing, among whose sentences the checks lie: from what is before it to the end, if there is one.

    Roles that are set side by side are not written.
    """
    decided = max((end for name, _, end in outcome.stages if name in ("evidence", "judge")), default=None)
    is_written = outcome.status in ("answered", "partial")
    return [("draft", decided, lasted)] if is_written and decided is not None else []


def _attributes(outcome: Outcome) -> dict[str, Any]:
    record = outcome.record
    found = {
        "door": outcome.door,
        "status": outcome.status,
        "generator": record.get("generator", {}).get("name"),
        "model": record.get("generator", {}).get("model"),
        "asked_for": outcome.asked_for,
        "index": record.get("index", {}).get("version"),
        "prompt_sha256": record.get("prompt_sha256"),
        "unanswerable": record.get("unanswerable"),
        "passages": len(record["passages"]),
        "citations": len(record["citations"]),
        "struck": len(record["struck"]),
    }
    return {f"rolewise.{name}": value for name, value in found.items() if value is not None}
