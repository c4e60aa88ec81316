"""MTRAG-UN: conversations with the passages that bear on their last turn."""

from __future__ import annotations

from pathlib import Path

from eval.benches.files import escaped, question, read_rows, split_of, write_document
from eval.questions import Question
from rag.types import Message


def mtrag_un(source: Path, documents: Path) -> list[Question]:
    """Last turns of conversations with the passages that bear on them, in four collections.

    Half of the generation tasks of MTRAG-UN (IBM/mt-rag-benchmark, arXiv 2602.23184, Apache-2.0). The answers are free
    text, so an answerable question has a reference and no facts: any answer to it counts as right. A task without
    passages, as all unanswerable ones are, is asked of the passages of all tasks. Questions that the passages answer in
    part, or that leave open what they are about, are among the answerable; their ids begin so.
    """
    rows = []
    for number, task in enumerate(read_rows(source / "mtrag-un" / "tasks-half.jsonl.gz")):
        name = f"mtrag{number}"
        role = name if task["contexts"] else None
        for place, passage in enumerate(task["contexts"], start=1):
            title = passage.get("title") or ""
            text = passage["text"].removeprefix(title).strip()
            heading = f"# {escaped(title)}\n\n" if title.strip() else ""
            write_document(documents / f"{name}/{place:02}.md", heading + text, name, role)
        *history, last = (
            Message("user" if turn["speaker"] == "user" else "assistant", turn["text"]) for turn in task["input"]
        )
        label = task["answerability"][0].lower()
        kind = "absent" if label == "unanswerable" else "follow-up" if history else "fact"
        rows.append(
            question(
                f"{label}-{task['task_id']}" if label in ("partial", "underspecified") else task["task_id"],
                split_of(number),
                kind,
                last.content,
                role,
                history=tuple(history),
                reference=task["targets"][0]["text"],
            )
        )
    return rows
