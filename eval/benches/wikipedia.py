"""Pools of Wikipedia passages with questions that one or two of them answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from eval.benches.files import escaped, numbered_rows, question, read_rows, split_of, wordings, write_document
from eval.benches.retrieval import Entry, index_names, name_of, write_corpus
from eval.questions import Question

HOTPOT = "hotpotqa-pooled500"
NQ_EACH = 100
"""Passages of Natural Questions in a document."""


def nq_pool(source: Path, documents: Path) -> list[Question]:
    """Short questions over a pool of Wikipedia passages, each of which answers one question.

    2,600 gold passages and 200 questions of NQ-open (Kwiatkowski and others, "Natural Questions", TACL 2019,
    CC BY-SA 3.0; by way of nelson-liu/lost-in-the-middle, MIT). A document holds 100 passages under their titles, and
    where a passage begins and ends in it depends on the embedder, so there are no judgements (qrels).
    """
    corpus = read_rows(source / "nq-pool" / "corpus.jsonl.gz")
    for number, start in enumerate(range(0, len(corpus), NQ_EACH), start=1):
        passages = corpus[start : start + NQ_EACH]
        body = "\n\n".join(f"## {escaped(one['title'])}\n\n{escaped(one['text'])}" for one in passages)
        write_document(documents / f"{number:02}.md", body, f"Wikipedia {number}")
    return [
        question(row["_id"], split_of(number), "fact", row["question"], facts=(wordings(row["answers"]),))
        for number, row in enumerate(read_rows(source / "nq-pool" / "queries.jsonl"))
    ]


def hotpotqa(source: Path, documents: Path) -> list[Question]:
    """Questions that take two Wikipedia paragraphs to answer, which are the relevant ones of the pool of 4,937.

    The first 250 questions of the development set of HotpotQA (Yang and others, "HotpotQA: A Dataset for Diverse,
    Explainable Multi-hop Question Answering", EMNLP 2018; CC BY-SA 4.0) over the pooled paragraphs of its first 500
    (Xinowo/cs6120-hotpotqa-retrieval-failure-analysis, MIT). The short answers, some a mere yes or no, are references.
    """
    corpus = [Entry(row["title"], row["title"], row["text"]) for row in read_rows(source / HOTPOT / "corpus.jsonl")]
    names = index_names(entry.id for entry in corpus)
    path = source / HOTPOT / "queries.jsonl"
    questions: list[Question] = []
    for line, row in numbered_rows(path):
        gold = tuple((name_of(title, names, f"{path}, line {line}"), 1) for title in row["gold_titles"])
        asked = question(row["_id"], split_of(len(questions)), "fact", row["question"], reference=row["answer"])
        questions.append(replace(asked, relevant=gold))
    write_corpus(documents, corpus, names)
    return questions
