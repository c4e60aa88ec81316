"""The command line: `python -m rag` or `rolewise`. Data on stdout, progress and errors on stderr.

Exit 0 done, 1 an expected failure with one line that names the remedy, 2 wrong usage, 130 ended by Ctrl-C. Each
command imports what it needs when it runs, so that `--help` is at once there and `search` loads no generator.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from rag import __version__
from rag.doctor import doctor
from rag.errors import RolewiseError
from rag.logbook import log, monitor
from rag.progress import Bars
from rag.promotion import promote, shadow

if TYPE_CHECKING:
    from rag.answering import Engine
    from rag.receipts import Door
    from rag.settings import Settings

SHOWN = 20
"""Skipped files that a build names."""
INTERRUPTED = 130
"""The exit status of what Ctrl-C ends, as shells have it."""
GENERATORS = click.Choice(["extractive", "local", "hosted"])
COMPLETE = "_ROLEWISE_COMPLETE"
"""The environment variable by which a shell asks for completions."""


def completing(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    def complete(context: click.Context, _: click.Parameter, typed: str) -> list[str]:
        from rag.completion import completed

        return completed(kind, context.find_root().params.get("home"), typed)

    return complete


generator_option = click.option("--generator", type=GENERATORS, help="Who writes the answer [default: local].")
role_option = click.option("--role", help="Only documents about this role.", shell_complete=completing("roles"))
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rolewise")
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Folder for everything that is written.")
@click.pass_context
def cli(context: click.Context, home: Path | None) -> None:
    """Questions answered from documents, every sentence with a quotation from the source."""
    context.obj = home


def settings_of(context: click.Context, **given: Any) -> Settings:
    from rag.settings import load_settings

    return load_settings(home=context.obj, **given)


def engine_of(context: click.Context, door: Door | None = None, **given: Any) -> Engine:
    from rag.wiring import open_engine

    return open_engine(settings_of(context, **given), door=door)


@cli.group()
def index() -> None:
    """Build index versions and look after them."""


@index.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--report", is_flag=True, help="Print what should be looked at in the documents, as `index inspect` does."
)
@click.pass_context
def build(context: click.Context, paths: tuple[Path, ...], report: bool) -> None:
    """Index the documents under PATHS [default: index/sources]."""
    from rag.inspection import as_text
    from rag.terminal import plain
    from rag.wiring import build_index, inspected

    settings = settings_of(context)
    built, documents = build_index(settings, paths, progress=Bars())
    click.echo(f"version    {built.version}{' (was there already)' if built.was_there else ''}")
    for name in ("documents", "sections", "passages", "tokens"):
        click.echo(f"{name:<10} {getattr(built, name):,}")
    if built.cut:
        click.echo(f"cut        {built.cut:,} sentences longer than the embedder reads were split")
    if not built.was_there:
        click.echo(f"embedded   {built.embedded:,}")
    click.echo(f"skipped    {len(documents.skipped):,}")
    for one in documents.skipped[:SHOWN]:
        click.echo(plain(f"  {one.source}: {one.reason}"))
    if len(documents.skipped) > SHOWN:
        click.echo(f"  and {len(documents.skipped) - SHOWN:,} more; see: python -m rag index inspect")
    if report:
        click.echo()
        click.echo(plain(as_text(inspected(settings, paths))))


@index.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@json_option
@click.pass_context
def inspect(context: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Check the documents under PATHS without indexing them: encodings, copies, languages, personal data and more."""
    from rag.inspection import as_record, as_text
    from rag.terminal import json_line, plain
    from rag.wiring import inspected

    found = inspected(settings_of(context), paths, progress=Bars())
    click.echo(json_line(as_record(found)) if as_json else plain(as_text(found)))


@index.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.pass_context
def register(context: click.Context, folder: Path | None) -> None:
    """Write FOLDER's sources.toml anew: which documents it holds, and their bytes."""
    from rag.sources import register_sources
    from rag.wiring import sources_of

    click.echo(register_sources(folder or sources_of(settings_of(context))))


@index.command(name="list")
@click.pass_context
def list_(context: click.Context) -> None:
    """Print the index versions, oldest first; the current one has a star."""
    from rag.errors import VersionError
    from rag.versions import current, read_manifest, vectors_line, versions

    folder = settings_of(context).build
    in_use = current(folder)
    for version in versions(folder):
        star = "*" if version == in_use else " "
        size = sum(path.stat().st_size for path in (folder / version).rglob("*") if path.is_file())
        try:
            manifest = read_manifest(folder, version)
            counts = manifest["counts"]
            what = f"{counts['documents']:>6,} documents  {counts['passages']:>8,} passages  {vectors_line(manifest)}"
        except VersionError as error:
            what = str(error)
        click.echo(f"{star} {version}  {what}  {_bytes(size)}")


@index.command()
@click.argument("document", shell_complete=completing("documents"))
@click.option(
    "--version", help="Of this index version [default: the current one].", shell_complete=completing("versions")
)
@click.pass_context
def text(context: click.Context, document: str, version: str | None) -> None:
    """Print DOCUMENT as stored: the text that the offsets of quotations speak of."""
    from rag.errors import SourceError
    from rag.terminal import plain
    from rag.versions import read_texts

    documents = read_texts(settings_of(context).build, version)
    if document not in documents:
        raise SourceError(f"no document is called {document!r}. Documents: {', '.join(documents)}.")
    whole = documents[document].text
    sys.stdout.write(plain(whole) if sys.stdout.isatty() else whole)


@index.command()
@click.argument("version", required=False, shell_complete=completing("versions"))
@click.pass_context
def verify(context: click.Context, version: str | None) -> None:
    """Check every file of VERSION against its manifest [default: the current one]."""
    from rag.errors import IndexDamaged
    from rag.stored import BUILD_COMMAND
    from rag.versions import current, faults, read_manifest, vectors_line

    folder = settings_of(context).build
    version = version or current(folder)
    if found := faults(folder / version):
        raise IndexDamaged(f"{'; '.join(found)}. Build the index again: {BUILD_COMMAND}")
    click.echo(f"{version} is sound. Vectors: {vectors_line(read_manifest(folder, version))}")


@index.command()
@click.argument("version", required=False, shell_complete=completing("versions"))
@click.pass_context
def rollback(context: click.Context, version: str | None) -> None:
    """Switch to VERSION, if it is sound [default: the one written before the current one]."""
    from rag.errors import IndexDamaged, IndexMissing
    from rag.parts import follow
    from rag.versions import current, faults, switch, versions

    folder = settings_of(context).build
    in_use = current(folder)
    if version is None:
        known = versions(folder)
        older = known[: known.index(in_use)] if in_use in known else known
        if not older:
            raise IndexMissing(f"there is no version before {in_use}. See: python -m rag index list")
        version = older[-1]
    if (folder / version).is_dir() and (found := faults(folder / version)):
        raise IndexDamaged(f"{found[0]}. Nothing was switched; see: python -m rag index list")
    switch(folder, version)
    follow(settings_of(context))
    click.echo(f"{in_use} -> {version}")


@index.command()
@click.option(
    "--keep", default=2, show_default=True, type=click.IntRange(min=0), help="Versions kept beside the current."
)
@click.pass_context
def prune(context: click.Context, keep: int) -> None:
    """Delete old index versions."""
    from rag.live import LiveRecord
    from rag.parts import follow
    from rag.versions import prune as prune_versions

    settings = settings_of(context)
    for version in prune_versions(settings.build, keep, LiveRecord.of(settings).needed()):
        click.echo(f"deleted {version}")
    follow(settings_of(context))


@cli.command()
@click.argument("question")
@click.option("-k", type=click.IntRange(1, 100), help="How many passages [default: 5].")
@role_option
@json_option
@click.pass_context
def search(context: click.Context, question: str, k: int | None, role: str | None, as_json: bool) -> None:
    """Print the passages nearest to QUESTION. No generator is loaded."""
    from rag.record import passage_record
    from rag.terminal import Status, json_line, look_of, passage
    from rag.words import stems

    with Status() as status:
        status("Opening the index …")
        engine = engine_of(context)
        found = engine.search(question, k=k, role=role)
    if as_json:
        record = {
            "question": question,
            "passages": [passage_record(one) for one in found],
            "index": {"version": engine.version.info.version, "embedder": engine.version.info.embedder},
        }
        click.echo(json_line(record))
    else:
        look, asked = look_of(sys.stdout), frozenset(stems(question))
        for number, one in enumerate(found, start=1):
            click.echo(passage(number, one, look, asked))


@cli.command()
@click.argument("question")
@generator_option
@role_option
@json_option
@click.pass_context
def ask(context: click.Context, question: str, generator: str | None, role: str | None, as_json: bool) -> None:
    """Answer QUESTION with quotations."""
    from rag.record import answer_record
    from rag.terminal import Status, json_line, show_answer

    with Status() as status:
        status("Opening the index …")
        engine = engine_of(context, "terminal", generator=generator)
        if as_json:
            status("Answering …")
            answer = engine.ask(question, role=role)
    if as_json:
        click.echo(json_line(answer_record(answer)))
    else:
        show_answer(engine, question, role=role, hint="See them whole: python -m rag search, with the same question.")


@cli.command()
@generator_option
@role_option
@click.option("--continue", "goes_on", is_flag=True, help="Go on with the newest conversation.")
@click.pass_context
def chat(context: click.Context, generator: str | None, role: str | None, goes_on: bool) -> None:
    """Ask and follow up in a conversation. Without a terminal each line of stdin is a question."""
    from rag.conversations import Store
    from rag.talking import Chat
    from rag.terminal import Status
    from rag.wiring import LiveEngine

    settings = settings_of(context, generator=generator)
    with Status() as status:
        status("Opening the index …")
        engine = LiveEngine(settings, door="terminal")
    with Store(settings.conversations) as store:
        conversation = Chat(engine, store, role=role, generator=generator)
        if goes_on:
            conversation.go_on()
        conversation.run()


@cli.command()
@click.argument("questions", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Answers, JSONL.")
@generator_option
@click.pass_context
def batch(context: click.Context, questions: Path, output: Path, generator: str | None) -> None:
    """Answer every row of QUESTIONS (JSONL: id, question, history, role). A second run goes on where one stopped."""
    from tqdm import tqdm

    from rag.batch import answer_row, answered

    rows = questions.read_text(encoding="utf-8").splitlines()
    rows = [row for row in rows if row.strip()]
    done = answered(output, rows)
    engine = engine_of(context, "batch", generator=generator)
    with output.open("a", encoding="utf-8") as file:
        for row in tqdm(rows[done:], initial=done, total=len(rows), unit="question", file=sys.stderr):
            file.write(json.dumps(answer_row(engine, row), ensure_ascii=False) + "\n")
            file.flush()


@cli.command()
@click.argument("questions", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option("--split", help="Only rows of this split [default: dev for the bundled questions, else all].")
@generator_option
@click.pass_context
def calibrate(context: click.Context, questions: Path | None, split: str | None, generator: str | None) -> None:
    """Learn from labelled QUESTIONS when to refuse, and store that with the index version.

    QUESTIONS are JSONL: question, answerable (true or false), history, role [default: the bundled ones on the guides].
    With the local generator its judgement is weighed too, which takes some seconds for each question.
    """
    from tqdm import tqdm

    from rag.answerability import STORED, write_fit
    from rag.calibration import bundled_questions, calibrated, examples, read_labelled, write_sample

    generator = generator or "extractive"
    settings = settings_of(context, generator=generator)
    engine = engine_of(context, generator=generator)
    path = questions or bundled_questions(engine.version)
    labelled = read_labelled(path, split or (None if questions else "dev"))
    found = list(tqdm(examples(engine, labelled, generator), total=len(labelled), unit="question", file=sys.stderr))
    model = "" if generator == "extractive" else engine.generator_named(generator).info.model
    rows = [one for one in found if one]
    fit, refusals = calibrated(rows, f"calibrated on {len(rows)} questions of {path.name}", model)
    write_fit(fit, settings.build / engine.version.info.version / STORED)
    write_sample(rows, fit, settings.build / engine.version.info.version)
    click.echo(f"version   {engine.version.info.version}")
    click.echo(f"questions {len(rows):,}, of which the documents answer {sum(row.answerable for row in rows):,}")
    if len(rows) < len(found):
        click.echo(f"left out  {len(found) - len(rows):,} that are answered role by role, which no fit decides")
    for kind, figures in refusals.items():
        click.echo(f"refusals  {kind}, each on questions the fit had not seen: {figures}")


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=7860, show_default=True, type=click.IntRange(0, 65535), help="0 takes any free port.")
@generator_option
@click.option("--open/--no-open", "open_browser", default=False, help="Open the page in a browser.")
@click.pass_context
def serve(context: click.Context, host: str, port: int, generator: str | None, open_browser: bool) -> None:
    """Open the chat in the browser."""
    from rag.wiring import PROJECT

    sys.path.insert(0, str(PROJECT))  # app.py lies beside the package
    from app import launch

    launch(settings_of(context, generator=generator), host=host, port=port, open_browser=open_browser)


@cli.command()
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Records, JSONL.")
@click.pass_context
def ratings(context: click.Context, output: Path) -> None:
    """Write the answers that were rated bad in the chat, for: python -m eval candidates OUTPUT -o QUESTIONS."""
    from rag.conversations import Store

    with Store(settings_of(context).conversations) as store:
        click.echo(f"{store.export(output):,} answers in {output}")


@cli.command()
@click.option("--http", is_flag=True, help="Serve over HTTP instead of stdin and stdout.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on, with --http.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="With --http.")
@generator_option
@click.pass_context
def mcp(context: click.Context, http: bool, host: str, port: int, generator: str | None) -> None:
    """Serve search, answers and documents to programs that speak the Model Context Protocol."""
    from rag.mcp import run_http, run_stdio
    from rag.safety import token_for
    from rag.wiring import LiveEngine

    settings = settings_of(context, generator=generator)
    with contextlib.redirect_stdout(sys.stderr):  # stdout carries the protocol and nothing else
        engine = LiveEngine(settings, door="mcp")
    if not http:
        run_stdio(engine)
        return
    token = token_for(host, settings.token.get_secret_value())
    if token and not settings.token.get_secret_value():
        click.echo(f"token: {token}", err=True)
    run_http(engine, host=host, port=port, token=token)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script by which SHELL completes `rolewise` with Tab; its last line tells how to enable it."""
    from rag.completion import completion_script

    click.echo(completion_script(cli, shell, COMPLETE))


@cli.group()
def models() -> None:
    """Pull models and see which are there."""


@models.command(name="list")
def models_list() -> None:
    """Print the models that can be pulled by name."""
    from rag.models import listing

    for row in listing():
        model = row.model
        state = f"pulled: {row.path}" if row.is_pulled else f"python -m rag models pull {model.name}"
        click.echo(f"{model.name:<20} {model.what:<10} {_bytes(model.size):>10}  {model.licence:<10}  {state}")


@models.command()
@click.argument("name")
def pull(name: str) -> None:
    """Fetch the model NAME, check its hash and keep it in the user's cache folder."""
    from rag.models import pull as pull_model

    click.echo(pull_model(name))


cli.add_command(doctor)


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


for command in (log, monitor, shadow, promote):
    cli.add_command(command)


def main() -> None:
    """Runs the command line: expected failures become one line and exit status 1, Ctrl-C becomes 130."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no “ or a line that is no text ends nothing
            stream.reconfigure(errors="replace" if stream is sys.stdin else "backslashreplace")
    logging.basicConfig(level=os.environ.get("ROLEWISE_LOG", "ERROR").upper(), format="%(message)s", stream=sys.stderr)
    name = "rolewise" if Path(sys.argv[0]).name == "rolewise" else "python -m rag"
    if os.environ.get(COMPLETE):
        from rag.completion import quote_for_bash

        quote_for_bash()
    try:
        sys.exit(cli(prog_name=name, complete_var=COMPLETE, standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(INTERRUPTED)  # sys.exit would wait for what a model is still reading
    except RolewiseError as error:
        _fail(str(error))
    except BrokenPipeError:  # the reader, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or ''} {error.strerror or error}. Check that path and the space on disk.")


def _fail(message: str) -> NoReturn:
    from rag.terminal import plain

    click.echo(plain(f"error: {message}"), err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
