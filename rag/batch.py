"""Many questions from a file, a record for each: a run that was stopped goes on, and a row that fails is a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rag.answering import Engine
from rag.errors import RolewiseError, SettingsError
from rag.record import answer_record, error_record
from rag.types import Message


def answered(output: Path, rows: list[str]) -> int:
    """How many rows `output` holds already. A last line that was cut short is removed."""
    if not output.exists():
        return 0
    whole, _, cut = output.read_text(encoding="utf-8").rpartition("\n")
    if cut:
        output.write_text(f"{whole}\n" if whole else "", encoding="utf-8")
    answers = [json.loads(line) for line in whole.splitlines() if line]
    asked = [row.get("question") for row in map(_parsed, rows)]
    if [answer.get("question") for answer in answers] != asked[: len(answers)]:
        raise SettingsError(f"{output} holds answers to other questions. Name another file, or remove it.")
    return len(answers)


def _parsed(row: str) -> dict[str, Any]:
    try:
        value = json.loads(row)
    except ValueError:
        return {"question": ""}
    return value if isinstance(value, dict) else {"question": ""}


def answer_row(engine: Engine, row: str) -> dict[str, Any]:
    parsed = _parsed(row)
    try:
        question = parsed.get("question")
        if not isinstance(question, str):
            raise SettingsError('the row has no question. Write {"question": "…"}.')
        history: list[Message] = [Message(turn["role"], turn["content"]) for turn in parsed.get("history") or ()]
        answer = engine.ask(question, history=history, role=parsed.get("role"))
    except RolewiseError as error:
        return error_record(parsed, str(error))
    except (KeyError, TypeError, AttributeError) as error:
        return error_record(parsed, f"the row cannot be read: {error!r}")
    return answer_record(answer, id=parsed.get("id"))
