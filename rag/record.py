"""What every surface says: answers and passages as JSON objects of one documented shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rag.types import Answer, Citation, GeneratorInfo, IndexInfo, Passage, ScoredPassage, Struck


def answer_record(answer: Answer, *, id: str | None = None) -> dict[str, Any]:  # noqa: A002 - the record's own word
    """The answer record. `quote` is the document's stored text from `start` to `end`; times are in milliseconds."""
    record: dict[str, Any] = {} if id is None else {"id": id}
    kept = {"receipt": answer.receipt} if answer.receipt else {}
    return record | {
        "question": answer.question,
        "status": answer.status,
        "answer": answer.text,
        "citations": [_citation(citation) for citation in answer.citations],
        "struck": [{"sentence": one.sentence, "reason": one.reason} for one in answer.struck],
        "passages": [passage_record(scored) for scored in answer.passages],
        "generator": {
            "name": answer.generator.name,
            "model": answer.generator.model,
            "sha256": answer.generator.sha256,
        },
        "index": {"version": answer.index.version, "embedder": answer.index.embedder},
        "prompt_sha256": answer.prompt_sha256,
        "notice": answer.notice,
        "read_as": answer.read_as,
        "unanswerable": answer.unanswerable,
        "labels": list(answer.labels),
        "repeated": answer.repeated,
        "tokens": dict(answer.tokens),
        "timings_ms": dict(answer.timings_ms),
        **kept,
    }


def answer_from(record: Mapping[str, Any]) -> Answer:
    """The answer that a record was made of. What later versions added may be lacking in it."""
    passages = {one["id"]: _passage(one) for one in record["passages"]}
    return Answer(
        question=record["question"],
        text=record["answer"],
        status=record["status"],
        citations=tuple(_cited(one, passages) for one in record["citations"]),
        struck=tuple(Struck(one["sentence"], one["reason"]) for one in record["struck"]),
        passages=tuple(
            ScoredPassage(passages[one["id"]], one["score"], one["ranks"], one["scores"]) for one in record["passages"]
        ),
        generator=GeneratorInfo(**record["generator"]),
        index=IndexInfo(**record["index"]),
        prompt_sha256=record.get("prompt_sha256", ""),
        timings_ms=record["timings_ms"],
        notice=record.get("notice", ""),
        read_as=record.get("read_as", ""),
        tokens=record.get("tokens", {}),
        unanswerable=record.get("unanswerable"),
        labels=tuple(record.get("labels", ())),
        receipt=record.get("receipt", ""),
        repeated=record.get("repeated", False),
    )


def passage_record(scored: ScoredPassage) -> dict[str, Any]:
    """A retrieved passage with its fused score, and its rank (from 1) and raw score in each stage that found it."""
    passage = scored.passage
    return {
        "id": passage.id,
        "document": passage.document,
        "title": passage.title,
        "role": passage.role,
        "section": list(passage.section),
        "text": passage.text,
        "start": passage.start,
        "end": passage.end,
        "place": passage.place,
        "score": scored.score,
        "ranks": dict(scored.ranks),
        "scores": dict(scored.scores),
    }


def error_record(row: dict[str, Any], message: str) -> dict[str, Any]:
    """The record of a question that could not be answered, and why."""
    record: dict[str, Any] = {"id": row["id"]} if "id" in row else {}
    return record | {
        "question": row.get("question", ""),
        "status": "error",
        "answer": "",
        "error": message,
        "citations": [],
        "struck": [],
        "passages": [],
    }


def _citation(citation: Citation) -> dict[str, Any]:
    passage = citation.passage
    return {
        "marker": citation.marker,
        "document": passage.document,
        "title": passage.title,
        "role": passage.role,
        "section": list(passage.section),
        "passage": passage.id,
        "quote": citation.quote,
        "start": citation.start,
        "end": citation.end,
        "place": citation.place,
    }


def _passage(record: Mapping[str, Any]) -> Passage:
    return Passage(
        document=record["document"],
        title=record["title"],
        role=record["role"],
        section=tuple(record["section"]),
        start=record["start"],
        end=record["end"],
        text=record["text"],
        place=record.get("place", ""),
    )


def _cited(record: Mapping[str, Any], passages: Mapping[str, Passage]) -> Citation:
    """A quotation whose passage is not among those of the record stands alone."""
    passage = passages.get(record.get("passage", "")) or _passage({**record, "text": record["quote"]})
    place = record.get("place", "")
    return Citation(record["marker"], passage, record["quote"], record["start"], record["end"], place)
