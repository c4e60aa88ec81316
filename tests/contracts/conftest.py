"""Models that the contract suites share, pulled once and kept in the user's cache folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.models import pull


@pytest.fixture(scope="session")
def smollm2() -> Path:
    return pull("smollm2-135m", progress=lambda *_: None)
