"""The question of a receipt is asked again, and the two answers are held side by side.

They are the same if they say the same with the same quotations from the same passages. What else differs, such as the
model or a setting, is told as what may have caused it. The scores of passages are not compared: on another machine
their last digits differ.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag import __version__
from rag.answering import Engine
from rag.errors import RolewiseError
from rag.receipts import STOPPED, Receipt
from rag.record import answer_record, error_record


@dataclass(frozen=True, slots=True)
class Change:
    """What differs under one name, before and now."""

    name: str
    before: Any
    now: Any


@dataclass(frozen=True, slots=True)
class Difference:
    """Between the answer of a receipt and that of today. `outcome` is what a reader would notice, `causes` the rest."""

    outcome: tuple[Change, ...]
    causes: tuple[Change, ...]
    notes: tuple[str, ...]
    record: Mapping[str, Any]
    """Today's."""

    @property
    def is_same(self) -> bool:
        return not self.outcome


def replayed(engine: Engine, receipt: Receipt, settings: Mapping[str, Any]) -> Difference:
    """Asks `engine` the question of a receipt as it was asked. `settings` are those that today's answer depends on."""
    question = str(receipt.record["question"])
    try:
        answer = engine.ask(question, history=receipt.history, role=receipt.role, generator=receipt.asked_for)
        record = answer_record(answer)
    except RolewiseError as error:
        record = error_record({"question": question}, str(error))
    return difference(receipt, record, settings)


def difference(receipt: Receipt, record: Mapping[str, Any], settings: Mapping[str, Any]) -> Difference:
    """Between a receipt and the record of another answer to its question, which was given with `settings`."""
    before = receipt.record
    outcome = [
        Change("status", receipt.status, record["status"]),
        Change("answer", before["answer"], record["answer"]),
        Change("error", before.get("error", ""), record.get("error", "")),
        Change("citations", _citations(before), _citations(record)),
        Change("passages", _passages(before), _passages(record)),
    ]
    causes = [
        Change("program", receipt.rolewise, __version__),
        Change("index", _of(before, "index", "version"), _of(record, "index", "version")),
        Change("embedder", _of(before, "index", "embedder"), _of(record, "index", "embedder")),
        *(Change(name, _of(before, "generator", key), _of(record, "generator", key)) for name, key in _WRITER.items()),
        Change("prompt", before.get("prompt_sha256", ""), record.get("prompt_sha256", "")),
        Change("read as", before.get("read_as", ""), record.get("read_as", "")),
        Change("notice", before.get("notice", ""), record.get("notice", "")),
        *(
            Change(f"setting {name}", receipt.settings.get(name), settings.get(name))
            for name in sorted({*receipt.settings, *settings})
        ),
    ]
    return Difference(_changed(outcome), _changed(causes), tuple(_notes(receipt)), record)


_WRITER = {"generator": "name", "model": "model", "model file": "sha256"}


def as_text(found: Difference) -> str:
    """The difference for a person: the answer as a unified diff, of lists what went (-) and what came (+)."""
    lines = ["the same" if found.is_same else "differs: " + ", ".join(one.name for one in found.outcome)]
    for one in found.outcome:
        lines += ["", *_shown(one)]
    if found.causes:
        lines += ["", "What else is not as it was:" if found.is_same else "What may have caused it:"]
        lines += [f"  {line}" for one in found.causes for line in _shown(one)]
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])


def as_record(found: Difference, receipt: Receipt) -> dict[str, Any]:
    changes = {
        kind: [{"name": one.name, "before": one.before, "now": one.now} for one in of_kind]
        for kind, of_kind in (("outcome", found.outcome), ("causes", found.causes))
    }
    return {"id": receipt.id, "same": found.is_same, **changes, "notes": list(found.notes), "now": dict(found.record)}


def _notes(receipt: Receipt) -> Iterator[str]:
    if receipt.redacted:
        yield (
            f"personal data in the question was replaced before it was kept ({', '.join(receipt.redacted)}), "
            "so it was not asked again letter by letter."
        )
    if receipt.status == STOPPED:
        yield "its reader did not wait for the answer, so there is none to compare with."


def _changed(changes: Sequence[Change]) -> tuple[Change, ...]:
    return tuple(one for one in changes if one.before != one.now)


def _shown(change: Change) -> Iterator[str]:
    if isinstance(change.before, list) and isinstance(change.now, list):
        yield f"{change.name}:"
        yield from (f"  - {one}" for one in change.before if one not in change.now)
        yield from (f"  + {one}" for one in change.now if one not in change.before)
        if sorted(change.before) == sorted(change.now):
            yield "  in another order"
    elif change.name == "answer":
        yield from difflib.unified_diff(
            str(change.before).splitlines(), str(change.now).splitlines(), "before", "now", lineterm=""
        )
    else:
        yield f"{change.name}: {_or_none(change.before)} -> {_or_none(change.now)}"


def _or_none(value: object) -> str:
    return "none" if value is None or value == "" else str(value)


def _of(record: Mapping[str, Any], part: str, name: str) -> Any:
    return record.get(part, {}).get(name)


def _citations(record: Mapping[str, Any]) -> list[str]:
    return [
        f"[{one['marker']}] {one['document']}:{one['start']}-{one['end']} “{one['quote']}”"
        for one in record["citations"]
    ]


def _passages(record: Mapping[str, Any]) -> list[str]:
    """Best first."""
    return [one["id"] for one in record["passages"]]
