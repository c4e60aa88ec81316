"""What the log of answers tells of the last days: how much was asked, how it went, and what a person should look at.

In come the lines of receipts, what was thought of answers, and samples to compare with; out comes a report with its
warnings. A warning is given only where enough questions are there and the change is large enough to matter. Nothing is
asked, opened or written here.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from rag.receipts import Line
from rag.words import words

DAYS = 30
"""That a report covers."""
RECENT_DAYS = 7
"""Drift compares these with what came before, where no calibration can be compared with."""
MOST_LISTED = 10
"""Questions in a list."""
TWICE = 2
"""Times from which on a question is listed: one that was asked once says nothing about the next."""

ENOUGH = 50
"""Questions on each side below which nothing is said of drift: at fewer a KS distance of DISTANT comes about by chance
more often than once in fifty."""
DISTANT = 0.3
"""The KS distance from which on two samples are told apart: for that share of the questions the one is shifted against
the other. Random halves of the 166 bundled development questions lay 0.24 apart at the most, in 20 draws."""
BY_CHANCE = 0.001
"""Probability of such a distance between samples of one kind, below which it counts. There are three comparisons."""
A_FEW = 20
"""Answers below which no share of them is judged."""
OFTEN_IDLE = 0.3
"""Share of a model's answers of which nothing stood the check from which on it writes past the evidence."""
OFTEN_WRONG = 0.2
"""Share of questions that failed from which on something is broken, whatever is asked."""
HOURS_AWAY = 1.0
"""A generator that has answered nothing for so long, however often it was asked, is not busy: it is not there."""
LOST = 0.2
"""Share of sampled passages that are not found by their own first sentence from which on an index is suspect. Of the
363 of the bundled guides none is lost."""
SLOWER = 2.0
"""Times that the median answer of the last days may take of what it took before."""

DRIFTING = {
    "score": "scores of evidence",
    "unanswerable": "probabilities of no answer",
    "words": "lengths of questions",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, in one line, and what to do about it."""

    name: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the `recent` questions lie from those that they are compared with, by the two-sample KS distance."""

    what: str
    distance: float
    by_chance: float
    recent: int
    before: int

    @property
    def matters(self) -> bool:
        return min(self.recent, self.before) >= ENOUGH and self.distance >= DISTANT and self.by_chance < BY_CHANCE


@dataclass(frozen=True, slots=True)
class Day:
    date: str
    asked: int
    refused: int
    failed: int


@dataclass(frozen=True, slots=True)
class Report:
    """Times are in seconds, by generator and stage: the 50th, 95th and 99th percentile, of answers that were written
    and not repeated."""

    since: str
    asked: int
    days: tuple[Day, ...]
    statuses: Mapping[str, int]
    doors: Mapping[str, int]
    generators: Mapping[str, int]
    struck: int
    fell_back: int
    nothing_stood: int
    times: Mapping[str, Mapping[str, tuple[float, float, float]]]
    scores: Mapping[str, tuple[float, float, float]]
    """The quartiles of each of `DRIFTING`."""
    ratings: Mapping[str, int]
    most_asked: tuple[tuple[str, int], ...]
    most_refused: tuple[tuple[str, int], ...]
    compared_with: str
    drifts: tuple[Drift, ...]
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


Sample = Mapping[str, Sequence[float]]
"""Values of each of `DRIFTING`."""


def report(
    lines: Iterable[Line],
    *,
    now: datetime,
    verdicts: Mapping[str, str] | None = None,
    calibrated: Sample | None = None,
    further: Sequence[Problem] = (),
    days: int = DAYS,
) -> Report:
    """The report on the last `days`. `calibrated` is the sample of the questions that refusal was fitted on, if there
    is one, and `further` what other checks have found."""
    since = _time(now - timedelta(days=days))
    found = [line for line in lines if line.at >= since]
    answers = [line for line in found if line.status not in ("error", "stopped")]
    recent = [line for line in answers if line.at >= _time(now - timedelta(days=RECENT_DAYS))]
    earlier = answers[: len(answers) - len(recent)]
    drifts = drift(sample(recent), calibrated or sample(earlier))
    compared_with = "the questions that refusal was calibrated on" if calibrated else "the weeks before"
    return Report(
        since=since,
        asked=len(found),
        days=_days(found, now, days),
        statuses=_counted(line.status for line in found),
        doors=_counted(line.door for line in found),
        generators=_counted(line.facts.generator for line in answers),
        struck=sum(line.facts.struck for line in found),
        fell_back=sum(line.facts.fell_back for line in found),
        nothing_stood=sum(line.facts.nothing_stood for line in found),
        times=_times(answers),
        scores={name: _quartiles(values) for name, values in sample(answers).items() if len(values) > 1},
        ratings=_counted((verdicts or {})[line.id] for line in found if line.id in (verdicts or {})),
        most_asked=_most(found),
        most_refused=_most(line for line in found if line.status == "not_found"),
        compared_with=compared_with,
        drifts=drifts,
        problems=(*_problems(found, recent, earlier), *_of_drift(drifts, compared_with), *further),
    )


def sample(lines: Iterable[Line]) -> Sample:
    kept: dict[str, list[float]] = {name: [] for name in DRIFTING}
    for line in lines:
        for name, values in kept.items():
            if (value := getattr(line.facts, name)) is not None:
                values.append(float(value))
    return kept


def drift(recent: Sample, before: Sample) -> tuple[Drift, ...]:
    """Of each kind of value that both samples have."""
    from scipy.stats import ks_2samp

    found = []
    for name in DRIFTING:
        one, other = recent.get(name, ()), before.get(name, ())
        if one and other:
            tested = ks_2samp(one, other, method="asymp")
            distance, chance = float(tested.statistic), float(tested.pvalue)
            found.append(Drift(name, round(distance, 3), chance, len(one), len(other)))
    return tuple(found)


def lost_passages(lost: Sequence[str], asked: int) -> list[Problem]:
    """Of `asked` passages that were looked for by their own first sentence, those that were `lost`."""
    if not asked or len(lost) <= LOST * asked:
        return []
    message = f"{len(lost)} of {asked} passages are not found by their own first sentence, such as {lost[0]}"
    return [Problem("index", f"{message}.", "Check it and build it again: python -m rag index verify, index build.")]


def out_of_date(dates: Mapping[str, str], limit: int, today: date) -> list[Problem]:
    """Documents that were last reviewed, or written, more than `limit` days ago; with 0 none is."""
    oldest = today - timedelta(days=limit)
    old = sorted((dated, document) for document, dated in dates.items() if dated and dated < oldest.isoformat())
    if not limit or not old:
        return []
    dated, document = old[0]
    few = f"{len(old)} of {len(dates)} documents were not reviewed for {limit} days, the oldest {document} ({dated})"
    return [Problem("freshness", f"{few}.", "Review them and set `reviewed:` in their front matter, then build again.")]


def as_text(found: Report) -> str:
    """The report for a terminal."""
    parts = [[f"{found.asked:,} questions since {found.since}"], [_pairs("ended", found.statuses)]]
    parts += [[_pairs("through", found.doors), _pairs("written by", found.generators)]]
    checked = f"struck {found.struck:,}, fallbacks {found.fell_back:,}"
    parts += [[f"sentences  {checked}, drafts of which nothing stood {found.nothing_stood:,}"]]
    parts += [[_pairs("rated", found.ratings)]] if found.ratings else []
    parts += [["", "day         asked  refused  failed"]] if found.days else []
    parts += [[f"{day.date}  {day.asked:>5}  {day.refused:>7}  {day.failed:>6}" for day in found.days if day.asked]]
    if found.times:
        rows = [
            f"{name:<12} {stage:<15} {p50:>8.2f} {p95:>8.2f} {p99:>8.2f}"
            for name, stages in found.times.items()
            for stage, (p50, p95, p99) in stages.items()
        ]
        parts += [["", f"seconds      {'until':<15} {'p50':>8} {'p95':>8} {'p99':>8}", *rows]]
    if found.scores:
        rows = [f"{DRIFTING[name]:<28} {low:>7.2f} {mid:>7.2f} {high:>7.2f}" for name, (low, mid, high)
                in found.scores.items()]  # fmt: skip
        parts += [["", f"{'quartiles':<28} {'25 %':>7} {'50 %':>7} {'75 %':>7}", *rows]]
    for title, questions in (("asked most", found.most_asked), ("refused most", found.most_refused)):
        parts += [["", title, *(f"{count:>5}  {question}" for question, count in questions)]] if questions else []
    if found.drifts:
        rows = [f"{DRIFTING[one.what]:<28} {one.distance:>6.2f}  ({one.recent} against {one.before})"
                for one in found.drifts]  # fmt: skip
        parts += [["", f"KS distance of the last {RECENT_DAYS} days from {found.compared_with}", *rows]]
    parts += [["", *(f"warning: {one.message} {one.remedy}" for one in found.problems)]] if found.problems else []
    return "\n".join(line for part in parts for line in part)


def _problems(found: Sequence[Line], recent: Sequence[Line], earlier: Sequence[Line]) -> list[Problem]:
    problems = []
    newest = [line for line in found if line.status != "stopped"][-ENOUGH:]
    failed = sum(line.status == "error" for line in newest)
    if len(newest) >= A_FEW and failed >= OFTEN_WRONG * len(newest):
        message = f"{failed} of the last {len(newest)} questions failed."
        problems.append(Problem("errors", message, "See why: python -m rag log list --status error --json"))
    for generator in sorted({line.facts.asked_for for line in found} - {"extractive"}):
        asked = [line for line in found if line.facts.asked_for == generator and _was_to_write(line)]
        problems += _idle(generator, asked[-ENOUGH:])
        problems += _away(generator, asked)
    for generator in sorted({line.facts.generator for line in recent}):
        now, then = (_totals(lines, generator) for lines in (recent, earlier))
        if min(len(now), len(then)) >= ENOUGH and statistics.median(now) > SLOWER * statistics.median(then):
            message = (
                f"Half of the answers by {generator} now take more than {statistics.median(now) / 1000:.1f} s, "
                f"before it was {statistics.median(then) / 1000:.1f} s."
            )
            problems.append(Problem("slow", message, "See what else the machine does, and the times in: log show ID"))
    return problems


def _totals(lines: Iterable[Line], generator: str) -> list[float]:
    """Milliseconds of the answers that it wrote."""
    own = (line.facts for line in lines if line.facts.generator == generator and not line.facts.repeated)
    return [facts.total for facts in own if facts.total is not None]


def _was_to_write(line: Line) -> bool:
    """Whether a model was asked for a draft: lists and refusals need none."""
    return line.facts.generator == line.facts.asked_for or line.facts.fell_back or line.facts.nothing_stood


def _idle(generator: str, asked: Sequence[Line]) -> list[Problem]:
    idle = sum(line.facts.nothing_stood for line in asked)
    if len(asked) < A_FEW or idle < OFTEN_IDLE * len(asked):
        return []
    message = f"Nothing of {idle} of the last {len(asked)} drafts by {generator} stood the check."
    return [Problem("empty", message, "Try another model (python -m rag models list) or --generator extractive.")]


def _away(generator: str, asked: Sequence[Line]) -> list[Problem]:
    """Where the last answers all fell back, and the first of them is hours older than the last."""
    away: list[Line] = []
    for line in reversed(asked):
        if not line.facts.fell_back:
            break
        away.append(line)
    if len(away) < TWICE or _hours(away[-1].at, away[0].at) < HOURS_AWAY:
        return []
    message = f"The {generator} generator has not answered since {away[-1].at}, {len(away)} times in a row."
    return [Problem("fallback", message, "The notice of an answer tells why: python -m rag log show ID")]


def _of_drift(drifts: Iterable[Drift], compared_with: str) -> list[Problem]:
    return [
        Problem(
            "drift",
            f"The {DRIFTING[one.what]} of the last {RECENT_DAYS} days differ from {compared_with} "
            f"(KS distance {one.distance:.2f}, {one.recent} against {one.before}).",
            "Calibrate on questions like these: python -m rag calibrate FILE",
        )
        for one in drifts
        if one.matters
    ]


def _days(lines: Sequence[Line], now: datetime, days: int) -> tuple[Day, ...]:
    """Each day up to today, those without questions too; nothing where there were none at all."""
    if not lines:
        return ()
    kept = {(now - timedelta(days=back)).astimezone(UTC).date().isoformat(): [0, 0, 0] for back in range(days, -1, -1)}
    for line in lines:
        if (counts := kept.get(line.at[:10])) is not None:
            counts[0] += 1
            counts[1] += line.status == "not_found"
            counts[2] += line.status == "error"
    return tuple(Day(date, *counts) for date, counts in kept.items())


def _times(answers: Sequence[Line]) -> dict[str, dict[str, tuple[float, float, float]]]:
    found: dict[str, dict[str, tuple[float, float, float]]] = {}
    for generator in sorted({line.facts.generator for line in answers}):
        own = [line.facts for line in answers if line.facts.generator == generator and not line.facts.repeated]
        stages: dict[str, Callable[[Any], float | None]] = {
            "retrieved": lambda facts: facts.retrieve,
            "first sentence": lambda facts: facts.first_sentence,
            "done": lambda facts: facts.total,
        }
        for stage, time_of in stages.items():
            values = [time / 1000 for time in map(time_of, own) if time is not None]
            if values:
                found.setdefault(generator, {})[stage] = _percentiles(values, (50, 95, 99))
    return found


def _percentiles(values: Sequence[float], at: tuple[int, int, int]) -> tuple[float, float, float]:
    """The smallest value that so many per cent do not exceed."""
    ordered = sorted(values)
    first, second, third = (ordered[-(-len(ordered) * percent // 100) - 1] for percent in at)
    return first, second, third


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    return _percentiles(values, (25, 50, 75))


def _most(lines: Iterable[Line]) -> tuple[tuple[str, int], ...]:
    """The questions that came several times, in whatever case and punctuation, each as it was put last."""
    counts: Counter[tuple[str, ...]] = Counter()
    put: dict[tuple[str, ...], str] = {}
    for line in lines:
        key = tuple(words(line.question))
        counts[key] += 1
        put[key] = " ".join(line.question.split())
    return tuple((put[key], count) for key, count in counts.most_common(MOST_LISTED) if count >= TWICE and key)


def _counted(values: Iterable[str]) -> dict[str, int]:
    """Most frequent first."""
    return dict(Counter(values).most_common())


def _pairs(name: str, counts: Mapping[str, int]) -> str:
    return f"{name:<11}" + (", ".join(f"{key} {count:,}" for key, count in counts.items()) or "none")


def _hours(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() / 3600


def _time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
