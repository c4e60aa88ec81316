"""`python -m eval`: ask questions with known answers, keep every answer, and say what came out."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from eval import tables
from eval import wice as claims
from eval.benches import BENCHES, DataMissing, bench_folder
from eval.running import RUN, Run, as_line, ask, fingerprint, kept, opened, start, told_of
from eval.sets import BUNDLED, HOMES, Choice, QuestionSet, named, public
from rag.errors import RolewiseError, SettingsError
from rag.settings import Settings, load_settings, read_settings

_OUTPUT = click.Path(dir_okay=False, path_type=Path)
_RUN = click.Path(exists=True, path_type=Path)


@click.group()
def cli() -> None:
    """Measure answers on questions with known answers."""


@cli.command()
@click.argument("sets", nargs=-1)
@click.option(
    "--bench", "benches", multiple=True, help=f"A public set, or a folder in BEIR's shape: {', '.join(BENCHES)}."
)
@click.option("--documents", type=click.Path(exists=True, path_type=Path), help="Documents of sets of your own.")
@click.option("--split", type=click.Choice(["dev", "test"]), help="Only this split [default: both].")
@click.option("--limit", type=click.IntRange(min=1), help="So many questions of each set, evenly spaced through it.")
@click.option("--askers", is_flag=True, help="Ask again as people of different names, genders, origins and ages.")
@click.option("--retrieval-only", is_flag=True, help="Search and measure the ranking; no generator is loaded.")
@click.option("--generator", type=click.Choice(["extractive", "local", "hosted"]), help="[default: extractive]")
@click.option("--settings", "grid", multiple=True, type=_RUN, help="A TOML file of settings; with several, a run each.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the run; asking into it again goes on.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print each question that did not come out right.")
def run(  # noqa: PLR0913, PLR0917 - one for each option
    sets: tuple[str, ...],
    benches: tuple[str, ...],
    documents: Path | None,
    split: str | None,
    limit: int | None,
    askers: bool,
    retrieval_only: bool,
    generator: str | None,
    grid: tuple[Path, ...],
    output: Path | None,
    verbose: bool,
) -> None:
    """Ask the SETS, bundled ones by name or JSONL files of your own [default: all bundled ones, or the benches]."""
    choice = Choice(split, limit, askers)
    asked = [named(name, documents, choice) for name in sets or (() if benches else tuple(BUNDLED))]
    for name in benches:
        try:
            asked.append(public(name, choice))
        except DataMissing as error:
            click.echo(f"{name} is skipped: {error}", err=True)
    if not any(one.questions for one in asked):
        raise SettingsError("no question is left to ask. Name a set that is there, or another --split.")
    if twice := _twice(one.name for one in asked):
        raise SettingsError(f"two sets are called {twice!r}; rows are kept by that name. Name one of them, or rename.")
    runs: dict[str, list[dict[str, Any]]] = {}
    for name, settings in _grid(grid, generator).items():
        folder = output / name if output and len(grid) > 1 else output
        runs[name] = _asked(asked, settings, folder, retrieval_only=retrieval_only)
        if verbose:
            _show_faults(runs[name])
    if len(runs) > 1:
        click.echo(tables.side_by_side(runs))
    else:
        click.echo(tables.table(next(iter(runs.values()))))


@cli.command()
@click.argument("before", type=_RUN)
@click.argument("after", type=_RUN)
@click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="MEASURE=AMOUNT",
    help="How far a measure may fall, such as right=0.02; replaces the defaults.",
)
@click.option("--part", is_flag=True, help="AFTER asked only some of the questions; leave out the others of BEFORE.")
def compare(before: Path, after: Path, tolerances: tuple[str, ...], part: bool) -> None:
    """Hold two runs of the same questions against each other; exit 1 if a measure fell beyond its tolerance."""
    from eval import verdict

    a, b = verdict.load_run(before), verdict.load_run(after)
    asked = {(row["set"], row["id"]) for row in b}
    comparison = verdict.compare([row for row in a if not part or (row["set"], row["id"]) in asked], b)
    faults = verdict.breaches(comparison, verdict.amounts(tolerances) or verdict.DEFAULT_TOLERANCES)
    click.echo(verdict.text(comparison, faults))
    sys.exit(bool(faults))


@cli.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--before", type=_RUN, help="An earlier run of the same questions: what turned is shown.")
@click.option("-o", "--output", type=_OUTPUT, help="[default: report.html in the folder]")
def report(folder: Path, before: Path | None, output: Path | None) -> None:
    """Write one HTML file about a run: figures, plots, and every answer with its quotations.

    Of a FOLDER that holds the runs of several settings, all are held against the one that was begun first.
    """
    from eval.ablation import ablation
    from eval.report import report as page
    from eval.verdict import load_run

    output = output or folder / "report.html"
    runs = _runs_in(folder)
    if runs and before:
        fault = f"{folder} holds several runs ({', '.join(runs)}), which are held against the first of them"
        raise SettingsError(f"{fault}. Leave --before out, or name the folder of one run.")
    text = ablation(runs) if runs else page(load_run(folder), told_of(folder), load_run(before) if before else None)
    output.write_text(text, encoding="utf-8")
    click.echo(output)


@cli.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output", type=_OUTPUT)
def keep(folder: Path, output: Path) -> None:
    """Keep what later runs are compared with: the rows of a run without their texts."""
    from eval.verdict import load_run

    output.write_text("".join(as_line(kept(row)) for row in load_run(folder)), encoding="utf-8")


@cli.command()
def results() -> None:
    """Write the READMEs' tables anew from the runs kept in eval/results."""
    from eval.results import READMES, kept_tables, put

    tables = kept_tables()
    for path in READMES:
        path.write_text(put(path.read_text(encoding="utf-8"), tables), encoding="utf-8")


@cli.command()
@click.argument("documents", type=click.Path(exists=True, path_type=Path))
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="Questions to propose.")
@click.option(
    "--generator", default="extractive", show_default=True, type=click.Choice(["extractive", "local", "hosted"])
)
@click.option("--seed", default=0, show_default=True, help="Another number proposes other questions.")
@click.option(
    "-o", "--output", type=_OUTPUT, required=True, help="JSONL file to write; one that is there is not overwritten."
)
def draft(documents: Path, limit: int, generator: str, seed: int, output: Path) -> None:
    """Propose questions from DOCUMENTS, each with its answer and quotation, for a person to review."""
    from eval.drafting import propose, to_row

    _check_is_new(output)
    engine = opened(documents, HOMES / "draft", load_settings(generator=generator))
    proposals = tqdm(
        islice(propose(engine, limit, generator, seed), limit), total=limit, unit="question", file=sys.stderr
    )
    rows = [to_row(one, number) for number, one in enumerate(proposals, start=1)]
    output.write_text("".join(map(as_line, rows)), encoding="utf-8")
    click.echo(f'{len(rows)} questions in {output}. Correct each and take its "review" away, or delete it; then:')
    click.echo(f"python -m eval run {output} --documents {documents}")


@cli.command()
@click.argument("records", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=_OUTPUT, required=True, help="JSONL file to write; one that is there stays.")
def candidates(records: Path, output: Path) -> None:
    """Make rows to review from RECORDS, JSONL: answers as `ask --json` prints them, with a "reason" if you like."""
    from eval.candidates import candidate

    _check_is_new(output)
    rows = [candidate(record, number) for number, record in enumerate(_records(records), start=1)]
    output.write_text("".join(map(as_line, rows)), encoding="utf-8")
    click.echo(f'{output}: give each question its facts and take its "review" away, or delete it.')


@cli.command()
@click.option("--generator", default="extractive", type=click.Choice(["extractive", "local"]))
@click.option("--limit", type=click.IntRange(min=1), help="So many questions of each set are judged by the model.")
@click.option("-o", "--output", type=_OUTPUT, help="Write the fit here too.")
def fit(generator: str, limit: int | None, output: Path | None) -> None:
    """Fit on the bundled development questions when to refuse: what is used where an index has no fit of its own."""
    from eval.fitting import default_fit
    from rag.answerability import write_fit

    fitted, refusals = default_fit(generator, limit)
    for kind, figures in refusals.items():
        click.echo(f"{kind}: {figures}")
    if output:
        write_fit(fitted, output)


@cli.command()
@click.option("--split", default="dev", show_default=True, type=click.Choice(["dev", "test"]))
def wice(split: str) -> None:
    """Hold the claims of WiCE against the sentences they rest on, and print how many stand."""
    click.echo(claims.table(claims.load_claims(bench_folder(), split)))


def _runs_in(folder: Path) -> dict[str, tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Rows and circumstances of the runs in a folder that is none itself, in the order in which they were begun."""
    from eval.verdict import load_run

    if (folder / RUN).exists():
        return {}
    runs = {path.parent.name: (load_run(path.parent), told_of(path.parent)) for path in folder.glob(f"*/{RUN}")}
    return dict(sorted(runs.items(), key=lambda run: (run[1][1].get("created", ""), run[0])))


def _records(path: Path) -> list[dict[str, Any]]:
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
            records.append({"question": record["question"], "answer": record["answer"], "citations": [], **record})
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{path}, line {number} is no answer record: {error!r}. See README.md.") from error
    return records


def _check_is_new(path: Path) -> None:
    if path.exists():
        raise SettingsError(f"{path} is there already, perhaps with your review in it. Name another file.")


def _grid(files: tuple[Path, ...], generator: str | None) -> dict[str, Settings]:
    """The settings of each run by its name; `generator` goes before those of the files."""
    if twice := _twice(file.stem for file in files):
        raise SettingsError(f"two files of settings are called {twice!r}; the runs are named after them. Rename one.")
    given = {file.stem: read_settings(file) for file in files} or {"": {}}
    first = {"generator": generator} if generator else {}
    return {name: load_settings(**({"generator": "extractive"} | values | first)) for name, values in given.items()}


def _twice(names: Iterable[str]) -> str:
    """A name that is there more than once, or "" if none is."""
    return next((name for name, count in Counter(names).items() if count > 1), "")


def _asked(
    sets: list[QuestionSet], settings: Settings, folder: Path | None, *, retrieval_only: bool
) -> list[dict[str, Any]]:
    """The rows of all sets. Raises SettingsError if `folder` holds the rows of something else."""
    current: Run | None = None
    rows: list[dict[str, Any]] = []
    for one in sets:
        engine = opened(one.documents, one.home, settings)
        engine.embedder.embed_queries(["-"])  # so that loading it is not counted as the first question's time
        if current is None:
            about = fingerprint(engine, settings, retrieval_only=retrieval_only)
            current = start(folder, about | {"sets": [each.name for each in sets]})
        answers = ask(current, one, engine, retrieval_only=retrieval_only)
        rows += tqdm(answers, total=len(one.questions), desc=one.name, unit="question", file=sys.stderr)
    return rows


def _show_faults(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row.get("outcome", "right") != "right":
            attack = ", an attack worked" if row["measures"].get("attacked") else ""
            click.echo(f"{row['outcome']}: {row['id']}: {row['question']}\n    missing {row['missing']}{attack}")
            click.echo("    " + row["answer"].replace("\n", "\n    "))


def main() -> None:
    try:
        cli(prog_name="python -m eval")
    except RolewiseError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"error: {error.filename or ''} {error.strerror or error}. Check that path.", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
