"""Labelled questions become a fit of the signals that decide whether the documents tell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rag.answerability import JUDGED, REFUSED, Fit, Weighing
from rag.answering import EXTRACTIVE, Engine
from rag.errors import SettingsError
from rag.logistic import FOLDS, fit, wilson
from rag.types import Message, Weighed
from rag.versions import IndexVersion

SAMPLED = "calibrated_on.json"
"""Beside the fit of an index version: what the questions were like that it rests on, to compare later ones with."""
BUNDLED = Path(__file__).resolve().parent.parent / "eval" / "questions" / "roles.jsonl"
"""Labelled questions on the bundled guides."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A question and whether the documents answer it."""

    question: str
    answerable: bool
    history: tuple[Message, ...] = ()
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """The signals of a labelled question."""

    signals: Mapping[str, float]
    answerable: bool
    words: int = 0
    """Of the question."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Refusals among labelled questions that the fit had not seen: how many `right` of those `made` and those `due`."""

    right: int
    made: int
    due: int

    @property
    def precision(self) -> tuple[float, float]:
        """The ends of its 95 % interval."""
        return wilson(self.right, self.made)

    @property
    def recall(self) -> tuple[float, float]:
        """The ends of its 95 % interval."""
        return wilson(self.right, self.due)

    def __str__(self) -> str:
        (low, high), (least, most) = self.precision, self.recall
        return (
            f"precision {self.right}/{self.made} (95 % interval {low:.2f} to {high:.2f}), "
            f"recall {self.right}/{self.due} ({least:.2f} to {most:.2f})"
        )


def bundled_questions(version: IndexVersion) -> Path:
    """The bundled questions. Raises SettingsError if the version does not hold the guides that they are about."""
    asked = {
        one["document"]
        for line in BUNDLED.read_text("utf-8").splitlines()
        for one in json.loads(line).get("evidence", ())
    }
    if not asked <= set(version.documents):
        raise SettingsError(
            "the bundled questions are not about these documents. Name a file of your own: python -m rag calibrate FILE"
        )
    return BUNDLED


def read_labelled(path: Path, split: str | None = None) -> list[Labelled]:
    """The labelled questions of a JSONL file. Raises SettingsError that names the file, the line and the fault."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row["answerable"], bool):
                raise ValueError("answerable must be true or false")
            history = tuple(Message(turn["role"], turn["content"]) for turn in row.get("history") or ())
            if split in (None, row.get("split")):
                found.append(Labelled(str(row["question"]), row["answerable"], history, row.get("role")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SettingsError(f"{path}, line {number}: {error!r}. A row has a question and answerable.") from error
    return found


def examples(engine: Engine, questions: Iterable[Labelled], generator: str = EXTRACTIVE) -> Iterable[Example | None]:
    """The signals of each question; None for one that is answered role by role, which no fit decides.

    A generator that is a model judges each, whatever model the engine's fit rests on.
    """
    if generator != EXTRACTIVE:
        model = engine.generator_named(generator).info.model
        engine = replace(engine, fit=replace(engine.fit, judge=model, clear=0.0))
    for one in questions:
        events = engine.stream_answer(one.question, history=one.history, role=one.role, generator=generator)
        weighed = next((event for event in events if isinstance(event, Weighed)), None)
        events.close()
        yield Example(weighed.signals, one.answerable, len(one.question.split())) if weighed else None


def calibrated(rows: Sequence[Example], name: str, judge: str = "") -> tuple[Fit, dict[str, Refusals]]:
    """A fit of these examples, and what it decides on those it was not fitted on, without and with a judgement.
    `judge` is the model that judged.

    A judged weighing is fitted where enough examples have a judgement. Raises SettingsError if there are too few.
    """
    weighings: dict[str, Weighing] = {}
    refusals: dict[str, Refusals] = {}
    for kind in ("plain", JUDGED):
        usable = [row for row in rows if kind == "plain" or JUDGED in row.signals]
        unanswerable = [not row.answerable for row in usable]
        if min(sum(unanswerable), len(usable) - sum(unanswerable)) < FOLDS:
            continue
        names = sorted(set(usable[0].signals) - ({JUDGED} if kind == "plain" else set()))
        fitted = fit([{one: row.signals[one] for one in names} for row in usable], unanswerable)
        made = [probability >= REFUSED for probability in fitted.held_out]
        right = sum(refused and due for refused, due in zip(made, unanswerable, strict=True))
        weighings[kind] = Weighing(fitted.intercept, fitted.weights)
        refusals[kind] = Refusals(right, sum(made), sum(unanswerable))
    if "plain" not in weighings:
        raise SettingsError(
            f"a fit takes at least {FOLDS} questions that the documents answer and {FOLDS} that they do not. Add some."
        )
    judged = weighings.get(JUDGED)
    return Fit(name, weighings["plain"], judged, judge if judged else ""), refusals


def write_sample(rows: Sequence[Example], fitted: Fit, folder: Path) -> None:
    """Writes what the examples were like: their scores, how likely each has no answer by the fit, and their lengths."""
    sample = {
        "score": [row.signals["score"] for row in rows],
        "unanswerable": [fitted.probability(row.signals) for row in rows],
        "words": [row.words for row in rows],
    }
    aside = folder / f".{SAMPLED}"
    aside.write_text(json.dumps(sample) + "\n", encoding="utf-8")
    aside.replace(folder / SAMPLED)


def read_sample(folder: Path) -> dict[str, list[float]] | None:
    """The sample of an index version; None if there is none that can be read."""
    try:
        sample = json.loads((folder / SAMPLED).read_text(encoding="utf-8"))
        return {name: [float(value) for value in sample[name]] for name in ("score", "unanswerable", "words")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
