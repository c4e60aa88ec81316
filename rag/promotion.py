"""The commands for trying a change and making it live: `python -m rag shadow` and `python -m rag promote`.

A candidate is a TOML file, or the name of one that was used before. docs/promotion.md tells how they go together.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rag.live import Candidate, Record
    from rag.settings import Settings


@click.command()
@click.argument("candidate", required=False)
@click.option(
    "--questions", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSONL, with known answers."
)
@click.option("--limit", type=click.IntRange(min=1), help="So many of the questions, evenly spaced through them.")
@click.option(
    "--tolerance", "tolerances", multiple=True, metavar="MEASURE=AMOUNT",
    help="How far a measure may fall, such as right=0.02; replaces the defaults.",
)  # fmt: skip
@click.option("--force", metavar="REASON", help="Make it live whatever the gate says; the reason is recorded.")
@click.option("--back", is_flag=True, help="Undo the last promotion.")
@click.option("--history", is_flag=True, help="Print what was promoted, refused and rolled back, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print what is live, or the history, as JSON.")
@click.pass_context
def promote(  # noqa: PLR0913, PLR0917 - one for each option
    context: click.Context,
    candidate: str | None,
    questions: Path | None,
    limit: int | None,
    tolerances: tuple[str, ...],
    force: str | None,
    back: bool,
    history: bool,
    as_json: bool,
) -> None:
    """Make CANDIDATE live if it answers no worse; without one, print what is live.

    What is live and CANDIDATE are asked questions with known answers. If a measure falls beyond its tolerance, nothing
    is switched and the exit status is 1. Afterwards answers are watched, and CANDIDATE is rolled back if they become
    worse.
    """
    from rag.guarding import look_after
    from rag.live import WENT_BACK, LiveRecord

    if [candidate is not None, back, history].count(True) > 1:
        raise click.UsageError("give a CANDIDATE, --back or --history.")
    if force is not None and not force.strip():
        raise click.UsageError("--force takes the reason, which is recorded.")
    settings = _settings(context)
    look_after(settings)
    record = LiveRecord.of(settings)
    if back:
        click.echo(f"{record.go_back(WENT_BACK, 'by hand')} is undone")
    elif history:
        _show_history(record.read(), as_json)
    elif candidate is None:
        _show_live(settings, record.settle(), as_json)
    else:
        _promote(settings, _candidate(settings, candidate), questions, limit, tolerances, force)


@click.command()
@click.argument("candidate")
@click.argument("action", type=click.Choice(["start", "stop", "report"]), required=False)
@click.option("--replay", metavar="N", type=click.IntRange(min=1), help="Ask it the newest N questions of the log now.")
@click.pass_context
def shadow(context: click.Context, candidate: str, action: str | None, replay: int | None) -> None:
    """Let CANDIDATE answer the questions that people ask, unseen by them, and report how it differs.

    From start to stop the chat, the API and MCP ask it in the background, when nothing else is to be answered.
    """
    from rag.live import LiveRecord, Shadow, now

    if (action is None) == (replay is None):
        raise click.UsageError("give start, stop or report, or --replay N.")
    settings = _settings(context)
    chosen = _candidate(settings, candidate)
    record = LiveRecord.of(settings)
    if action == "start":
        plan = Shadow(chosen.name, settings.shadow_share, settings.shadow_seconds, now())
        record.change(lambda one: replace(one, shadow=plan))
        budget = f"{plan.share:.0%} of the questions, {plan.seconds:,.0f} seconds a day"
        click.echo(f"{chosen.name} is in the shadow: {budget}")
    elif action == "stop":
        is_in = (now_in := record.read().shadow) is not None and now_in.candidate == chosen.name
        if is_in:
            record.change(lambda one: replace(one, shadow=None))
        click.echo(f"{chosen.name} is no longer in the shadow" if is_in else f"{chosen.name} was not in the shadow")
    else:
        if replay:
            _replay(settings, chosen, replay)
        _report(settings, chosen)


def _settings(context: click.Context) -> Settings:
    from rag.settings import load_settings

    return load_settings(home=context.find_root().obj)


def _candidate(settings: Settings, given: str) -> Candidate:
    """From the TOML file at that path, or the one that was known by this name last. Raises LiveError, SettingsError."""
    from rag.live import LiveRecord
    from rag.settings import Settings as Known
    from rag.wiring import BUILT_WITH, NOT_BEARING, as_built, as_live

    record = LiveRecord.of(settings)
    if not Path(given).is_file():
        return record.read().named(given)
    candidate = record.candidate_from(Path(given), (Known.model_fields.keys() - NOT_BEARING) | {"hosted_url"})
    live = as_live(settings)
    if candidate.index:  # an index version cannot be opened with another embedder than its own
        built = as_built(live, candidate.index)
        needs = {name: getattr(built, name) for name in BUILT_WITH if getattr(built, name) != getattr(live, name)}
        candidate = replace(candidate, settings={**candidate.settings, **needs})
    live.overlaid(candidate.settings)
    record.keep(candidate)
    if names := sorted(candidate.settings.keys() & settings.explicit):
        click.echo(f"The environment sets {', '.join(names)}, which goes before {candidate.name}.", err=True)
    return candidate


def _promote(
    settings: Settings,
    candidate: Candidate,
    questions: Path | None,
    limit: int | None,
    tolerances: tuple[str, ...],
    force: str | None,
) -> None:
    from rag.guarding import begin_watch
    from rag.live import FORCED, PROMOTED, REFUSED, LiveError, LiveRecord

    record = LiveRecord.of(settings)
    sha256 = candidate.sha256
    if force is None:
        if why := record.read().was_rolled_back(sha256):
            raise LiveError(f"{candidate.name} was rolled back: {why}. If it is to be tried again: --force REASON")
        faults, passed = _gate(settings, candidate, questions, limit, tolerances)
        if faults:
            record.note(REFUSED, candidate, faults)
            raise LiveError(f"{candidate.name} was refused: {faults}. Nothing was switched.")
        why = passed
    else:
        why = force.strip()
    watch = begin_watch(settings, candidate)
    record.promote(candidate, FORCED if force else PROMOTED, why, watch)
    click.echo(f"{candidate.name} is live")
    if watch is None:
        click.echo("It is not watched, for the settings receipts or watch_answers say so.", err=True)
    else:
        lasting = f"{settings.watch_answers} answers or {settings.watch_hours:g} hours"
        click.echo(f"It is watched for {lasting}, and held against {watch.before.n} answers before it.")


def _gate(
    settings: Settings, candidate: Candidate, questions: Path | None, limit: int | None, tolerances: tuple[str, ...]
) -> tuple[str, str]:
    """What became worse beyond its tolerance, "" if nothing did, and else what the gate found."""
    from eval import verdict
    from eval.gate import asked, compared
    from rag.calibration import bundled_questions
    from rag.wiring import opened_pair

    tolerated = verdict.amounts(tolerances) or verdict.DEFAULT_TOLERANCES
    live, other = opened_pair(settings, candidate)
    path = questions or settings.gate_questions
    questions_asked = asked(path or bundled_questions(live.version), None if path else "dev", limit)
    comparison = compared(live, other, questions_asked, settings.home / "var" / "gate")
    faults = verdict.breaches(comparison, tolerated)
    click.echo(verdict.text(comparison, faults))
    return "; ".join(faults), f"no measure fell beyond its tolerance on {comparison.n} questions"


def _replay(settings: Settings, candidate: Candidate, last: int) -> None:
    import time

    from tqdm import tqdm

    from rag.receipts import STOPPED
    from rag.shadowing import ShadowLog, answered, outcome_of
    from rag.wiring import open_candidate

    log = ShadowLog(settings.log)
    ids = [line.id for line in log.list(last=last) if line.status != STOPPED]
    engine = open_candidate(settings, candidate)
    for id_ in tqdm(ids, unit="question", file=sys.stderr):
        asked, start = outcome_of(log.get(id_), engine), time.monotonic()
        log.keep_shadow(id_, candidate.sha256, answered(engine, asked, candidate), time.monotonic() - start)


def _report(settings: Settings, candidate: Candidate) -> None:
    from rag.paired import as_text, compared
    from rag.shadowing import ShadowLog
    from rag.terminal import plain
    from rag.versions import read_texts, versions

    pairs = ShadowLog(settings.log).pairs(candidate.sha256)
    if not pairs:
        click.echo(f"{candidate.name} has answered nothing in the shadow yet")
        return
    named = {one.get("index", {}).get("version", "") for pair in pairs for one in (pair.given, pair.candidate)}
    texts = {version: read_texts(settings.build, version) for version in named.intersection(versions(settings.build))}
    click.echo(plain(as_text(compared(pairs, texts), candidate.name)))


def _show_history(record: Record, as_json: bool) -> None:
    from rag.terminal import json_line, plain

    for one in record.history:
        click.echo(json_line(asdict(one)) if as_json else plain(f"{one.at}  {one.what:<11}  {one.name}  {one.why}"))


def _show_live(settings: Settings, record: Record, as_json: bool) -> None:
    from rag.guarding import look_after
    from rag.terminal import json_line, plain
    from rag.versions import current

    facts: dict[str, Any] = {
        "live": record.live.name or "nothing was promoted",
        "index": current(settings.build),
        "settings": dict(record.live.settings),
        "prompts": record.live.prompts,
        "shadow": record.shadow.candidate if record.shadow else "",
        "watched": look_after(settings),
    }
    if as_json:
        click.echo(json_line(facts))
        return
    for line in _lines(facts):
        click.echo(plain(line))


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    for name, value in facts.items():
        shown = ", ".join(f"{key} = {one}" for key, one in value.items()) if isinstance(value, dict) else value
        if shown:
            yield f"{name:<10}{shown}"
