"""Public sets as documents and questions: each reader writes a set's passages as Markdown files and returns its rows.

The data are no part of the project: they lie in `../shared/bench` beside it, or where ROLEWISE_BENCH points. Where a
question comes with passages of its own, these have a role of their own, in words that no question holds, and the
question has it as its filter, so that no other passage can answer it. Rows alternate between the splits unless a reader
says otherwise. Answers are the sets' own short ones, so a right answer is one that contains them; there are no gold
quotations.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.questions import Question
from rag.errors import SettingsError
from rag.types import Message
from rag.wiring import PROJECT
from rag.words import words

VARIABLE = "ROLEWISE_BENCH"
SQUAD = "squad2/squad2-sample.json.gz"
SQUAD_DEV = 4
"""Articles of SQuAD whose questions are of the split dev, from the first on; those of the others are of test."""
NQ_EACH = 100
"""Passages of Natural Questions in a document."""
PLANTED_AMONG = 5
"""Passages beside which one false one is planted."""
_MARKUP = re.compile(r"[\\`*_\[\]<>&|#~]")
_OPENING = re.compile(r"^(\d*)([-+=:.)])")

Facts = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Bench:
    """A public set. `read` takes the folder of all sets and the one to write documents in; it returns the questions."""

    name: str
    read: Callable[[Path, Path], list[Question]]
    description: str


def bench_folder() -> Path:
    """The folder of all public sets."""
    return Path(os.environ.get(VARIABLE) or PROJECT.parent / "shared" / "bench")


def read_text(path: Path) -> str:
    """A file of a public set, unpacked if its name ends in .gz. Raises SettingsError that names it if it is missing."""
    try:
        return (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode("utf-8")
    except FileNotFoundError as error:
        raise SettingsError(f"{path} is missing. {VARIABLE} must name the folder of the public sets.") from error


def read_rows(path: Path) -> list[Any]:
    """The rows of a JSON Lines file of a public set. Raises SettingsError that names it if it is missing."""
    return [json.loads(line) for line in read_text(path).split("\n") if line.strip()]


def squad2(source: Path, documents: Path) -> list[Question]:
    """Each question about its own paragraph, which tells or only looks as if it did (`is_impossible`).

    Eight articles of the development set of SQuAD 2.0 (Rajpurkar, Jia and Liang, "Know What You Don't Know", ACL 2018;
    CC BY-SA 4.0). A document is a paragraph, with its article's title and its number as its role: "Normans p3", since
    "Warsaw 2" would be read into "World War 2".
    """
    rows = []
    for number, article in enumerate(_articles(source)):
        for place, paragraph in enumerate(article["paragraphs"], start=1):
            role = f"{_title(article)} p{place}"
            _write(documents / f"{_slug(article['title'])}/{place:02}.md", _escaped(paragraph["context"]), role, role)
            rows += [_squad_row(one, number, role) for one in paragraph["qas"]]
    return rows


def squad2_whole(source: Path, documents: Path) -> list[Question]:
    """The answerable questions of `squad2`, asked of all eight articles at once, each a document without a role."""
    _write_articles(source, documents)
    return [
        _squad_row(one, number, None)
        for number, article in enumerate(_articles(source))
        for paragraph in article["paragraphs"]
        for one in paragraph["qas"]
        if not one["is_impossible"]
    ]


def off_topic(source: Path, documents: Path) -> list[Question]:
    """The questions of `nq-pool`, asked of the articles of `squad2-whole`, which have nothing to do with them.

    A question is left out if one of its short answers occurs in the articles. Licences as of these two.
    """
    _write_articles(source, documents)
    articles = _articles(source)
    text = " ".join(paragraph["context"] for article in articles for paragraph in article["paragraphs"])
    said = f" {' '.join(words(text))} "
    rows = [
        row
        for row in read_rows(source / "nq-pool" / "queries.jsonl")
        if not any(f" {' '.join(words(answer))} " in said for answer in row["answers"])
    ]
    return [_row(row["_id"], _split(number), "absent", row["question"]) for number, row in enumerate(rows)]


def rgb_refusal(source: Path, documents: Path) -> list[Question]:
    """RGB's passages that do not answer the question, alone: nothing is to be said.

    100 English questions, the counterfactual part of RGB (Chen and others, "Benchmarking Large Language Models in
    Retrieval-Augmented Generation", AAAI 2024; CC BY-NC-SA 4.0, for evaluation only). The labels are RGB's: a few
    negative passages tell all the same.
    """
    return _rgb(source, documents, "absent", lambda row: row["negative"])


def rgb_noise(source: Path, documents: Path) -> list[Question]:
    """RGB's right passages among those that do not answer. Source and licence as of `rgb_refusal`."""
    return _rgb(source, documents, "fact", lambda row: row["positive"] + row["negative"])


def rgb_conflict(source: Path, documents: Path) -> list[Question]:
    """RGB's right passages and as many that were edited to say another thing: both are to be shown.

    Source and licence as of `rgb_refusal`.
    """
    return _rgb(source, documents, "conflict", lambda row: row["positive"] + row["positive_wrong"])


def rgb_planted(source: Path, documents: Path) -> list[Question]:
    """One edited passage of RGB among five, right ones first: both answers are to be shown.

    Source and licence as of `rgb_refusal`.
    """

    def planted(row: Any) -> list[str]:
        return [*(row["positive"] + row["negative"])[:PLANTED_AMONG], *row["positive_wrong"][:1]]

    return _rgb(source, documents, "conflict", planted)


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
            heading = f"# {_escaped(title)}\n\n" if title.strip() else ""
            _write(documents / f"{name}/{place:02}.md", heading + text, name, role)
        *history, last = (
            Message("user" if turn["speaker"] == "user" else "assistant", turn["text"]) for turn in task["input"]
        )
        label = task["answerability"][0].lower()
        kind = "absent" if label == "unanswerable" else "follow-up" if history else "fact"
        rows.append(
            _row(
                f"{label}-{task['task_id']}" if label in ("partial", "underspecified") else task["task_id"],
                _split(number),
                kind,
                last.content,
                role,
                history=tuple(history),
                reference=task["targets"][0]["text"],
            )
        )
    return rows


def nq_pool(source: Path, documents: Path) -> list[Question]:
    """Short questions over a pool of Wikipedia passages, each of which answers one question.

    2,600 gold passages and 200 questions of NQ-open (Kwiatkowski and others, "Natural Questions", TACL 2019,
    CC BY-SA 3.0; by way of nelson-liu/lost-in-the-middle, MIT). A document holds 100 passages under their titles.
    """
    corpus = read_rows(source / "nq-pool" / "corpus.jsonl.gz")
    for number, start in enumerate(range(0, len(corpus), NQ_EACH), start=1):
        passages = corpus[start : start + NQ_EACH]
        body = "\n\n".join(f"## {_escaped(one['title'])}\n\n{_escaped(one['text'])}" for one in passages)
        _write(documents / f"{number:02}.md", body, f"Wikipedia {number}")
    return [
        _row(row["_id"], _split(number), "fact", row["question"], facts=(_wordings(row["answers"]),))
        for number, row in enumerate(read_rows(source / "nq-pool" / "queries.jsonl"))
    ]


BENCHES: dict[str, Bench] = {
    bench.name: bench
    for bench in (
        Bench("squad2", squad2, "questions about one paragraph, half of them not answered there"),
        Bench("squad2-whole", squad2_whole, "the answerable ones, asked of all articles at once"),
        Bench("off-topic", off_topic, "questions about other things, asked of the same articles"),
        Bench("rgb-refusal", rgb_refusal, "web passages that do not answer the question"),
        Bench("rgb-noise", rgb_noise, "right passages among those that do not answer"),
        Bench("rgb-conflict", rgb_conflict, "right passages and as many that were edited to be wrong"),
        Bench("rgb-planted", rgb_planted, "one wrong passage among five others"),
        Bench("mtrag-un", mtrag_un, "last turns of conversations; any answer to an answerable one counts"),
        Bench("nq-pool", nq_pool, "short questions over 2,600 passages of Wikipedia"),
    )
}


def _row(
    name: str,
    split: str,
    kind: str,
    question: str,
    role: str | None = None,
    *,
    history: tuple[Message, ...] = (),
    reference: str = "",
    facts: Facts = (),
) -> Question:
    reference = reference or " / ".join(fact[0] for fact in facts)
    return Question(name, split, kind, question, role, history, kind != "absent", reference, facts, ())


def _split(number: int) -> str:
    return "test" if number % 2 else "dev"


def _wordings(answers: Sequence[str]) -> tuple[str, ...]:
    """Each answer once, without those that hold no word."""
    return tuple(dict.fromkeys(answer.strip() for answer in answers if words(answer)))


def _articles(source: Path) -> list[Any]:
    articles: list[Any] = json.loads(read_text(source / SQUAD))["data"]
    return articles


def _write_articles(source: Path, documents: Path) -> None:
    for article in _articles(source):
        paragraphs = (_escaped(paragraph["context"]) for paragraph in article["paragraphs"])
        body = "\n\n".join([f"# {_escaped(_title(article))}", *paragraphs])
        _write(documents / f"{_slug(article['title'])}.md", body, _title(article))


def _title(article: Any) -> str:
    return str(article["title"]).replace("_", " ")


def _slug(title: str) -> str:
    return re.sub(r"\W+", "-", title)


def _squad_row(row: Any, article: int, role: str | None) -> Question:
    split = "dev" if article < SQUAD_DEV else "test"
    if row["is_impossible"]:
        return _row(row["id"], split, "absent", row["question"], role)
    answers = _wordings([answer["text"] for answer in row["answers"]])
    return _row(row["id"], split, "fact", row["question"], role, facts=(answers,))


def _rgb(source: Path, documents: Path, kind: str, passages: Callable[[Any], list[str]]) -> list[Question]:
    rows = []
    for number, row in enumerate(read_rows(source / "rgb" / "en_fact.json")):
        role = f"rgb{row['id']}"
        for place, passage in enumerate(passages(row), start=1):
            _write(documents / f"{role}/{place:02}.md", _escaped(passage), role, role)
        answers = [row["answer"]] if isinstance(row["answer"], str) else row["answer"]
        right = tuple(_wordings([one] if isinstance(one, str) else one) for one in answers)
        facts = {"absent": (), "fact": right, "conflict": (*right, _wordings([row["fakeanswer"]]))}[kind]
        rows.append(_row(str(row["id"]), _split(number), kind, row["query"], role, facts=facts))
    return rows


def _write(path: Path, body: str, title: str, role: str | None = None) -> None:
    """A Markdown file whose front matter says its title and role."""
    about = {"title": title} | ({"role": role} if role else {})
    front = "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in about.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"---\n{front}---\n\n{body}\n", encoding="utf-8")


def _escaped(text: str) -> str:
    """Plain text as one line of Markdown that is read back word for word."""
    line = _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
    return _OPENING.sub(r"\1\\\2", line)
