"""What the owner of a home sees of its answers: the report of the log and the checks of the index.

`Overview` puts together what the log, the conversations and the index version tell; the page `/monitor` and `/metrics`
show it. Who may see them is `safety.Guard`'s to decide; what others have asked is shown where one person asks alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from rag.answering import Engine
from rag.calibration import read_sample
from rag.errors import RolewiseError
from rag.freshness import read_dates
from rag.metrics import Gauge, Meter
from rag.monitoring import DAYS, Problem, Report, lost_passages, out_of_date, report
from rag.pages.frame import failed_page
from rag.pages.monitor import monitor_page
from rag.receipts import Receipts
from rag.safety import person_of, without_paths
from rag.web import HEADERS

SAMPLED = 20
"""Passages that an index is asked for by their own first sentences: half a second of searching."""
WITHIN = 10
"""Places among which each must be found."""
KEPT_SECONDS = 60
"""For which a report is shown again instead of being made anew."""
METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Overview:
    """Over the `receipts` of a home whose index versions lie in `build`. Safe to use from several threads.

    `verdicts` gives what was thought of answers, by the ids of their receipts.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        receipts: Receipts,
        build: Path,
        *,
        verdicts: Callable[[], Mapping[str, str]] = dict,
        freshness_days: int = 0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._receipts = receipts
        self._build = build
        self._verdicts = verdicts
        self._freshness_days = freshness_days
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[float, Report] | None = None
        self._probed: tuple[str, list[Problem]] | None = None

    def report(self, days: int = DAYS) -> Report:
        """Raises RolewiseError where the log cannot be read or there is no index."""
        now, engine = self._clock(), self._engine()
        version = engine.version.info.version
        folder = self._build / version
        problems = [*self._of_index(engine), *out_of_date(read_dates(folder), self._freshness_days, now.date())]
        return report(
            self._receipts.list(),
            now=now,
            verdicts=self._verdicts(),
            calibrated=read_sample(folder),
            further=problems,
            days=days,
        )

    def recent(self) -> Report:
        """A report that is a minute old at the most."""
        with self._lock:
            if self._kept is None or time.monotonic() - self._kept[0] > KEPT_SECONDS:
                self._kept = time.monotonic(), self.report()
            return self._kept[1]

    def gauges(self) -> Iterator[Gauge]:
        """The index that answers, its size and age, and what a report finds."""
        engine = self._engine()
        info, version = engine.version.info, engine.version
        yield "index_info", "The index version that answers.", {"version": info.version, "embedder": info.embedder}, 1
        yield "index_documents", "Documents of the index.", {}, len(version.documents)
        yield "index_passages", "Passages of the index.", {}, len(version.passages)
        path = self._build / info.version / "manifest.json"
        if path.is_file():
            yield "index_age_seconds", "Since the index was built.", {}, time.time() - path.stat().st_mtime
        found = self.recent()
        for one in found.drifts:
            yield "drift_distance", "KS distance of the last questions.", {"of": one.what}, one.distance
        counts = dict.fromkeys(("drift", "empty", "errors", "fallback", "freshness", "index", "slow"), 0)
        for problem in found.problems:
            counts[problem.name] += 1
        for name, count in counts.items():
            yield "problems", "Warnings of `rolewise monitor`.", {"name": name}, count

    def _of_index(self, engine: Engine) -> list[Problem]:
        """What the engine itself says, and whether its passages are still found: looked at once for each version."""
        notice = [Problem("index", engine.notice, "See: python -m rag index list")] if engine.notice else []
        version = engine.version.info.version
        if self._probed is None or self._probed[0] != version:
            lost, asked = lost_in(engine)
            self._probed = version, lost_passages(lost, asked)
        return [*notice, *self._probed[1]]


def lost_in(engine: Engine) -> tuple[list[str], int]:
    """Of some passages, spread evenly, the ids of those that their own first sentence does not find; and how many."""
    passages = engine.version.passages
    step = max(1, len(passages) // SAMPLED)
    sampled = list(passages[::step])[:SAMPLED]
    lost = []
    for passage in sampled:
        sentences = engine.version.sentences(passage)
        if not sentences:
            continue
        first = sentences[0].text
        found = engine.retriever.retrieve(f"{passage.trail}: {first}", WITHIN)
        # The same words may stand in several passages, any of which is as good.
        if not any(one.passage.id == passage.id or first in one.passage.text for one in found):
            lost.append(passage.id)
    return lost, len(sampled)


def add_monitor(api: FastAPI, overview: Overview, meter: Meter) -> None:
    """Adds the page `/monitor` and `/metrics`."""
    meter.gauges = overview.gauges

    @api.get("/monitor", include_in_schema=False)
    def show(request: Request) -> Response:
        try:
            found = overview.recent()
        except RolewiseError as error:
            return HTMLResponse(failed_page(without_paths(str(error)), ""), 503, HEADERS)
        if person_of(request.scope):  # several people ask here
            found = replace(found, most_asked=(), most_refused=())
        return HTMLResponse(monitor_page(found.as_json()), headers=HEADERS)

    @api.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(meter.as_text(), media_type=METRICS)
