"""Progress of long work, for people at a terminal."""

from __future__ import annotations

import sys
from typing import Any


class Bars:
    """Draws a progress bar for each stage that reports."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if stage != self._stage:
            self._stage = stage
            self._bar = tqdm(total=total, desc=stage, file=sys.stderr, unit="")
        self._bar.update(done - self._bar.n)
        if done == total:
            self._bar.close()
