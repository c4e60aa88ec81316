"""The command `doctor`: prints a line for each check of rag/checks.py, and ends with 1 if one failed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rag.checks import Finding

SIGNS = {"ok": "ok  ", "failed": "FAIL", "unused": "–   "}


@click.command()
@click.option("--offline", is_flag=True, help="Answer a question where no network can be reached, and nothing else.")
@click.option("--port", default=7860, show_default=True, type=click.IntRange(1, 65535), help="That should be free.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(context: click.Context, offline: bool, port: int, as_json: bool) -> None:
    """Check the set-up: packages, files, models, index, generators, disk, port. Ends with 1 if something is wrong."""
    from rag import checks
    from rag.settings import load_settings
    from rag.terminal import Status, json_line

    home: Path | None = context.obj
    found: list[Finding] = []
    if offline:
        with Status() as status:
            status("Answering without a network …")
            found.append(checks.offline(load_settings(home=home)))
    else:
        for one in checks.findings(home, port):
            found.append(one)
            if not as_json:
                click.echo(line_of(one))
    is_well = all(one.state != "failed" for one in found)
    if as_json:
        click.echo(json_line({"ok": is_well, "checks": [asdict(one) for one in found]}))
    elif offline:
        click.echo(line_of(found[0]))
    if not is_well:
        context.exit(1)


def line_of(finding: Finding) -> str:
    from rag.terminal import one_line

    return f"{SIGNS[finding.state]}  {finding.check:<10} {one_line(finding.said)}"
