"""`python -m eval run`: ask a set of questions, keep every answer, and print what came out, kind by kind."""

from __future__ import annotations

import json
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from eval.measures import OUTCOMES, evidence_recall, missing_facts, outcome
from eval.questions import KINDS, Question, load_questions, resolve
from rag.errors import RolewiseError
from rag.record import answer_record, error_record
from rag.settings import load_settings
from rag.wiring import PROJECT, build_index, open_engine

SETS = PROJECT / "eval" / "questions"
BUNDLED = {"roles": PROJECT / "index" / "sources", "other": PROJECT / "eval" / "documents"}
"""The bundled sets and the documents each is about."""


@click.group()
def cli() -> None:
    """Measure answers on questions with known answers."""


@cli.command()
@click.argument("sets", nargs=-1)
@click.option("--split", type=click.Choice(["dev", "test"]), help="Only this split [default: both].")
@click.option("--generator", default="extractive", type=click.Choice(["extractive", "local", "hosted"]))
@click.option("--documents", type=click.Path(exists=True, path_type=Path), help="Documents of sets of your own.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for answers and outcomes, JSONL.")
@click.option("-v", "--verbose", is_flag=True, help="Print each question that did not come out right.")
def run(
    sets: tuple[str, ...], split: str | None, generator: str, documents: Path | None, output: Path | None, verbose: bool
) -> None:
    """Ask the SETS, bundled ones by name or JSONL files of your own [default: all bundled ones]."""
    rows: list[dict[str, Any]] = []
    for name in sets or tuple(BUNDLED):
        path = SETS / f"{name}.jsonl" if name in BUNDLED else Path(name)
        folder = BUNDLED.get(name, documents)
        if folder is None:
            raise click.UsageError(f"--documents must name the documents that {name} asks about")
        rows += _asked(load_questions([path], split), folder, generator, label=path.stem)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        with (output / f"{generator}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if verbose:
        for row in rows:
            if row["outcome"] != "right":
                click.echo(f"{row['outcome']}: {row['id']}: {row['question']}\n    missing {row['missing']}")
                click.echo("    " + row["answer"].replace("\n", "\n    "))
    click.echo(table(rows))


def _asked(questions: list[Question], documents: Path, generator: str, label: str) -> list[dict[str, Any]]:
    settings = load_settings(home=PROJECT / "var" / "eval" / label, generator=generator)
    build_index(settings, [documents])
    engine = open_engine(settings)
    gold = {question.id: resolve(question, engine.version.documents) for question in questions}
    rows = []
    for question in tqdm(questions, desc=label, unit="question", file=sys.stderr):
        try:
            answer = engine.ask(question.question, history=question.history, role=question.role)
            record = answer_record(answer, id=question.id)
        except RolewiseError as error:
            record = error_record({"id": question.id, "question": question.question}, str(error))
        rows.append(
            record
            | {
                "set": label,
                "kind": question.kind,
                "split": question.split,
                "answerable": question.answerable,
                "outcome": outcome(question, record),
                "missing": missing_facts(question.facts, record["answer"]),
                "evidence_recall": evidence_recall(gold[question.id], record),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Outcomes by kind as a Markdown table, with the refusals' precision and recall below."""
    lines = [f"| kind | n | {' | '.join(OUTCOMES)} |", f"|---|--:|{'--:|' * len(OUTCOMES)}"]
    for kind in [*KINDS, "all"]:
        counts = Counter(row["outcome"] for row in rows if kind in (row["kind"], "all"))
        if n := counts.total():
            cells = [f"{counts['right']} ({counts['right'] / n:.0%})", *(str(counts[one]) for one in OUTCOMES[1:])]
            lines.append(f"| {kind} | {n} | {' | '.join(cells)} |")
    refused = [row for row in rows if row["status"] == "not_found"]
    absent = [row for row in rows if not row["answerable"]]
    rightly = sum(not row["answerable"] for row in refused)
    recall = statistics.fmean(row["evidence_recall"] for row in rows if row["answerable"])
    total = statistics.median(row.get("timings_ms", {}).get("total", 0.0) for row in rows)
    refusal = f"refusal: precision {rightly}/{len(refused)}, recall {rightly}/{len(absent)}"
    lines += ["", f"{refusal}; evidence recall in the passages {recall:.3f}; median {total:.0f} ms an answer"]
    return "\n".join(lines)


def main() -> None:
    try:
        cli(prog_name="python -m eval")
    except RolewiseError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
