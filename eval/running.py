"""A run: questions are asked of an engine, and each answer is kept with its measures and all that it came from.

A run is a folder: `run.json` says what was asked by what, `rows.jsonl` has a row for each answer, written as soon as it
is there. Asking again into the same folder goes on where it stopped, and refuses if anything was changed since.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eval.measures import measures_of, missing_facts, outcome, same_answer
from eval.questions import Gold, Question, resolve
from eval.ranking import DEPTH, judged
from eval.sets import QuestionSet
from eval.verdict import load_run
from rag.answering import Engine
from rag.errors import RolewiseError, SettingsError
from rag.progress import Bars
from rag.record import answer_record, error_record, passage_record
from rag.settings import Settings
from rag.wiring import PROJECT, PROMPTS, build_index, open_engine

Row = dict[str, Any]
RETRIEVED = "retrieved"
"""Status of a row for which nothing but the search was asked."""
DEEP = 50
"""Passages searched for where documents are judged: several may be of one document."""
LEFT_OUT = frozenset("answer citations struck passages missing notice read_as question_sha256".split())
"""Of a row that is kept to compare later runs with."""
ROWS, RUN = "rows.jsonl", "run.json"


@dataclass
class Run:
    """The rows of a run, kept in `folder` if there is one."""

    about: dict[str, Any]
    folder: Path | None = None
    rows: list[Row] = field(default_factory=list)

    @property
    def stamp(self) -> Row:
        """What each row tells of the run, beside what its record does."""
        return {name: self.about[name] for name in ("settings", "commit")}

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if self.folder:
            with (self.folder / ROWS).open("a", encoding="utf-8") as file:
                file.write(as_line(row))

    def drop(self, is_outdated: Callable[[Row], bool]) -> None:
        """Takes rows out, of the file too."""
        left = [row for row in self.rows if not is_outdated(row)]
        if self.folder and len(left) < len(self.rows):
            aside = self.folder / f"{ROWS}.part"
            aside.write_text("".join(map(as_line, left)), encoding="utf-8")
            aside.replace(self.folder / ROWS)
        self.rows = left


def start(folder: Path | None, about: dict[str, Any]) -> Run:
    """A new run, or the one in `folder` as far as it came. Raises SettingsError if that one is another run."""
    run = Run({"created": datetime.now(UTC).isoformat(timespec="seconds"), **about}, folder)
    if folder is None:
        return run
    folder.mkdir(parents=True, exist_ok=True)
    if any((folder / name).exists() for name in (RUN, ROWS)):
        before = told_of(folder)
        changed = [name for name in about if before.get(name) != about[name]]
        if changed:
            raise SettingsError(
                f"{folder} holds a run that differs in {', '.join(changed)}. Name another folder, or remove that one."
            )
        return Run(before, folder, _whole_rows(folder / ROWS))
    (folder / RUN).write_text(json.dumps(run.about, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return run


def told_of(folder: Path) -> dict[str, Any]:
    """What `run.json` tells of the run in a folder. Raises SettingsError if it is missing or damaged."""
    path = folder / RUN
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} is missing or damaged: {error}. Name the folder of another run.") from error
    return about


def _whole_rows(path: Path) -> list[Row]:
    """The rows that were written to their end; what a kill has left of one is cut off. Raises SettingsError."""
    if not path.is_file():
        return []
    os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    return load_run(path)


def as_line(row: Row) -> str:
    """A row as a line of JSON Lines."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def opened(documents: Path, home: Path, settings: Settings) -> Engine:
    """An engine over `documents`, whose index is built in `home` unless it is there already."""
    settings = settings.model_copy(update={"home": home})
    build_index(settings, [documents], progress=Bars())
    return open_engine(settings)


def ask(run: Run, asked: QuestionSet, engine: Engine, *, retrieval_only: bool = False) -> Iterator[Row]:
    """A row for each question of a set, in order.

    What the run has is not asked again, unless it is an error, or the index, the question or its labels have changed:
    then the old row is taken out.
    """
    gold = {one.id: resolve(one, engine.version.documents) for one in asked.questions}
    prints = {one.id: hashlib.sha256(repr(one).encode()).hexdigest() for one in asked.questions}

    def is_outdated(row: Row) -> bool:
        if row["set"] != asked.name or row["id"] not in prints:
            return False
        same = row["question_sha256"] == prints[row["id"]]
        return not same or row["status"] == "error" or row["index"]["version"] != engine.version.info.version

    run.drop(is_outdated)
    have = {row["id"]: row for row in run.rows if row["set"] == asked.name}
    for question in asked.questions:
        if question.id not in have:
            make = searched if retrieval_only or question.relevant else answered
            row = make(engine, question, gold[question.id])
            row |= {"set": asked.name, "question_sha256": prints[question.id], **run.stamp}
            if question.asker and question.twin in have and "outcome" in row:
                same = row["status"] != "error" and same_answer(row, have[question.twin])
                row["measures"]["same answer"] = float(same)
            run.add(row)
            have[question.id] = row
        yield have[question.id]


def answered(engine: Engine, question: Question, gold: Sequence[Gold]) -> Row:
    """The answer record of a question, with what it is worth."""
    try:
        answer = engine.ask(question.question, history=question.history, role=question.role)
        record = answer_record(answer, id=question.id)
    except RolewiseError as error:
        record = _unanswered(question, str(error))
    measures = measures_of(question, gold, record, engine.version.documents)
    return _row(engine, question, gold, record, measures) | {
        "outcome": outcome(question, record),
        "missing": missing_facts(question.facts, record["answer"]),
    }


def searched(engine: Engine, question: Question, gold: Sequence[Gold]) -> Row:
    """The passages that a question finds, with what their order is worth."""
    record = _unanswered(question, "")
    try:
        asked = engine.understood(question.question, question.history)
        found = engine.search(asked, role=question.role, k=DEEP if question.relevant else DEPTH)
    except RolewiseError as error:
        record["error"] = str(error)
    else:
        del record["error"]
        record |= {"status": RETRIEVED, "passages": [passage_record(one) for one in found]}
        record["index"] = {"version": engine.version.info.version, "embedder": engine.version.info.embedder}
    return _row(engine, question, gold, record, {})


def _unanswered(question: Question, error: str) -> Row:
    return error_record({"id": question.id, "question": question.question.strip()}, error)


def _row(engine: Engine, question: Question, gold: Sequence[Gold], record: Row, measures: Mapping[str, float]) -> Row:
    passages = engine.version.passages_of({one.document for one in gold})
    about = {
        "kind": question.kind,
        "split": question.split,
        "role": role_of(question, engine),
        "answerable": question.answerable,
        "reference": question.reference,
        "measures": {**measures, **judged(question, gold, passages, record["passages"])},
    }
    told = {"twin": question.twin, "asker": question.asker}
    return record | about | {name: value for name, value in told.items() if value}


def role_of(question: Question, engine: Engine) -> str | None:
    """The one role that a question is about: the given one, that which it names, or that of its gold documents."""
    roles: set[str | None] = {question.role} if question.role else set(engine.version.roles.find(question.question))
    heads = engine.version.heads
    roles = roles or {heads[name].role for name, _ in question.quotations if name in heads}
    return roles.pop() if len(roles) == 1 else None


def kept(row: Row) -> Row:
    """A row without the texts of documents and answers: what later runs are compared with."""
    return {name: value for name, value in row.items() if name not in LEFT_OUT}


def fingerprint(engine: Engine, settings: Settings, *, retrieval_only: bool = False) -> dict[str, Any]:
    """What answers depend on beside the documents: the model and its bytes, the prompts, the settings, the program.

    For a run that only searches the generator is None, and is not loaded.
    """
    chosen = settings.model_dump(mode="json", exclude={"home", "hosted_key"}, exclude_defaults=True)
    return {
        "generator": None if retrieval_only else asdict(engine.generator_named(settings.generator).info),
        "prompts": hashlib.sha256(b"".join(path.read_bytes() for path in sorted(PROMPTS.glob("*.md")))).hexdigest(),
        "settings": chosen,
        "commit": commit(),
    }


def commit() -> str:
    """The commit the program is at, and a hash of what was changed since; empty outside of a repository."""

    def git(*words: str) -> bytes:
        command = ["git", "-C", str(PROJECT), *words]
        return subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603

    try:
        head = git("rev-parse", "--short=12", "HEAD").decode().strip()
        changes = git("diff", "HEAD", "--", "*.py", "*.md", "*.json", "*.toml", "*.jsonl")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head}+{hashlib.sha256(changes).hexdigest()[:8]}" if changes else head
