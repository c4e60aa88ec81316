"""The default fit of when to refuse: from the bundled development questions."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tqdm import tqdm

from eval.questions import Question, load_questions
from eval.running import opened
from eval.sets import BUNDLED, HOMES, SETS, spaced
from rag.answerability import Fit
from rag.calibration import Example, Labelled, Refusals, calibrated, examples
from rag.settings import load_settings

STRANGERS = 16
"""Questions of a bundled set that a fit sees asked of documents on other matters."""
NAME = "default, fitted on the bundled development questions"


def default_fit(generator: str, limit: int | None) -> tuple[Fit, dict[str, Refusals]]:
    """The fit and its refusals held out. With a model, `limit` questions of each set are judged by it too.

    Some questions of each set are asked of the other's documents, as questions that have nothing to do with them.
    """
    rows: list[Example] = []
    model = ""
    for name, foreign in (("roles", "other"), ("other", "roles")):
        engine = opened(BUNDLED[name], HOMES / name, load_settings(generator="extractive"))
        questions = load_questions([SETS / f"{name}.jsonl"], "dev")
        strangers = _strangers(load_questions([SETS / f"{foreign}.jsonl"], "dev"))
        judged = set(spaced(questions, limit)) if generator == "local" else set()
        labelled = [Labelled(one.question, one.answerable, one.history, one.role) for one in questions]
        labelled += [Labelled(one.question, answerable=False) for one in strangers]
        names = ["local" if one in judged else "extractive" for one in [*questions, *strangers]]
        with tqdm(zip(labelled, names, strict=True), total=len(labelled), desc=name, file=sys.stderr) as bar:
            rows += [row for one, by in bar for row in examples(engine, [one], by) if row]
        if generator == "local":
            model = engine.generator_named("local").info.model
    return calibrated(rows, NAME, model)


def _strangers(questions: Sequence[Question]) -> list[Question]:
    return spaced([one for one in questions if one.answerable and not one.history], STRANGERS)
