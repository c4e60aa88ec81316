"""After a promotion: what people got since is held against what they got before; what made it worse is rolled back.

Receipts and ratings come in, a change of the live record goes out. Every measure is a share of answers that went wrong
in some way, so that one exact test serves all. There are few looks, at doubling numbers of answers, and the probability
of a false alarm is shared out among them and among the measures. No engine is opened here.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from rag.conversations import Store
from rag.errors import RolewiseError
from rag.live import ROLLED_BACK, STANDS, Candidate, Counts, LiveRecord, Watch, now
from rag.receipts import STOPPED, Line, Receipts
from rag.settings import Settings
from rag.significance import rose

logger = logging.getLogger(__name__)

MEASURES = {
    "refused": "answers refused",
    "struck": "answers with struck sentences",
    "nothing stood": "drafts of which nothing stood",
    "fell back": "answers by another generator",
    "error": "failures",
    "stopped": "answers not waited for",
    "rated bad": "answers rated bad",
    "slow": "slow answers",
}
"""What can go wrong with an answer, and what a share of it is called."""
FALSE_ALARM = 0.05
"""Probability that a promotion that changes nothing is rolled back, at the most."""
SLOWER = 1.5
"""An answer is slow if it takes so many times as long as 95 of 100 did before: machines have bad moments."""
NINETY_FIFTH = 95


@dataclass(frozen=True, slots=True)
class Limits:
    """A watch lasts for so many `answers` or `hours`, looks first after the `least`, and bears that a share rises by
    the `tolerance`."""

    answers: int
    hours: float
    least: int
    tolerance: float


@dataclass(frozen=True, slots=True)
class Finding:
    """`fall` is the reason to roll back, "" if there is none; `is_over` says that no more is watched."""

    fall: str
    is_over: bool
    said: str


def counted(lines: Sequence[Line], rated_bad: Collection[str], slow: float | None = None) -> Counts:
    """What went wrong with the answers. Without `slow` the limit is taken from their own times."""
    times = [one.facts.total for one in lines if one.facts.total is not None]
    limit = slow or (SLOWER * float(np.percentile(times, NINETY_FIFTH)) if times else None)
    bad = {
        "refused": sum(one.status == "not_found" for one in lines),
        "struck": sum(one.facts.struck > 0 for one in lines),
        "nothing stood": sum(one.facts.nothing_stood for one in lines),
        "fell back": sum(one.facts.fell_back for one in lines),
        "error": sum(one.status == "error" for one in lines),
        "stopped": sum(one.status == STOPPED for one in lines),
        "rated bad": sum(one.id in rated_bad for one in lines),
        "slow": sum(time > limit for time in times) if limit else 0,
    }
    return Counts(len(lines), bad, limit)


def looks(limits: Limits) -> list[int]:
    """After how many answers is looked: the least, twice as many and so on, and at the end."""
    found, at = [], limits.least
    while at < limits.answers:
        found.append(at)
        at *= 2
    return [*found, limits.answers]


def found(
    watch: Watch, lines: Sequence[Line], rated_bad: Collection[str], limits: Limits, moment: datetime | None = None
) -> Finding:
    """Of the answers since the promotion, oldest first. The same answers give the same finding in every process."""
    all_looks = looks(limits)
    due = max((one for one in all_looks if one <= len(lines)), default=0)
    since = datetime.strptime(watch.since, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    is_late = (moment or datetime.now(UTC)) > since + timedelta(hours=limits.hours)
    if not due:
        said = f"{len(lines)} answers since, {watch.before.n} before; the first look is after {limits.least}"
        return Finding("", is_late, said)
    after = counted(lines[:due], rated_bad, watch.before.slow)
    surely = FALSE_ALARM / (len(all_looks) * len(MEASURES))
    fall = "; ".join(filter(None, (_fall(name, watch.before, after, limits.tolerance, surely) for name in MEASURES)))
    said = f"{due} answers since, {watch.before.n} before: {fall or 'no measure fell'}"
    return Finding(fall, is_late or due >= limits.answers, said)


def _fall(name: str, before: Counts, after: Counts, tolerance: float, surely: float) -> str:
    had, has = before.bad.get(name, 0), after.bad[name]
    if not before.n or has / after.n - had / before.n <= tolerance:
        return ""
    p = rose((had, before.n), (has, after.n))
    if p >= surely:
        return ""
    return f"{MEASURES[name]} rose from {had} of {before.n} to {has} of {after.n} (p {p:.1g})"


def begin_watch(settings: Settings, candidate: Candidate) -> Watch | None:
    """What a promotion is held against: the newest answers before it. None where nothing is to be watched."""
    if not settings.watch_answers or not settings.receipts:
        return None
    lines = Receipts(settings.log).list(last=settings.watch_answers)
    after = lines[-1].number if lines else 0
    return Watch(candidate.sha256, now(), after, counted(lines, _rated_bad(settings)))


def look_after(settings: Settings) -> str:
    """Rolls the last promotion back if answers have become worse since. Returns what was seen, "" if none is watched.

    What hinders it is warned of: no answer is lost for it.
    """
    record = LiveRecord.of(settings)
    try:
        watch = record.read().watch
        if watch is None:
            return ""
        lines = [one for one in Receipts(settings.log).list(since=watch.since) if one.number > watch.after]
        limits = Limits(settings.watch_answers, settings.watch_hours, settings.watch_least, settings.watch_tolerance)
        seen = found(watch, lines, _rated_bad(settings) if len(lines) >= limits.least else (), limits)
        if seen.fall:
            if name := record.go_back(ROLLED_BACK, seen.fall, only=watch.sha256):
                logger.warning("%s was rolled back: %s", name, seen.fall)
        elif seen.is_over:
            record.end_watch(watch, STANDS, seen.said)
    except RolewiseError as error:
        logger.warning("the promotion cannot be watched: %s", error)
        return ""
    return seen.said


def _rated_bad(settings: Settings) -> set[str]:
    if not settings.conversations.is_file():
        return set()
    with Store(settings.conversations) as store:
        return {receipt for receipt, verdict in store.verdicts().items() if verdict == "bad"}
