"""Nothing heavy is loaded by a command that does not use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rag.models import pull

PROJECT = Path(__file__).parents[1]
HEAVY = "torch sentence_transformers transformers gradio xllamacpp openai huggingface_hub lxml sklearn mcp uvicorn"
PROBE = f"""
import atexit, sys
atexit.register(lambda: print("loaded:", *[name for name in {HEAVY.split()!r} if name in sys.modules], file=sys.stderr))
from rag.__main__ import main
main()
"""


def loaded_by(*words: str) -> list[str]:
    run = subprocess.run([sys.executable, "-c", PROBE, *words], cwd=PROJECT, capture_output=True, text=True, check=True)
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("loaded:")]
    return line.split()[1:]


@pytest.mark.parametrize("words", [["--help"], ["models", "list"], ["index", "build", "--help"]], ids=" ".join)
def test_commands_about_commands_load_nothing_heavy(words: list[str]) -> None:
    assert loaded_by(*words) == []


@pytest.mark.models
def test_a_search_loads_neither_torch_nor_a_generator_nor_a_page(tmp_path: Path) -> None:
    pull("all-MiniLM-L6-v2")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "mill.md").write_text("# Mill\n\nThe mill grinds rye.\n", encoding="utf-8")
    home = ["--home", str(tmp_path)]
    assert "torch" not in loaded_by(*home, "index", "build", str(tmp_path / "docs"))
    assert loaded_by(*home, "search", "What grinds rye?") == []
    assert loaded_by(*home, "ask", "What grinds rye?", "--generator", "extractive") == []
    assert loaded_by(*home, "index", "list") == []
