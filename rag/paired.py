"""Two answers to each of the same questions, that which was given and a candidate's, held side by side without gold.

Pairs of records come in, a report in Markdown goes out. That two answers differ does not tell which is right: what is
counted are signs, such as a refusal or a struck sentence. A person who wants to know gives questions with answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from rag.receipts import FELL_BACK, NOTHING_STOOD
from rag.significance import Floats, Latency, Measured, bootstrap, latency, measured
from rag.types import Document

Answered: TypeAlias = Mapping[str, Any]
"""An answer record (see rag/record.py)."""
Texts: TypeAlias = Mapping[str, Mapping[str, Document]]
"""The documents of each index version by their ids."""
SHOWN = 10
"""Questions whose status changed that a report shows."""


@dataclass(frozen=True, slots=True)
class Pair:
    """`seconds` is what the candidate took, `receipt` the id of the answer that was given."""

    receipt: str
    given: Answered
    candidate: Answered


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over the pairs, each with its 95 % interval: the share whose status changed, and of those with quotations in
    either answer the share that say the same and the mean overlap of what they quote (Jaccard)."""

    changed: tuple[float, tuple[float, float]]
    same: tuple[float, tuple[float, float]]
    overlap: tuple[float, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Compared:
    n: int
    agreement: Agreement
    measures: tuple[Measured, ...]
    latency: Latency | None
    turned: tuple[Pair, ...]


def compared(pairs: Sequence[Pair], texts: Texts) -> Compared:
    """Of at least one pair."""
    both = [(one.given, one.candidate) for one in pairs]
    columns = {
        "refused": _shares([[one["status"] == "not_found" for one in pair] for pair in both]),
        "error": _shares([[one["status"] == "error" for one in pair] for pair in both]),
        "struck": _shares([[bool(one["struck"]) for one in pair] for pair in both]),
        "nothing stood": _shares([[NOTHING_STOOD in one.get("notice", "") for one in pair] for pair in both]),
        "fell back": _shares([[FELL_BACK in one.get("notice", "") for one in pair] for pair in both]),
    }
    exact = [[_exact(one, texts) for one in pair] for pair in both]
    if quoting := [pair for pair in exact if all(of for _, of in pair)]:  # who says nothing quotes nothing wrong
        columns["exact quotations"] = np.array(quoting, dtype=np.float64)
    times = np.array([[one.get("timings_ms", {}).get("total", 0.0) for one in pair] for pair in both])
    times = times[(times > 0).all(axis=1)]
    return Compared(
        n=len(pairs),
        agreement=Agreement(
            _mean([float(a["status"] != b["status"]) for a, b in both]),
            _mean([float(_said(a) == _said(b)) for a, b in both]),
            _mean([_overlap(a, b) for a, b in both if _spans(a) or _spans(b)]),
        ),
        measures=tuple(measured(name, values) for name, values in columns.items()),
        latency=latency(times) if len(times) else None,
        turned=tuple(one for one in pairs if one.given["status"] != one.candidate["status"]),
    )


def as_text(found: Compared, name: str) -> str:
    """The report."""
    agreement = found.agreement
    lines = [
        f"{found.n} questions, each answered by what was live and by {name} in the shadow.",
        "",
        f"status changed     {_share(agreement.changed)}",
        f"same answer        {_share(agreement.same)}",
        f"quotations shared  {_share(agreement.overlap)}",
        "",
        f"| share | n | live | {name} | difference | 95 % interval | p |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for one in found.measures:
        low, high = one.interval
        cells = (one.name, one.n, f"{one.a:.3f}", f"{one.b:.3f}", f"{one.difference:+z.3f}")
        interval = f"{low:+z.3f} to {high:+z.3f}"
        lines.append(
            f"| {' | '.join(map(str, cells))} | {interval} | {'<0.001' if one.p < 0.001 else f'{one.p:.3f}'} |"
        )
    if timing := found.latency:
        low, high = timing.interval
        times = f"Median {timing.a:,.0f} ms live, {timing.b:,.0f} ms {name}: {timing.ratio:.2f} times as long "
        times += f"(95 % interval {low:.2f} to {high:.2f}); 95th percentile {timing.a95:,.0f} and {timing.b95:,.0f} ms."
        lines += ["", times]
    if found.turned:
        lines += ["", "Whose status changed:"]
        lines += [
            f"- {one.receipt}  {one.given['status']} → {one.candidate['status']}  {one.given['question']}"
            for one in found.turned[:SHOWN]
        ]
        lines += [f"- and {len(found.turned) - SHOWN} more"] if len(found.turned) > SHOWN else []
    return "\n".join(lines)


def _spans(record: Answered) -> frozenset[tuple[str, int, int]]:
    return frozenset((one["document"], one["start"], one["end"]) for one in record["citations"])


def _said(record: Answered) -> tuple[str, frozenset[tuple[str, int, int]]]:
    return record["status"], _spans(record)


def _overlap(a: Answered, b: Answered) -> float:
    one, other = _spans(a), _spans(b)
    return len(one & other) / len(one | other)


def _exact(record: Answered, texts: Texts) -> tuple[float, float]:
    """(how many quotations stand in the stored text at their offsets, of how many); none where the text is gone."""
    documents = texts.get(record.get("index", {}).get("version", ""), {})
    cited = record["citations"] if documents else []
    return float(sum(_stands(one, documents) for one in cited)), float(len(cited))


def _stands(one: Mapping[str, Any], documents: Mapping[str, Document]) -> bool:
    return one["document"] in documents and documents[one["document"]].text[one["start"] : one["end"]] == one["quote"]


def _shares(rows: Sequence[Sequence[bool]]) -> Floats:
    values = np.array(rows, dtype=np.float64)
    return np.stack([values, np.ones_like(values)], axis=-1)


def _mean(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    if not values:
        return float("nan"), (float("nan"), float("nan"))
    each = np.array(values, dtype=np.float64)
    return float(each.mean()), bootstrap(lambda drawn: np.asarray(each[drawn].mean(axis=1)), len(each))


def _share(value: tuple[float, tuple[float, float]]) -> str:
    mean, (low, high) = value
    return f"{mean:.3f}  (95 % interval {low:.3f} to {high:.3f})"
