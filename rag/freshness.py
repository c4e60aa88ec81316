"""When the documents of an index version were reviewed or written, kept beside it: no index depends on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

DATES = "dates.json"
"""In the folder of a version, written by each build, also where the version was there already."""


def write_dates(dates: Mapping[str, str], folder: Path) -> None:
    """Keeps the date of each document, such as "2026-01-31", in the folder of a version."""
    aside = folder / f".{DATES}"
    aside.write_text(json.dumps(dates, indent=1) + "\n", encoding="utf-8")
    aside.replace(folder / DATES)


def read_dates(folder: Path) -> dict[str, str]:
    """By document; none where a version has no such file, or one that is damaged."""
    try:
        dates = json.loads((folder / DATES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(document): str(dated) for document, dated in dates.items()} if isinstance(dates, dict) else {}
