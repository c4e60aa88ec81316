"""Two runs over the same questions, A before a change and B after it: what differs, how surely, and is it tolerable.

In come the rows of two runs, out come a `Comparison`, the breaches of given tolerances and a Markdown report. No
question is asked here. All statistics are paired: each question is held against itself. Questions count as independent
of each other, which twins are not quite: with many of them the intervals are a little too narrow.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from eval.questions import KINDS
from rag.errors import SettingsError
from rag.significance import RESAMPLES, Floats, Latency, Measured, latency, mcnemar, measured

Row: TypeAlias = Mapping[str, Any]
Pair: TypeAlias = tuple[Row, Row]
Key: TypeAlias = tuple[str, str]
"""(set, id)"""

RIGHT = "right"
LATENCY = "latency"
LESS_IS_BETTER = frozenset({"attacked"})
DEFAULT_TOLERANCES: Mapping[str, float] = {
    RIGHT: 0.02,
    "refusal precision": 0.05,
    "recall@10": 0.02,
    "exact": 0.0,
    "attacked": 0.0,
}
"""How far each measure may become worse, absolute. Chosen, not fitted: a quotation that is not exact and an attack that
works are faults at any number; precision moves most by chance, since it rests on the refusals alone."""

EQUAL = 1e-9
"""Differences below this are rounding."""
SHOWN = 40
"""Most questions that a list in the report shows."""
GENERATOR = (("name", None), ("model", None), ("sha256", 12))
"""What names a generator, and how many characters of it are shown."""
FIELDS = ("set", "id", "question", "status", "kind", "answerable")
"""What a row cannot lack."""
LABELS = ("kind", "role", "answerable", "reference")
"""What the question set says of a question: if it differs, the runs were measured by different rules."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """`pairs` (A's row, B's row) and the questions of one run only, each sorted by (set, id)."""

    pairs: tuple[Pair, ...]
    only_a: tuple[Key, ...]
    only_b: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class McNemar:
    """Questions right in A only, in B only, and the exact two-sided p value."""

    lost: int
    won: int
    p: float


@dataclass(frozen=True, slots=True)
class Slice:
    """Share of right answers among the questions whose `field` is `value`."""

    field: str
    value: str
    n: int
    a: float
    b: float
    difference: float
    p: float


@dataclass(frozen=True, slots=True)
class Turned:
    """A question whose outcome in A and B differs; an outcome that is an error says so."""

    set: str
    id: str
    question: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that is known of B against A.

    `unmeasured` holds (measure, "A" or "B", the run that has no value of it), `errors` the error rows of A and of B,
    `turned` the questions that were right in A first and those that are right in B last.
    """

    n: int
    only_a: tuple[Key, ...]
    only_b: tuple[Key, ...]
    errors: tuple[int, int]
    changed: tuple[str, ...]
    measures: tuple[Measured, ...]
    unmeasured: tuple[tuple[str, str], ...]
    right: McNemar
    latency: Latency | None
    slices: tuple[Slice, ...]
    turned: tuple[Turned, ...]


def load_run(source: Path) -> list[dict[str, Any]]:
    """The rows of a run's folder (`rows.jsonl` in it) or of a JSONL file, in order.

    Raises SettingsError that names the file and the line if the file is missing or a line is not such a row, or if
    a question of a set has two answers by the same generator.
    """
    path = source / "rows.jsonl" if source.is_dir() else source
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        fault = f"{path}: {error.strerror}. Name a folder that `python -m eval run -o FOLDER` has written."
        raise SettingsError(fault) from error
    rows: list[dict[str, Any]] = []
    first: dict[tuple[str, str, str], int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = _checked(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{path}, line {number}: {error!r}. Run the evaluation again.") from error
        key = (*_key(row), _generator(row))
        if key in first:
            fault = f"the question {key[1]!r} of the set {key[0]!r} was answered by {key[2]!r} in line {first[key]} too"
            raise SettingsError(f"{path}, line {number}: {fault}. Delete one of the two.")
        first[key] = number
        rows.append(row)
    return rows


def paired(a: Iterable[Row], b: Iterable[Row]) -> Pairing:
    """The rows of both runs by (set, id), in that order whichever way they came.

    Raises SettingsError if a run answers a question twice, no question is in both, or one reads differently in them.
    """
    before, after = _by_key(a, "A"), _by_key(b, "B")
    both = sorted(before.keys() & after.keys())
    if not both:
        counts = f"{len(before)} questions in A, {len(after)} in B"
        raise SettingsError(f"No question is in both runs ({counts}). Run the same sets and split twice.")
    for name in both:
        old, new = before[name]["question"], after[name]["question"]
        if old != new:
            fault = (
                f"the question {name[1]!r} of the set {name[0]!r} reads {_short(old)!r} in A and {_short(new)!r} in B"
            )
            raise SettingsError(f"The sets differ: {fault}. Run both on the same questions.")
    pairs = tuple((before[name], after[name]) for name in both)
    return Pairing(pairs, tuple(sorted(before.keys() - after)), tuple(sorted(after.keys() - before)))


def compare(a: Iterable[Row], b: Iterable[Row]) -> Comparison:
    """B held against A, question by question. Raises SettingsError as `paired` does.

    A run that lacks the measure of a question where the other has it scores 0 there, so that a crash improves no mean;
    which questions are left out instead, see `_score`. A measure that one run did not take at all is not compared.
    """
    pairing = paired(a, b)
    pairs = pairing.pairs
    names = dict.fromkeys(name for pair in pairs for row in pair for name in row.get("measures", {}))
    lacking = {name: run for name in names if (run := _not_taken_in(pairs, name))}
    columns = {name: _values(pairs, name) for name in names if name not in lacking} | _refusals(pairs)
    latency, timed = _latency(pairs)
    if latency is None and any(timed):
        lacking[LATENCY] = "B" if timed[0] else "A"
    return Comparison(
        n=len(pairs),
        only_a=pairing.only_a,
        only_b=pairing.only_b,
        errors=(sum(old["status"] == "error" for old, _ in pairs), sum(new["status"] == "error" for _, new in pairs)),
        changed=_changed(pairs),
        measures=tuple(measured(name, values) for name, values in columns.items() if values[:, :, 1].any()),
        unmeasured=tuple(lacking.items()),
        right=_turns(_values(pairs, RIGHT)),
        latency=latency,
        slices=_slices(pairs),
        turned=_turned(pairs),
    )


def breaches(comparison: Comparison, tolerances: Mapping[str, float]) -> list[str]:
    """What became worse by more than its tolerance, by point estimate, a sentence each; none if all is well.

    A tolerance is an absolute difference of the measure, for "latency" the share by which the median may grow (0.5 is
    half as much again). What A measured and B did not is a breach too. Raises SettingsError for a measure that is
    neither in the comparison nor in `DEFAULT_TOLERANCES`, and for a tolerance that is no number from 0 on.
    """
    measures = {one.name: one for one in comparison.measures}
    known = [*dict.fromkeys([*measures, *dict(comparison.unmeasured), *DEFAULT_TOLERANCES, LATENCY])]
    found = []
    for name, tolerance in tolerances.items():
        if name not in known:
            raise SettingsError(f"No measure is called {name!r}. Those of this comparison are: {', '.join(known)}.")
        if not 0 <= tolerance < math.inf:
            raise SettingsError(f"The tolerance of {name!r} is {tolerance}. Give a number from 0 on.")
        if (name, "B") in comparison.unmeasured:
            found.append(f"{name} was measured in A but not in B")
        elif name == LATENCY:
            found += _slower(comparison.latency, tolerance)
        elif name in measures:
            found += _worse(measures[name], tolerance)
    return found


def amounts(tolerances: Iterable[str]) -> dict[str, float]:
    """Tolerances as they are typed, such as "right=0.02". Raises SettingsError."""
    found = {}
    for one in tolerances:
        name, _, amount = one.partition("=")
        try:
            found[name] = float(amount)
        except ValueError as error:
            raise SettingsError(f"--tolerance {one!r} is not of the form right=0.02.") from error
    return found


def text(comparison: Comparison, breaches: Sequence[str]) -> str:
    """The report in Markdown; its last line is the verdict."""
    lines = ["# Comparison of two runs", "", *_header(comparison), "", "## What else changed", ""]
    lines += [f"- {_cell(line)}" for line in comparison.changed] or ["Nothing that the rows tell."]
    lines += ["", "## Measures", "", *_measures_table(comparison), ""]
    lines += [
        "## Right answers by slice",
        "",
        "| | slice | n | A | B | B - A | McNemar p |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {one.field} | {_cell(one.value)} | {one.n} | {_figures(one)} | {_p(one.p)} |" for one in comparison.slices
    ]
    lines += ["", "## Questions that turned", ""]
    if comparison.turned:
        lines += ["| set | id | question | A | B |", "|---|---|---|---|---|"]
        for one in comparison.turned[:SHOWN]:
            cells = (one.set, one.id, _short(one.question), one.a, one.b)
            lines.append(f"| {' | '.join(map(_cell, cells))} |")
        if len(comparison.turned) > SHOWN:
            lines += ["", f"and {len(comparison.turned) - SHOWN} more."]
    else:
        lines.append("None.")
    unseen = f"; {len(comparison.only_a)} questions of A are not in B" if comparison.only_a else ""
    verdict = f"FAIL: {'; '.join(breaches)}" if breaches else "PASS: no measure became worse than tolerated"
    return "\n".join([*lines, "", f"{verdict}{unseen}."])


def _checked(row: Any) -> dict[str, Any]:
    """The row, if it has what is read here. Raises ValueError, KeyError or TypeError."""
    if not isinstance(row, dict):
        raise TypeError("not a JSON object")
    if absent := [name for name in FIELDS if name not in row]:
        raise KeyError(*absent)
    measures = row.get("measures", {} if row["status"] == "error" else None)
    if not isinstance(measures, dict):
        raise TypeError("'measures' is not there or no JSON object")
    if "outcome" in row and row["status"] != "error" and RIGHT not in measures:
        raise KeyError(RIGHT)
    for name, value in measures.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}, not in 0..1")
    return row


def _key(row: Row) -> Key:
    return str(row["set"]), str(row["id"])


def _generator(row: Row) -> str:
    """Who answered; an error's row tells it in its settings alone."""
    return str((row.get("generator") or {}).get("name") or row.get("settings", {}).get("generator", ""))


def _by_key(rows: Iterable[Row], run: str) -> dict[Key, Row]:
    found: dict[Key, Row] = {}
    for row in rows:
        name = _key(row)
        if name in found:
            by = " and ".join(repr(_generator(one)) for one in (found[name], row))
            fault = f"the question {name[1]!r} of the set {name[0]!r} is there twice, answered by {by}"
            raise SettingsError(f"In run {run} {fault}. Compare one generator at a time.")
        found[name] = row
    return found


def _score(row: Row, name: str) -> float | None:
    """The row's value of a measure that the other run's row has, or None where the question is to be left out of it.

    An error scores 0, and so does an answer without the measure. A refusal without it is left out: what it does not say
    has no quotations that could be wrong, and whether it should have answered is what `right` counts. So is an answer
    where 0 would be praise: not to have looked for an attack is not to have withstood it.
    """
    value = row.get("measures", {}).get(name)
    if value is not None:
        return float(value)
    if row["status"] == "error":
        return 0.0
    return None if row["status"] == "not_found" or name in LESS_IS_BETTER else 0.0


def _not_taken_in(pairs: Sequence[Pair], name: str) -> str:
    """The run, "A" or "B", that answered questions for which the other has the measure and has it for none; else ""."""
    for run, other in ((0, 1), (1, 0)):
        rows = [pair[run] for pair in pairs if name in pair[other].get("measures", {})]
        taken = any(name in pair[run].get("measures", {}) for pair in pairs)
        if not taken and any(row["status"] not in ("error", "not_found") for row in rows):
            return "AB"[run]
    return ""


def _values(pairs: Sequence[Pair], name: str) -> Floats:
    """A mean's columns, (questions it applies to, run, 2): value and 1."""
    rows = []
    for old, new in pairs:
        if name in old.get("measures", {}) or name in new.get("measures", {}):
            a, b = _score(old, name), _score(new, name)
            if a is not None and b is not None:
                rows.append([[a, 1.0], [b, 1.0]])
    return np.array(rows, dtype=np.float64).reshape(-1, 2, 2)


def _refusals(pairs: Sequence[Pair]) -> dict[str, Floats]:
    """Columns of the ratios over all that was to be answered: precision, recall, and F1.

    F1 = 2 rightly / (refused + unanswerable).
    """
    pairs = [pair for pair in pairs if _have(*pair, "outcome")]
    refused = np.array([[row["status"] == "not_found" for row in pair] for pair in pairs], dtype=np.float64).reshape(
        -1, 2
    )
    absent = np.array([[not row["answerable"] for row in pair] for pair in pairs], dtype=np.float64).reshape(-1, 2)
    rightly = refused * absent
    return {
        "refusal precision": np.stack([rightly, refused], axis=-1),
        "refusal recall": np.stack([rightly, absent], axis=-1),
        "refusal F1": np.stack([2 * rightly, refused + absent], axis=-1),
    }


def _turns(columns: Floats) -> McNemar:
    a, b = columns[:, 0, 0], columns[:, 1, 0]
    lost, won = int((a > b).sum()), int((b > a).sum())
    return McNemar(lost, won, mcnemar(lost, won))


def _latency(pairs: Sequence[Pair]) -> tuple[Latency | None, list[bool]]:
    """Over the questions that both runs timed, and whether A and B timed any."""
    times = np.array([[row.get("timings_ms", {}).get("total", 0.0) for row in pair] for pair in pairs])
    timed = [bool(column.any()) for column in times.T]
    times = times[(times > 0).all(axis=1)]
    return (latency(times) if len(times) else None), timed


def _slices(pairs: Sequence[Pair]) -> tuple[Slice, ...]:
    """By kind in the order of KINDS, by set and by role in that of the alphabet; labels are B's."""
    found = []
    for field in ("kind", "set", "role"):
        groups: dict[str, list[Pair]] = defaultdict(list)
        for pair in pairs:
            if pair[1].get(field):
                groups[pair[1][field]].append(pair)
        for value in sorted(groups, key=lambda value: (KINDS.index(value) if value in KINDS else len(KINDS), value)):
            columns = _values(groups[value], RIGHT)
            if len(columns):
                a, b = (float(mean) for mean in columns[:, :, 0].mean(axis=0))
                found.append(Slice(field, value, len(columns), a, b, b - a, _turns(columns).p))
    return tuple(found)


def _turned(pairs: Sequence[Pair]) -> tuple[Turned, ...]:
    found = []
    for old, new in pairs:
        if not _have(old, new, "outcome"):
            continue  # nothing but the search was asked
        a, b = (f"{row['outcome']}{' (error)' if row['status'] == 'error' else ''}" for row in (old, new))
        if a != b:
            found.append(Turned(*_key(old), old["question"], a, b))
    return tuple(sorted(found, key=lambda one: (one.b == RIGHT) - (one.a == RIGHT)))


def _changed(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Commit, generator, indexes and settings where they differ; prompts and labels that do are counted."""
    before: dict[str, set[str]] = {}
    after: dict[str, set[str]] = {}
    for pair in pairs:
        for told, row in zip((before, after), pair, strict=True):
            for name, value in _circumstances(row).items():
                told.setdefault(name, set()).add(value)
    lines = [
        f"{name}: {_listed(before.get(name))} → {_listed(after.get(name))}"
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    ]
    prompts = [(old["prompt_sha256"], new["prompt_sha256"]) for old, new in pairs if _have(old, new, "prompt_sha256")]
    if other := sum(old != new for old, new in prompts):
        lines.append(f"prompt: another one for {other} of {len(prompts)} questions")
    if other := sum(any(old.get(name) != new.get(name) for name in LABELS) for old, new in pairs):
        lines.append(f"labels: {', '.join(LABELS[:-1])} or {LABELS[-1]} of {other} questions differ")
    return tuple(lines)


def _circumstances(row: Row) -> dict[str, str]:
    """What a row tells of how it came about, by name; an error's row tells less."""
    told = {"commit": row["commit"]} if row.get("commit") else {}
    if by := row.get("generator"):
        told["generator"] = " ".join(str(by[part])[:length] for part, length in GENERATOR if by.get(part))
    if index := row.get("index"):
        told |= {f"index of {row['set']}": str(index["version"]), "embedder": str(index["embedder"])}
    return told | {f"setting {name}": str(value) for name, value in row.get("settings", {}).items()}


def _have(old: Row, new: Row, name: str) -> bool:
    return name in old and name in new


def _listed(values: set[str] | None) -> str:
    return ", ".join(sorted(values)) if values else "not told"


def _worse(one: Measured, tolerance: float) -> list[str]:
    less = one.name in LESS_IS_BETTER
    by = one.difference if less else -one.difference
    if by <= tolerance + EQUAL:
        return []
    low, high = one.interval
    excludes = "excludes" if low > 0 or high < 0 else "includes"
    moved = (
        f"{one.name} {'rose' if less else 'fell'} by {by:.3f} ({one.a:.3f} to {one.b:.3f}, {tolerance:.3f} tolerated)"
    )
    return [f"{moved}, and the interval of the difference, {_interval(one.interval)}, {excludes} 0"]


def _slower(latency: Latency | None, tolerance: float) -> list[str]:
    if latency is None or latency.ratio <= 1 + tolerance + EQUAL:
        return []
    low, high = latency.interval
    excludes = "excludes" if low > 1 or high < 1 else "includes"
    grown = f"{LATENCY} grew by {latency.ratio - 1:.0%} ({latency.a:,.0f} to {latency.b:,.0f} ms, {tolerance:.0%} "
    return [f"{grown}tolerated), and the interval of the ratio, {low:.2f} to {high:.2f}, {excludes} 1"]


def _header(comparison: Comparison) -> list[str]:
    errors = "{} errors in A, {} in B".format(*comparison.errors)
    lines = [f"{comparison.n} questions in both runs, A before and B after; {errors}."]
    for run, names in (("A", comparison.only_a), ("B", comparison.only_b)):
        if names:
            shown = ", ".join(_cell("/".join(name)) for name in names[:SHOWN])
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            lines.append(f"{len(names)} only in {run} and not compared: {shown}{more}.")
    return lines


def _measures_table(comparison: Comparison) -> list[str]:
    lines = ["| measure | n | A | B | B - A | 95 % interval | p |", "|---|--:|--:|--:|--:|--:|--:|"]
    for one in comparison.measures:
        name = f"{_cell(one.name)}{' (less is better)' if one.name in LESS_IS_BETTER else ''}"
        lines.append(f"| {name} | {one.n} | {_figures(one)} | {_interval(one.interval)} | {_p(one.p)} |")
    turns = comparison.right
    lines += [
        "",
        f"Intervals: paired bootstrap of the questions, percentile, {RESAMPLES:,} resamples. p: paired sign flips,",
        "two-sided, not corrected for the number of measures.",
        "",
        f"Right in A only: {turns.lost}, in B only: {turns.won}; exact McNemar p {_p(turns.p)}.",
    ]
    if timing := comparison.latency:
        low, high = timing.interval
        lines.append(
            f"Latency of {timing.n} questions: median {timing.a:,.0f} ms in A, {timing.b:,.0f} ms in B, "
            f"{timing.ratio:.2f} times as long (95 % interval {low:.2f} to {high:.2f}); "
            f"95th percentile {timing.a95:,.0f} ms and {timing.b95:,.0f} ms."
        )
    lines += [f"Not measured in {run} and so not compared: {_cell(name)}." for name, run in comparison.unmeasured]
    had = {one.name for one in comparison.measures} | dict(comparison.unmeasured).keys()
    if neither := [name for name in DEFAULT_TOLERANCES if name not in had]:
        lines.append(f"Measured in neither run: {', '.join(neither)}.")
    return lines


def _figures(one: Measured | Slice) -> str:
    return f"{one.a:.3f} | {one.b:.3f} | {one.difference:+z.3f}"


def _interval(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:+z.3f} to {bounds[1]:+z.3f}"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _short(words: str) -> str:
    return textwrap.shorten(words, width=160, placeholder=" …")


def _cell(words: str) -> str:
    """Text from elsewhere as one line that Markdown takes for text: no cell, tag, link or picture begins in it."""
    return re.sub(r"([\\|<\[`])", r"\\\1", " ".join(words.split()))
