"""SQuAD 2.0: questions about paragraphs of Wikipedia that tell, or only look as if they did."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from eval.benches.files import escaped, question, read_rows, read_text, split_of, wordings, write_document
from eval.questions import Question
from rag.words import words

SQUAD = "squad2/squad2-sample.json.gz"
SQUAD_DEV = 4
"""Articles of SQuAD whose questions are of the split dev, from the first on; those of the others are of test."""


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
            write_document(
                documents / f"{_slug(article['title'])}/{place:02}.md", escaped(paragraph["context"]), role, role
            )
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
    return [question(row["_id"], split_of(number), "absent", row["question"]) for number, row in enumerate(rows)]


def _articles(source: Path) -> list[Any]:
    articles: list[Any] = json.loads(read_text(source / SQUAD))["data"]
    return articles


def _write_articles(source: Path, documents: Path) -> None:
    for article in _articles(source):
        paragraphs = (escaped(paragraph["context"]) for paragraph in article["paragraphs"])
        body = "\n\n".join([f"# {escaped(_title(article))}", *paragraphs])
        write_document(documents / f"{_slug(article['title'])}.md", body, _title(article))


def _title(article: Any) -> str:
    return str(article["title"]).replace("_", " ")


def _slug(title: str) -> str:
    return re.sub(r"\W+", "-", title)


def _squad_row(row: Any, article: int, role: str | None) -> Question:
    split = "dev" if article < SQUAD_DEV else "test"
    if row["is_impossible"]:
        return question(row["id"], split, "absent", row["question"], role)
    answers = wordings([answer["text"] for answer in row["answers"]])
    return question(row["id"], split, "fact", row["question"], role, facts=(answers,))
