"""The READMEs' tables say what the kept runs say."""

from __future__ import annotations

from typing import Any

import pytest

from eval.results import READMES, kept_tables, of_runs, of_sets, put
from rag.errors import SettingsError


def row(name: str, outcome: str, status: str, *, answerable: bool = True, unanswerable: float = 0.5) -> dict[str, Any]:
    return {
        "set": "roles",
        "id": name,
        "outcome": outcome,
        "status": status,
        "answerable": answerable,
        "unanswerable": unanswerable,
        "timings_ms": {"total": 400.0},
        "measures": {"right": float(outcome == "right"), "recall@10": 0.5, "nDCG@10": 0.25},
    }


ROWS = [
    row("a", "right", "answered", unanswerable=0.1),
    row("b", "wrong", "answered", unanswerable=0.2),
    row("c", "right", "not_found", answerable=False, unanswerable=0.9),
    row("d", "wrongly refused", "not_found", unanswerable=0.8),
]


def test_outcomes_by_set() -> None:
    assert of_sets(ROWS).splitlines()[2:] == ["| five role guides (`roles`) | 4 | 2 (50%) | 1 | 1 | 0 |"]


def test_runs_beside_refusing_everything() -> None:
    ours, nothing = of_runs({"ours": ROWS}).splitlines()[2:]
    # risk at the first answer 0, at both 1/2: the area is their mean
    assert ours == "| ours | 4 | 2 (50%) | 50% | 50% | 50% | 100% | 0.25 | 0.500 | 0.250 | 0.4 s |"
    assert nothing == "| refusing everything | 4 | 1 (25%) | 0% |  | 25% | 100% |  |  |  |  |"


def test_a_table_is_put_in_its_place_and_an_unknown_place_is_named() -> None:
    text = "a\n<!-- results: sets -->\nold\n<!-- end -->\nb"
    new = put(text, {"sets": "| new |"})
    assert new == "a\n<!-- results: sets -->\n\n| new |\n\n<!-- end -->\nb"
    assert put(new, {"sets": "| new |"}) == new
    with pytest.raises(SettingsError, match="there is no table 'sets'"):
        put(text, {"runs": ""})


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_the_tables_are_current(path: Any) -> None:
    text = path.read_text(encoding="utf-8")
    assert "<!-- results: " in text
    assert put(text, kept_tables()) == text, "write them anew: python -m eval results"
