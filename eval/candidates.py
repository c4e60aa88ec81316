"""From use to evaluation: answers that someone was not content with become rows for a person to review."""

from __future__ import annotations

from typing import Any

SHOULD_HAVE_REFUSED = "should have refused"
"""The reason that says that the documents do not tell."""


def candidate(record: dict[str, Any], number: int) -> dict[str, Any]:
    """A question row, to be completed, from an answer record and, where it has one, the `reason` it was found wanting.

    The facts of a right answer are not known yet: what was answered and quoted stands there to start from. Such a row
    is not asked before its `review` is taken away. Raises KeyError naming what the record lacks.
    """
    answerable = record.get("reason") != SHOULD_HAVE_REFUSED
    cited = record["citations"] if answerable else []
    return {
        "id": f"candidate-{number:03}",
        "split": "dev",
        "kind": "follow-up" if record.get("history") else "fact" if answerable else "absent",
        "question": record["question"],
        "role": record.get("role"),
        "history": record.get("history", []),
        "answerable": answerable,
        "reference": record["answer"] if answerable else "",
        "facts": [],
        "evidence": [{"document": one["document"], "quote": one["quote"]} for one in cited],
        "reason": record.get("reason", ""),
        "review": "todo",
    }
