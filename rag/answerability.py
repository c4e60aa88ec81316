"""Whether the documents tell, decided before anything is written.

A few signals of the question and the evidence, and where a local model is at hand its own judgement, are weighed by a
logistic regression that was fitted on labelled questions: those of the index version (`python -m rag calibrate`), else
the bundled ones. A question is refused if the fit gives it less than an even chance.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rag.errors import IndexDamaged
from rag.evidence import Findings
from rag.kinds import lacks_kind
from rag.questions import QuestionWord, names_in
from rag.roles import Roles
from rag.types import Evidence

DEFAULT = Path(__file__).with_name("default_fit.json")
STORED = "fit.json"
"""The fit of an index version, in its folder."""

NEAREST = 0.45
"""Score of the best evidence below which nothing that was found has to do with the question."""
NAMED = 0.5
"""Cosine below which a name in the question has no counterpart in the evidence."""
STRANGE = 0.35
"""Cosine below which any word has none. All three were chosen on the development questions."""

REFUSED = 0.5
"""Probability that the documents do not tell from which on a question is refused."""
BEHIND = 0.3
"""How far the evidence for one of several roles may lie behind that for the best of them and still be stated."""
CERTAIN = 0.01
"""A judgement is taken for no surer than this much short of yes or no."""

CLEAR = 0.2
"""Probability without a judgement, up to which no model is asked for one. Of 55 development questions 19 lie below it,
and the judgement changed the outcome of none; above 0.8 it did, so those are judged."""

NOT_FOUND = "The documents do not tell."
JUDGED = "judged"


@dataclass(frozen=True, slots=True)
class Weighing:
    """The probability that the documents do not tell is 1 / (1 + exp(-(intercept + Σ weight · signal)))."""

    intercept: float
    weights: Mapping[str, float]

    def probability(self, signals: Mapping[str, float]) -> float:
        weighed = self.intercept + sum(weight * signals[name] for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, weighed))))


@dataclass(frozen=True, slots=True)
class Fit:
    """How signals are weighed, `plain` without and `judged` with a judgement of the model `judge`.

    `name` says on what it rests. Another model's judgement would mean something else, and is not asked for; nor is any
    where the documents tell by a probability without it of at most `clear` that they do not.
    """

    name: str
    plain: Weighing
    judged: Weighing | None = None
    judge: str = ""
    clear: float = CLEAR

    def probability(self, signals: Mapping[str, float]) -> float:
        """The probability that the documents do not tell, given the `signals` of a question."""
        if JUDGED in signals and self.judged is not None:
            return self.judged.probability(signals)
        return self.plain.probability(signals)


def read_fit(folder: Path) -> Fit:
    """The fit stored with an index version, else the default. Raises IndexDamaged naming the file."""
    path = folder / STORED
    path = path if path.is_file() else DEFAULT
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        plain, judged = (row[kind] and Weighing(**row[kind]) for kind in ("plain", JUDGED))
        fit = Fit(row["name"], plain, judged, row["judge"], float(row.get("clear", CLEAR)))
        fit.plain.probability(dict.fromkeys(SIGNALS, 0.0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IndexDamaged(f"{path} is not a readable fit. Write it anew: python -m rag calibrate") from error
    return fit


def write_fit(fit: Fit, path: Path) -> None:
    """Writes the fit aside and puts it in place by one rename."""
    aside = path.with_name(f".{path.name}")
    aside.write_text(json.dumps(asdict(fit), indent=1) + "\n", encoding="utf-8")
    aside.replace(path)


SIGNALS = ("score", "name", "strange", "role", "kind")


def signals_of(question: str, findings: Findings, roles: Roles, judgement: float | None = None) -> dict[str, float]:
    """What is weighed. `judgement` is a model's probability that the evidence states the answer.

    `score` of the best evidence; the widest gap, in 0 to 1, between a `name` in the question and the evidence; the mean
    gap of all its words, weighted by rarity (`strange`); whether it asks about a `role` that no document knows; and
    whether the best evidence has nothing of the `kind` of thing it asks for. A judgement is its log odds.
    """
    best = max(findings.evidence, key=lambda one: one.score, default=None)
    rarity = sum(word.rarity for word in findings.words)
    names = names_in(question, findings.words)
    signals = {
        "score": best.score if best else 0.0,
        "name": max((1 - word.nearness for word in names), default=0.0),
        "strange": sum((1 - word.nearness) * word.rarity for word in findings.words) / rarity if rarity else 0.0,
        "role": float(bool(roles.unknown(question))),
        "kind": float(best is not None and lacks_kind(question, best.sentence.text)),
    }
    if judgement is not None:
        sure = max(CERTAIN, min(1 - CERTAIN, judgement))
        signals[JUDGED] = math.log(sure / (1 - sure))
    return signals


def bears_on(evidence: Sequence[Evidence], best: float = 0.0) -> bool:
    """Whether any evidence is near enough to the question, and not far behind the `best` there is for other roles."""
    return max((one.score for one in evidence), default=0.0) >= max(NEAREST, best - BEHIND)


def unknown_names(question: str, words: Sequence[QuestionWord]) -> list[str]:
    """The names in the question that no evidence comes near to, in their order."""
    return list(dict.fromkeys(word.text for word in names_in(question, words) if word.nearness < NAMED))


def missing(question: str, words: Sequence[QuestionWord], roles: Roles) -> list[str]:
    """What a refusal is to name: roles that are not known, else names without a counterpart, else other such words."""
    strange = [word for word in words if word.nearness < STRANGE]
    named = roles.unknown(question) or unknown_names(question, words)
    return named or [word.text for word in sorted(strange, key=lambda word: word.nearness)[:1]]


def not_found(missing: Sequence[str]) -> str:
    """The answer that the documents do not tell, with what they do not speak of."""
    if not missing:
        return NOT_FOUND
    return f"{NOT_FOUND} What was found on the question says nothing about {' or '.join(missing)}."
