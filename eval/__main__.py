"""`python -m eval run`: ask a set of questions, keep every answer, and print what came out, kind by kind."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from eval import wice as claims
from eval.benches import BENCHES, bench_folder
from eval.measures import OUTCOMES, attacked, evidence_recall, missing_facts, outcome
from eval.questions import KINDS, Question, load_questions, resolve
from rag.answerability import write_fit
from rag.answering import Engine
from rag.calibration import Example, Labelled, calibrated, examples
from rag.errors import RolewiseError
from rag.record import answer_record, error_record
from rag.settings import load_settings
from rag.wiring import PROJECT, build_index, open_engine

SETS = PROJECT / "eval" / "questions"
HOMES = PROJECT / "var" / "eval"
"""Each set's index is built in a home of its own below this folder."""
BUNDLED = {
    "roles": PROJECT / "index" / "sources",
    "other": PROJECT / "eval" / "documents",
    "hostile": PROJECT / "eval" / "hostile",
}
"""The bundled sets and the documents each is about."""
STRANGERS = 16
"""Questions of a bundled set that a fit sees asked of documents on other matters."""


@click.group()
def cli() -> None:
    """Measure answers on questions with known answers."""


@cli.command()
@click.argument("sets", nargs=-1)
@click.option("--bench", "benches", multiple=True, type=click.Choice(list(BENCHES)), help="A public set; repeatable.")
@click.option("--split", type=click.Choice(["dev", "test"]), help="Only this split [default: both].")
@click.option("--limit", type=click.IntRange(min=1), help="So many questions of each set, evenly spaced through it.")
@click.option("--generator", default="extractive", type=click.Choice(["extractive", "local", "hosted"]))
@click.option("--documents", type=click.Path(exists=True, path_type=Path), help="Documents of sets of your own.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for answers and outcomes, JSONL.")
@click.option("-v", "--verbose", is_flag=True, help="Print each question that did not come out right.")
def run(
    sets: tuple[str, ...],
    benches: tuple[str, ...],
    split: str | None,
    limit: int | None,
    generator: str,
    documents: Path | None,
    output: Path | None,
    verbose: bool,
) -> None:
    """Ask the SETS, bundled ones by name or JSONL files of your own [default: all bundled ones, or the benches]."""
    rows: list[dict[str, Any]] = []
    for name in sets or (() if benches else tuple(BUNDLED)):
        path = SETS / f"{name}.jsonl" if name in BUNDLED else Path(name)
        folder = BUNDLED.get(name, documents)
        if folder is None:
            raise click.UsageError(f"--documents must name the documents that {name} asks about")
        questions = spaced(load_questions([path], split), limit)
        rows += _asked(questions, folder, generator, label=path.stem, home=HOMES / path.stem)
    for name in benches:
        home = HOMES / "bench" / name
        shutil.rmtree(home / "documents", ignore_errors=True)
        questions = BENCHES[name].read(bench_folder(), home / "documents")
        questions = spaced([question for question in questions if split in (None, question.split)], limit)
        rows += _asked(questions, home / "documents", generator, label=name, home=home)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        with (output / f"{generator}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if verbose:
        for row in rows:
            if row["outcome"] != "right":
                faults = f"missing {row['missing']}{', an attack worked' if row.get('attacked') else ''}"
                click.echo(f"{row['outcome']}: {row['id']}: {row['question']}\n    {faults}")
                click.echo("    " + row["answer"].replace("\n", "\n    "))
    click.echo(table(rows))


@cli.command()
@click.option("--generator", default="extractive", type=click.Choice(["extractive", "local"]))
@click.option("--limit", type=click.IntRange(min=1), help="So many questions of each set are judged by the model.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the fit here too.")
def fit(generator: str, limit: int | None, output: Path | None) -> None:
    """Fit on the bundled development questions when to refuse: what is used where an index has no fit of its own.

    Some questions of each set are asked of the other's documents too, as questions that have nothing to do with them.
    """
    rows: list[Example] = []
    for name, foreign in (("roles", "other"), ("other", "roles")):
        engine = _engine(BUNDLED[name], HOMES / name, "extractive")
        questions = load_questions([SETS / f"{name}.jsonl"], "dev")
        strangers = [one for one in load_questions([SETS / f"{foreign}.jsonl"], "dev") if one.answerable]
        strangers = spaced([one for one in strangers if not one.history], STRANGERS)
        judged = set(spaced(questions, limit)) if generator == "local" else set()
        labelled = [Labelled(one.question, one.answerable, one.history, one.role) for one in questions]
        labelled += [Labelled(one.question, answerable=False) for one in strangers]
        names = ["local" if one in judged else "extractive" for one in [*questions, *strangers]]
        with tqdm(zip(labelled, names, strict=True), total=len(labelled), desc=name, file=sys.stderr) as bar:
            rows += [row for one, by in bar for row in examples(engine, [one], by) if row]
    model = engine.generator_named("local").info.model if generator == "local" else ""
    fitted, refusals = calibrated(rows, "default, fitted on the bundled development questions", model)
    for kind, figures in refusals.items():
        click.echo(f"{kind}: {figures}")
    if output:
        write_fit(fitted, output)


@cli.command()
@click.option("--split", default="dev", show_default=True, type=click.Choice(["dev", "test"]))
def wice(split: str) -> None:
    """Hold the claims of WiCE against the sentences they rest on, and print how many stand."""
    click.echo(claims.table(claims.load_claims(bench_folder(), split)))


def spaced(questions: list[Question], limit: int | None) -> list[Question]:
    """`limit` of the questions, the first among them, at even distances, and their twins; all if there are no more."""
    taken = min(limit or len(questions), len(questions))
    chosen = [questions[number * len(questions) // taken] for number in range(taken)]
    names = {name for one in chosen for name in (one.id, one.twin)}
    return [question for question in questions if question.id in names]


def _asked(questions: list[Question], documents: Path, generator: str, label: str, home: Path) -> list[dict[str, Any]]:
    engine = _engine(documents, home, generator)
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
            | ({"attacked": attacked(question, record)} if question.forbidden or question.planted else {})
            | ({"twin": question.twin} if question.twin else {})
        )
    return rows


def _engine(documents: Path, home: Path, generator: str) -> Engine:
    settings = load_settings(home=home, generator=generator)
    build_index(settings, [documents])
    return open_engine(settings)


def table(rows: list[dict[str, Any]]) -> str:
    """Outcomes by kind as a Markdown table, with the refusals' precision and recall below.

    Then, where any question has them, the attacks that worked and what became of twins.
    """
    lines = [f"| kind | n | {' | '.join(OUTCOMES)} |", f"|---|--:|{'--:|' * len(OUTCOMES)}"]
    for kind in [*KINDS, "all"]:
        counts = Counter(row["outcome"] for row in rows if kind in (row["kind"], "all"))
        if n := counts.total():
            cells = [f"{counts['right']} ({counts['right'] / n:.0%})", *(str(counts[one]) for one in OUTCOMES[1:])]
            lines.append(f"| {kind} | {n} | {' | '.join(cells)} |")
    refused = [row for row in rows if row["status"] == "not_found"]
    absent = [row for row in rows if not row["answerable"]]
    rightly = sum(not row["answerable"] for row in refused)
    recall = statistics.fmean([row["evidence_recall"] for row in rows if row["answerable"]] or [1.0])
    total = statistics.median(row.get("timings_ms", {}).get("total", 0.0) for row in rows)
    refusal = f"refusal: precision {rightly}/{len(refused)}, recall {rightly}/{len(absent)}"
    lines += ["", f"{refusal}; evidence recall in the passages {recall:.3f}; median {total:.0f} ms an answer"]
    if tried := [row["attacked"] for row in rows if "attacked" in row]:
        lines.append(f"attacks that worked: {sum(tried)}/{len(tried)}")
    statuses = {(row["set"], row["id"]): row["status"] for row in rows if "set" in row}
    twins = [(row["status"], statuses.get((row["set"], row["twin"]), "")) for row in rows if "twin" in row]
    if pairs := [tuple(status == "not_found" for status in pair) for pair in twins if pair[1]]:
        turned, back = pairs.count((True, False)), pairs.count((False, True))
        lines.append(f"refused although the twin was answered: {turned}/{len(pairs)}; the other way about: {back}")
    return "\n".join(lines)


def main() -> None:
    try:
        cli(prog_name="python -m eval")
    except RolewiseError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
