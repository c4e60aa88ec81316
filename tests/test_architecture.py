"""The layers of the house: a file imports only from layers below its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
LAYERS = [
    "types errors protocols settings progress parsed encodings files mapped freshness",
    "words chunking figures kinds roles following introductions orders asides spelling fusion statements prompts questions choosing packing citations record repeats likeness ports safety confidence significance redaction",
    "readers cache pages tokens wordpieces embedding bert sampling vectors lexical extractive llama hosted models logistic languages",
    "conversations isolation readings sources inspection stored versions indexing retrieval postgres postgres_search evidence comparing verification answerability calibration answering slots receipts watching replaying monitoring metrics tracing live guarding paired yielding shadowing ahead",
    "parts",
    "wiring mcp api web history pulling terminal batch",
    "uploads server talking completion offline",
    "library overview",
    "logbook checks promotion",
    "doctor",
    "__main__",
]
"""Of the files of the package, and of its one package, `readers`."""
LAYER = {name: number for number, layer in enumerate(LAYERS) for name in layer.split()}
FILES = sorted((PROJECT / "rag").glob("**/*.py"))


def unit_of(path: Path) -> str:
    return path.relative_to(PROJECT / "rag").parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Names of the package's other modules that a file imports anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "rag":
                found |= {alias.name for alias in node.names}
            elif node.module.startswith("rag."):
                found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("rag.")}
    return found - {"__version__", unit_of(path)}


def test_every_file_has_a_layer() -> None:
    assert {unit_of(path) for path in FILES} - {"__init__"} == set(LAYER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_file_imports_only_from_layers_below(path: Path) -> None:
    if unit_of(path) == "__init__":
        assert imports_of(path) == set()
        return
    same_layer_is_allowed = LAYER[unit_of(path)] in (0, 1, 2, 3)  # types know errors; one stage calls the one before it
    limit = LAYER[unit_of(path)] + same_layer_is_allowed
    assert {name for name in imports_of(path) if LAYER[name] >= limit} == set()


def test_there_is_no_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        graph.setdefault(unit_of(path), set()).update(imports_of(path))
    while free := {name for name, needs in graph.items() if not needs}:
        graph = {name: needs - free for name, needs in graph.items() if name not in free}
    assert graph == {}


def test_only_parts_names_adapters() -> None:
    adapters = {"bert", "embedding", "vectors", "lexical", "extractive", "llama", "hosted"}
    users = {unit_of(path) for path in FILES if imports_of(path) & adapters}
    assert users == {"parts"}


@pytest.mark.parametrize("module", ["rag", "rag.__main__", "rag.wiring", "rag.parts", "rag.answering"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    heavy = "torch faiss gradio sentence_transformers transformers openvino bm25s xllamacpp openai tiktoken huggingface_hub".split()
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert run.stdout.strip() == "[]"
