"""Every embedder: unit rows in order, nothing cut in silence, the same text the same vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rag.models import pull, sha256_of
from rag.protocols import Embedder
from rag.settings import Settings
from rag.wiring import make_embedder
from tests.conftest import HashingEmbedder

TEXTS = ["A baker bakes bread.", "Pay in Bern: 61,000 francs.", "x", "The baker, who was old, baked on. " * 6]


@pytest.fixture(params=["hashing", pytest.param("sentence-transformers", marks=pytest.mark.models)], scope="module")
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "hashing":
        return HashingEmbedder()
    pull("all-MiniLM-L6-v2")
    return make_embedder(Settings())


def test_rows_are_unit_float32_in_the_order_of_the_texts(embedder: Embedder) -> None:
    together = embedder.embed_passages(TEXTS)
    assert together.shape == (len(TEXTS), embedder.dimension)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    alone = np.vstack([embedder.embed_passages([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_no_texts_give_no_rows(embedder: Embedder) -> None:
    assert embedder.embed_queries([]).shape == (0, embedder.dimension)


def test_a_text_is_nearest_to_the_question_about_it(embedder: Embedder) -> None:
    scores = embedder.embed_queries(["What is the pay in Bern?"]) @ embedder.embed_passages(TEXTS).T
    assert int(np.argmax(scores)) == 1


def test_counts_grow_with_the_text(embedder: Embedder) -> None:
    counts = [embedder.count(" ".join(["bread"] * words)) for words in (1, 10, 300)]
    assert counts == sorted(set(counts))
    assert counts[-1] > embedder.max_tokens > counts[1]


@pytest.mark.models
def test_word_pieces_are_counted_as_the_model_reads_them() -> None:
    folder = pull("all-MiniLM-L6-v2")
    embedder = make_embedder(Settings())
    assert embedder.sha256 == sha256_of(Path(folder))
    assert (embedder.dimension, embedder.max_tokens) == (384, 256)
    assert embedder.count("Embeddings") == 6  # [CLS] em ##bed ##ding ##s [SEP]
