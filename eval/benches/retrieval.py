"""Sets in the shape of BEIR: a corpus, queries, and people's judgements which entries are relevant to which (qrels).

Each entry of a corpus becomes a document, so that what retrieval finds can be held against the judgements. Nothing is
known of right answers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

from eval.benches.files import REMEDY, escaped, numbered_rows, question, read_text, write_document
from eval.questions import Question
from rag.errors import SettingsError

SHAPE = "A folder in BEIR shape holds corpus.jsonl, queries.jsonl, and qrels/test.tsv or qrels/train.tsv."
QRELS = {"dev": ("dev.tsv", "train.tsv"), "test": ("test.tsv",)}
"""Files of the judgements of each split, of which the first that is there counts."""
EACH = 1_000
"""Files in a folder at the most."""
SLUG = 40
"""Characters of an entry's id in the name of its file, for people to read."""
TITLE = 60
"""Characters of a title made of a text's first words."""
_GRADE = re.compile(r"[-+]?\d+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One text of a corpus. `id` is what judgements call it; `title` may be empty."""

    id: str
    title: str
    text: str


def beir(folder: Path, documents: Path, *, remedy: str = SHAPE) -> list[Question]:
    """The judged queries of a folder in the shape of BEIR, those of dev first, else as the judgements name them.

    BEIR: Thakur and others, "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models",
    NeurIPS 2021. `corpus.jsonl` has rows with `_id`, `title` (may lack) and `text`, `queries.jsonl` rows with `_id` and
    `text`; the files in `qrels` hold query, entry and grade, with tabs between, under a line of headings. test.tsv
    is the split test; dev.tsv, or train.tsv where there is none, is dev. Grades of 0 and below are left out, as what is
    not judged counts alike, and with them queries that have no others.

    Raises SettingsError that names the file and the line if a row is not of this shape, an id is there twice, a pair
    is judged in two ways, a query is in both splits, or a judgement names what is not there; and that gives the
    `remedy` if a file is missing.
    """
    corpus = [
        Entry(name, str(row.get("title") or ""), row["text"])
        for name, row in _by_id(folder / "corpus.jsonl", remedy).items()
    ]
    names = index_names(entry.id for entry in corpus)
    queries = _by_id(folder / "queries.jsonl", remedy)
    questions = [
        replace(question(query, split, "fact", queries[query]["text"]), relevant=relevant)
        for split, path in _qrels(folder, remedy).items()
        for query, grades in _judged(path, queries, names, remedy).items()
        if (relevant := tuple((names[entry], grade) for entry, grade in grades.items() if grade > 0))
    ]
    if not questions:
        raise SettingsError(f"{folder / 'qrels'} holds no grade above 0, so nothing can be measured.")
    for query, count in Counter(one.id for one in questions).items():
        if count > 1:
            raise SettingsError(f"{folder / 'qrels'}: query {query!r} is in both splits. Keep it in one of the files.")
    write_corpus(documents, corpus, names)
    return questions


def scifact(source: Path, documents: Path) -> list[Question]:
    """Scientific claims, and the abstracts that bear them out or contradict them.

    SciFact (Wadden and others, "Fact or Fiction: Verifying Scientific Claims", EMNLP 2020; claims and judgements
    CC BY 4.0, abstracts ODC-By 1.0) as BEIR has it: 5,183 abstracts, 300 claims of test, 809 of train as dev.
    """
    return beir(source / "scifact", documents, remedy=REMEDY)


def index_names(ids: Iterable[str]) -> dict[str, str]:
    """The name in the index of each entry of a corpus, in order: "003-017-doc-12" for its entry 3,017, "Doc 12".

    The figures make it one of its kind, whatever characters the id is made of.
    """
    names = {}
    for number, one in enumerate(ids):
        slug = re.sub(r"[^a-z0-9]+", "-", one.lower()).strip("-")[:SLUG]
        names[one] = f"{number // EACH:03}-{number % EACH:03}-{slug}".rstrip("-")
    return names


def name_of(entry: str, names: Mapping[str, str], where: str) -> str:
    """The name in the index of an entry. Raises SettingsError that says `where` one is named that is not there."""
    if entry not in names:
        raise SettingsError(f"{where}: there is no entry {entry!r}. Add it to corpus.jsonl or drop the line.")
    return names[entry]


def write_corpus(documents: Path, corpus: Iterable[Entry], names: Mapping[str, str]) -> None:
    """A Markdown file for each entry, at most `EACH` in a folder, which the index calls by its name in `names`.

    Blank lines part its paragraphs. A text without a title has its first words for one, and a title without a text
    stands for it; what has neither is no document and cannot be found.
    """
    for entry in corpus:
        title = entry.title.strip() or shorten(entry.text, TITLE, placeholder="…")
        body = "\n\n".join(filter(None, map(escaped, re.split(r"\n\s*\n", entry.text))))
        folder, file = names[entry.id].split("-", maxsplit=1)
        write_document(documents / folder / f"{file}.md", body or escaped(title), title)


def _by_id(path: Path, remedy: str) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for line, row in numbered_rows(path, remedy):
        if not isinstance(row, dict) or "_id" not in row or not isinstance(row.get("text"), str):
            raise SettingsError(f'{path}, line {line}: expected an object with "_id" and a "text". {SHAPE}')
        if rows.setdefault(str(row["_id"]), row) is not row:
            raise SettingsError(f"{path}, line {line}: the _id {row['_id']!r} is there twice. Rename one.")
    return rows


def _qrels(folder: Path, remedy: str) -> dict[str, Path]:
    """The file of each split's judgements. Raises SettingsError with the remedy if there is none."""
    found = {}
    for split, files in QRELS.items():
        for path in (folder / "qrels" / file for file in reversed(files)):
            if path.is_file():
                found[split] = path
    if not found:
        raise SettingsError(f"{folder / 'qrels' / 'test.tsv'} is missing. {remedy}")
    return found


def _judged(path: Path, queries: Collection[str], names: Mapping[str, str], remedy: str) -> dict[str, dict[str, int]]:
    """The grades of the entries judged for each query. The first line may hold headings."""
    judged: dict[str, dict[str, int]] = {}
    for number, line in enumerate(read_text(path, remedy).split("\n"), start=1):
        where = f"{path}, line {number}"
        cells = line.rstrip().split("\t")
        if not line.strip() or (number == 1 and len(cells) == 3 and not _GRADE.fullmatch(cells[2])):
            continue
        if len(cells) != 3 or not _GRADE.fullmatch(cells[2]):
            raise SettingsError(f"{where}: expected query, entry and a whole number with tabs between, got {line!r}.")
        query, entry, grade = cells[0], cells[1], int(cells[2])
        if query not in queries:
            raise SettingsError(f"{where}: there is no query {query!r}. Add it to queries.jsonl or drop the line.")
        name_of(entry, names, where)
        if judged.setdefault(query, {}).setdefault(entry, grade) != grade:
            raise SettingsError(f"{where}: {entry!r} has another grade for query {query!r} above. Drop one of the two.")
    return judged
