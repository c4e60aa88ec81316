"""The bundled guides, the real embedder and each real generator: from a question to a quotation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rag.__main__ import cli
from rag.chunking import embedded_text
from rag.models import pull
from rag.parts import make_embedder
from rag.settings import Settings
from rag.versions import read_texts
from rag.wiring import build_index, open_index
from tests.conftest import Endpoint

pytestmark = pytest.mark.models

QUESTION = "How much could a senior ML systems engineer make in the US?"
SOURCES = Path(__file__).parents[1] / "index" / "sources"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an index over the bundled guides."""
    pull("all-MiniLM-L6-v2", progress=lambda *_: None)
    folder = tmp_path_factory.mktemp("home")
    report, documents = build_index(Settings(home=folder), [SOURCES])
    assert (report.documents, report.cut, documents.skipped) == (5, 0, ())
    return folder


def ask(home: Path, *arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(
        cli, ["--home", str(home), "ask", QUESTION, "--json", *arguments], catch_exceptions=False
    )
    record: dict[str, Any] = json.loads(result.stdout)
    texts = {document.id: document.text for document in read_texts(home / "index" / "build").values()}
    for citation in record["citations"]:
        assert texts[citation["document"]][citation["start"] : citation["end"]] == citation["quote"]
        assert f"[{citation['marker']}]" in record["answer"]
    return record


def test_no_passage_is_longer_than_the_embedder_reads(home: Path) -> None:
    settings = Settings(home=home)
    embedder = make_embedder(settings)
    version = open_index(settings, embedder)
    assert len(version.passages) > 300
    for passage in version.passages:
        text = f"{passage.trail}\n{passage.text}"
        assert embedder.count(text) <= embedder.max_tokens == 256
        assert embedded_text(passage, count=embedder.count, limit=256) == text


def test_extractive_quotes_the_guide(home: Path) -> None:
    record = ask(home, "--generator", "extractive")
    assert record["status"] == "answered"
    assert record["citations"][0]["document"] == "ml-systems-engineer"
    assert "$153,000 to $267,000" in record["citations"][0]["quote"]
    assert record["generator"] == {"name": "extractive", "model": "extractive", "sha256": None}


def test_a_local_model_answers_with_the_same_quotation(
    home: Path, smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLEWISE_MODEL", str(smollm2))
    record = ask(home, "--generator", "local")
    assert any("$153,000 to $267,000" in citation["quote"] for citation in record["citations"])
    assert "could not answer" not in record["notice"]


def test_a_hosted_model_answers_with_the_same_quotation(
    home: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLEWISE_HOSTED_URL", endpoint.url)
    monkeypatch.setenv("ROLEWISE_HOSTED_KEY", endpoint.key)
    monkeypatch.setenv("ROLEWISE_HOSTED_MODEL", "smollm2-135m")
    monkeypatch.setenv("ROLEWISE_HOSTED_CONTEXT_TOKENS", "2048")
    record = ask(home, "--generator", "hosted")
    assert any("$153,000 to $267,000" in citation["quote"] for citation in record["citations"])
    assert endpoint.key not in json.dumps(record)
    assert "could not answer" not in record["notice"]


def test_an_endpoint_that_fails_gives_way_to_the_documents_own_words(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLEWISE_HOSTED_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("ROLEWISE_HOSTED_MODEL", "any")
    monkeypatch.setenv("ROLEWISE_HOSTED_RETRIES", "0")
    record = ask(home, "--generator", "hosted")
    assert record["generator"]["name"] == "extractive"
    assert "The hosted generator could not answer" in record["notice"]
    assert "$153,000 to $267,000" in record["answer"]
