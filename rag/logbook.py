"""The commands over the log of answers: `python -m rag log list | show | replay | delete`, and `monitor`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rag.receipts import Line, Receipt
    from rag.settings import Settings

SHOWN = 20
"""Receipts that are listed if no number is given."""
LONGEST_QUESTION = 60
"""Characters of a question in the list."""


@click.group()
def log() -> None:
    """Look at what was asked and answered, ask it again, and delete it."""


@log.command(name="list")
@click.option("--last", default=SHOWN, show_default=True, type=click.IntRange(min=1), help="How many at the most.")
@click.option(
    "--status",
    type=click.Choice(["answered", "partial", "not_found", "error", "stopped"]),
    help="Only those that ended so.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a receipt a line, whole.")
@click.pass_context
def list_(context: click.Context, last: int, status: str | None, as_json: bool) -> None:
    """Print the newest answers, the newest last."""
    from rag.terminal import json_line, plain
    from rag.wiring import receipts_in

    receipts = receipts_in(_settings(context))
    for line in receipts.list(last=last, status=status):
        click.echo(json_line(receipts.get(line.id).as_json()) if as_json else plain(_line(line)))


@log.command()
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def show(context: click.Context, id: str, as_json: bool) -> None:  # noqa: A002 - as the command names it
    """Print the receipt ID: what was asked, what was answered, by what and from what."""
    from rag.terminal import json_line, plain
    from rag.wiring import receipts_in

    settings = _settings(context)
    receipt = receipts_in(settings).get(id)
    rating = _verdicts(settings).get(receipt.id)
    if as_json:
        click.echo(json_line(receipt.as_json() | {"rating": rating}))
    else:
        click.echo(plain(_shown(receipt, rating)))


@log.command()
@click.argument("id")
@click.option("--current", is_flag=True, help="Over the current index version, whichever it was answered from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def replay(context: click.Context, id: str, current: bool, as_json: bool) -> None:  # noqa: A002
    """Ask the question of receipt ID again and show what differs. Exit 0 if the answer is the same, else 1.

    It is asked with the generator and over the index version of its receipt, if that is still there.
    """
    from rag.replaying import as_record, as_text, replayed
    from rag.terminal import Status, json_line, plain
    from rag.versions import versions
    from rag.watching import WatchedEngine
    from rag.wiring import as_built, open_engine, receipts_in

    settings = _settings(context)
    receipt = receipts_in(settings).get(id)
    version = receipt.record.get("index", {}).get("version", "")
    if not current and version not in versions(settings.build):
        click.echo(f"The index version {version or '(none)'} is gone; asking the current one.", err=True)
        current = True
    settings = settings.model_copy(
        update={"generator": receipt.asked_for, "model": receipt.settings.get("model", settings.model)}
    )
    with Status() as status:
        status("Opening the index …")
        engine = open_engine(settings) if current else open_engine(as_built(settings, version), version)
        status("Answering …")
        now = engine.settings if isinstance(engine, WatchedEngine) else {}
        found = replayed(engine, receipt, now)
    click.echo(json_line(as_record(found, receipt)) if as_json else plain(as_text(found)))
    sys.exit(not found.is_same)


@log.command()
@click.argument("id", required=False)
@click.option("--all", "everything", is_flag=True, help="All receipts.")
@click.option("--before", metavar="DATE", help="Those written before this day, such as 2026-01-31.")
@click.pass_context
def delete(context: click.Context, id: str | None, everything: bool, before: str | None) -> None:  # noqa: A002
    """Delete the receipt ID, all, or old ones, from the disk too."""
    from rag.wiring import receipts_in

    if [id is not None, everything, before is not None].count(True) != 1:
        raise click.UsageError("give an ID, --all or --before DATE.")
    receipts = receipts_in(_settings(context))
    if id is not None:
        receipts.delete(id)
        gone = 1
    else:
        gone = receipts.delete_all() if everything else receipts.delete_before(str(before))
    click.echo(f"deleted {gone:,} receipt{'' if gone == 1 else 's'}")


@click.command()
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 3650), help="How many to look back.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def monitor(context: click.Context, days: int, as_json: bool) -> None:
    """Print how the answers of the last days went. Exit 1 when something should be looked at."""
    from rag.monitoring import as_text
    from rag.overview import Overview
    from rag.terminal import Status, json_line, plain
    from rag.wiring import open_engine, receipts_in

    settings = _settings(context)
    with Status() as status:
        status("Opening the index …")
        engine = open_engine(settings)
        found = Overview(
            lambda: engine,
            receipts_in(settings),
            settings.build,
            verdicts=lambda: _verdicts(settings),
            freshness_days=settings.freshness_days,
        ).report(days)
    click.echo(json_line(found.as_json()) if as_json else plain(as_text(found)))
    sys.exit(bool(found.problems))


def _settings(context: click.Context) -> Settings:
    from rag.settings import load_settings

    return load_settings(home=context.find_root().obj)


def _verdicts(settings: Settings) -> Mapping[str, str]:
    """What was thought of answers of the chat, by the ids of their receipts."""
    from rag.conversations import Store

    if not settings.conversations.is_file():
        return {}
    with Store(settings.conversations) as store:
        return store.verdicts()


def _line(line: Line) -> str:
    question = " ".join(line.question.split())
    short = question if len(question) <= LONGEST_QUESTION else question[: LONGEST_QUESTION - 1] + "…"
    seconds = "" if line.facts.total is None else f"{line.facts.total / 1000:.1f} s"
    return f"{line.id:<12} {line.at}  {line.door:<8} {line.status:<9} {line.facts.generator:<10} {seconds:>7}  {short}"


def _shown(receipt: Receipt, rating: str | None) -> str:
    record = receipt.record
    writer, index = record.get("generator", {}), record.get("index", {})
    model = "" if writer.get("model") == writer.get("name") else writer.get("model", "")
    facts: dict[str, Any] = {
        "receipt": receipt.id,
        "written": receipt.at,
        "through": receipt.door,
        "status": receipt.status,
        "rated": rating,
        "question": record["question"],
        "read as": record.get("read_as"),
        "role": receipt.role,
        "after": f"{len(receipt.history)} messages" if receipt.history else "",
        "replaced": ", ".join(receipt.redacted),
        "error": record.get("error"),
        "notice": record.get("notice"),
        "generator": " ".join(filter(None, [writer.get("name"), model, writer.get("sha256")])),
        "asked for": receipt.asked_for if receipt.asked_for != writer.get("name") else "",
        "index": " ".join(filter(None, [index.get("version"), index.get("embedder")])),
        "prompt": record.get("prompt_sha256"),
        "program": receipt.rolewise,
        "unanswerable": record.get("unanswerable"),
        "signals": _pairs(receipt.signals),
        "times (ms)": _pairs(record.get("timings_ms", {})),
        "settings": json.dumps(receipt.settings, ensure_ascii=False, sort_keys=True),
    }
    lines = [f"{name:<13}{value}" for name, value in facts.items() if value not in (None, "")]
    lines += ["", record["answer"]] if record["answer"] else []
    lines += [f"[{one['marker']}] {one['document']}:{one['start']}-{one['end']} “{one['quote']}”"
              for one in record["citations"]]  # fmt: skip
    lines += [f"struck: {one['sentence']} ({one['reason']})" for one in record["struck"]]
    lines += [""] if record["passages"] else []
    lines += [f"{one['id']}  {one['score']:.4f}  {_pairs(one['scores'])}" for one in record["passages"]]
    return "\n".join(lines)


def _pairs(values: Any) -> str:
    return ", ".join(f"{name} {value:.3f}".rstrip("0").rstrip(".") for name, value in values.items())
