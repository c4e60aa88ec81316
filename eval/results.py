"""The tables of results in the READMEs, written from the runs that are kept in `eval/results/`.

A table stands between `<!-- results: NAME -->` and `<!-- end -->`, and nothing else writes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.measures import OUTCOMES
from eval.summary import by, latency, means, outcome_counts, refusal, risk_coverage
from eval.verdict import load_run
from rag.errors import SettingsError
from rag.wiring import PROJECT

Row = dict[str, Any]
KEPT = PROJECT / "eval" / "results"
READMES = (PROJECT / "README.md", PROJECT / "eval" / "README.md")
SETS = {
    "roles": "five role guides (`roles`)",
    "other": "six other documents (`other`)",
    "hostile": "six documents and questions that give orders (`hostile`)",
}
RUNS = {
    "extractive-test": "`extractive`",
    "lexical-test": "the same, BM25 alone",
    "dense-test": "the same, embedder alone",
    "always-test": "the same, never refusing",
}
"""Runs over all test questions, and what they are called."""
PARTS = {"extractive-part": "`extractive`", "local-part": "`local`", "hosted-part": "`hosted`"}
"""Runs over the part of the test questions that takes a model minutes."""
_BLOCK = re.compile(r"(<!-- results: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def put(text: str, tables: Mapping[str, str]) -> str:
    """The text with each table in its place. Raises SettingsError if a place names a table that there is not."""

    def filled(block: re.Match[str]) -> str:
        if block[2] not in tables:
            raise SettingsError(f"there is no table {block[2]!r}. Tables: {', '.join(tables)}.")
        return f"{block[1]}\n{tables[block[2]]}\n\n{block[4]}"

    return _BLOCK.sub(filled, text)


def kept_tables(folder: Path = KEPT) -> dict[str, str]:
    """The tables by name, from the runs in `folder`."""
    runs = {name: load_run(folder / f"{name}.jsonl") for name in (*RUNS, *PARTS)}
    return {
        "sets": of_sets(runs["extractive-test"]),
        "runs": of_runs({RUNS[name]: _without_attacks(runs[name]) for name in RUNS}),
        "generators": of_runs({PARTS[name]: _without_attacks(runs[name]) for name in PARTS}),
    }


def of_sets(rows: Sequence[Row]) -> str:
    """The outcomes of one run by set."""
    lines = [_line(["questions", "n", *OUTCOMES]), "|---|--:|--:|--:|--:|--:|"]
    for name, group in by(rows, "set").items():
        counts = outcome_counts(group)
        right = f"{counts['right']} ({counts['right'] / len(group):.0%})"
        lines.append(_line([SETS.get(name, name), len(group), right, *(counts[one] for one in OUTCOMES[1:])]))
    return "\n".join(lines)


def of_runs(runs: Mapping[str, Sequence[Row]]) -> str:
    """Runs over the same questions side by side, and what refusing everything would get.

    Coverage is the share that was answered; precision the share of the answers that are right.
    """
    head = ["answers by", "n", "right", "coverage", "precision", "refusals right", "of those due"]
    lines = [_line([*head, "risk under coverage", "recall@10", "nDCG@10", "median"]), f"|---|{'--:|' * 10}"]
    for name, rows in runs.items():
        answered = [row for row in rows if row["status"] not in ("not_found", "error")]
        right = sum(row["outcome"] == "right" for row in rows)
        rightly = sum(row["outcome"] == "right" for row in answered)
        of = {measure: value for measure, (value, _) in means(rows).items()} | refusal(rows)
        lines.append(
            _line(
                [
                    name,
                    len(rows),
                    f"{right} ({right / len(rows):.0%})",
                    f"{len(answered) / len(rows):.0%}",
                    f"{rightly / len(answered):.0%}" if answered else "",
                    *(f"{of[one]:.0%}" if one in of else "" for one in ("refusal precision", "refusal recall")),
                    f"{risk_coverage(rows)[2]:.2f}",
                    *(f"{of[one]:.3f}" for one in ("recall@10", "nDCG@10")),
                    f"{latency(rows)['total'][0] / 1000:.1f} s",
                ]
            )
        )
    rows = next(iter(runs.values()))
    due = sum(not row["answerable"] for row in rows)
    lines.append(
        _line(
            [
                "refusing everything",
                len(rows),
                f"{due} ({due / len(rows):.0%})",
                "0%",
                "",
                f"{due / len(rows):.0%}",
                "100%",
                "",
                "",
                "",
                "",
            ]
        )
    )
    return "\n".join(lines)


def _without_attacks(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["set"] != "hostile"]


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
