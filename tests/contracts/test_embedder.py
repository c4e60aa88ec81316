"""Every embedder: unit rows in order, nothing cut in silence, the same text the same vector."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rag.bert import BertEmbedder, is_bert
from rag.embedding import SentenceTransformersEmbedder, has_cuda
from rag.errors import ModelError
from rag.models import pull, sha256_of
from rag.parts import make_embedder
from rag.protocols import Embedder, Vectors
from rag.settings import Settings
from tests.conftest import HashingEmbedder

TEXTS = ["A baker bakes bread.", "Pay in Bern: 61,000 francs.", "x", "The baker, who was old, baked on. " * 6]


NAMES = ["hashing", *(pytest.param(one, marks=pytest.mark.models) for one in ("sentence-transformers", "openvino"))]


@pytest.fixture(params=NAMES, scope="module")
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "hashing":
        return HashingEmbedder()
    folder = pull("all-MiniLM-L6-v2")
    kind = SentenceTransformersEmbedder if request.param == "sentence-transformers" else BertEmbedder
    return kind(folder, name="all-MiniLM-L6-v2", sha256="")


def cosines(one: Vectors, other: Vectors) -> Vectors:
    rows: Vectors = np.sum(one * other, axis=1)
    return rows


def test_rows_are_unit_float32_in_the_order_of_the_texts(embedder: Embedder) -> None:
    together = embedder.embed_passages(TEXTS)
    assert together.shape == (len(TEXTS), embedder.dimension)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    alone = np.vstack([embedder.embed_passages([text]) for text in TEXTS])
    np.testing.assert_allclose(cosines(together, alone), 1.0, atol=1e-4)  # no digit of one text hangs on another


def test_no_texts_give_no_rows(embedder: Embedder) -> None:
    assert embedder.embed_queries([]).shape == (0, embedder.dimension)


def test_a_text_is_nearest_to_the_question_about_it(embedder: Embedder) -> None:
    scores = embedder.embed_queries(["What is the pay in Bern?"]) @ embedder.embed_passages(TEXTS).T
    assert int(np.argmax(scores)) == 1


def test_counts_grow_with_the_text(embedder: Embedder) -> None:
    counts = [embedder.count(" ".join(["bread"] * words)) for words in (1, 10, 300)]
    assert counts == sorted(set(counts))
    assert counts[-1] > embedder.max_tokens > counts[1]


def test_tokens_are_unit_rows_with_the_spans_of_their_words(embedder: Embedder) -> None:
    (found,) = embedder.embed_tokens(["The bakers' rye"])
    assert dict.fromkeys(found.spans) == dict.fromkeys([(0, 3), (4, 10), (10, 11), (12, 15)]) or (
        found.spans == ((0, 3), (4, 10), (12, 15))  # a marker of the plural is no word of its own to every embedder
    )
    np.testing.assert_allclose(np.linalg.norm(found.tokens, axis=1), 1.0, atol=1e-5)
    assert found.text @ embedder.embed_queries(["The bakers' rye"])[0] > 0.999
    assert embedder.embed_tokens([]) == []


@pytest.mark.models
def test_the_fast_way_gives_the_vectors_of_the_reference() -> None:
    """Texts of many lengths, more than one batch, one of them cut; in single precision, and in the passages' own."""
    folder = pull("all-MiniLM-L6-v2")
    reference = SentenceTransformersEmbedder(folder, name="reference", sha256="")
    fast = BertEmbedder(folder, name="fast", sha256="")
    texts = [f"{'The mill grinds rye. ' * (number % 60)}Stone {number}, älter als 1750." for number in range(61)]
    expected = reference.embed_passages(texts)
    np.testing.assert_allclose(fast.embed_queries(texts), expected, atol=1e-5)
    assert cosines(fast.embed_passages(texts), expected).min() > 0.995  # they are kept in 8 bits
    for one, other in zip(fast.embed_tokens(texts[:40]), reference.embed_tokens(texts[:40]), strict=True):
        assert one.spans == other.spans
        assert cosines(one.tokens, other.tokens).min() > 0.999
        assert one.text @ other.text > 0.999


@pytest.mark.models
def test_threads_that_embed_at_once_get_what_each_would_alone() -> None:
    fast = BertEmbedder(pull("all-MiniLM-L6-v2"), name="fast", sha256="")
    alone = [fast.embed_queries([text]) for text in TEXTS]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: fast.embed_queries([text]), TEXTS * 5))
    for number, vectors in enumerate(together):
        np.testing.assert_array_equal(vectors, alone[number % len(TEXTS)])


@pytest.mark.models
def test_only_bert_with_a_known_pooling_takes_the_fast_way(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(pull("all-MiniLM-L6-v2"), folder)
    assert is_bert(folder)
    for name, key, value in [
        ("config.json", "model_type", "mpnet"),
        ("config.json", "position_embedding_type", "relative_key"),
        ("1_Pooling/config.json", "pooling_mode_max_tokens", True),
    ]:
        path = folder / name
        before = path.read_text(encoding="utf-8")
        path.write_text(json.dumps({**json.loads(before), key: value}), encoding="utf-8")
        assert not is_bert(folder), key
        path.write_text(before, encoding="utf-8")
    assert is_bert(folder)
    (folder / "modules.json").unlink()
    assert not is_bert(folder)


@pytest.mark.models
def test_a_damaged_model_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(pull("all-MiniLM-L6-v2"), folder)
    (folder / "model.safetensors").write_bytes(b"\x08" + bytes(20))
    with pytest.raises(ModelError, match=r"Remove that folder and pull it again: python -m rag models pull m"):
        BertEmbedder(folder, name="m", sha256="").embed_queries(["x"])


@pytest.mark.models
def test_word_pieces_are_counted_as_the_model_reads_them() -> None:
    folder = pull("all-MiniLM-L6-v2")
    embedder = make_embedder(Settings())
    assert embedder.sha256 == sha256_of(Path(folder))
    assert (embedder.dimension, embedder.max_tokens) == (384, 256)
    assert embedder.count("Embeddings") == 6  # [CLS] em ##bed ##ding ##s [SEP]


@pytest.mark.models
@pytest.mark.skipif(has_cuda(), reason="there is a card here")
def test_a_card_is_used_for_builds_only_and_a_missing_one_is_told() -> None:
    pull("all-MiniLM-L6-v2")
    asked = Settings(device="cuda")
    assert isinstance(make_embedder(Settings(), for_many=True), BertEmbedder)
    assert isinstance(make_embedder(asked), BertEmbedder)
    with pytest.raises(ModelError, match=r"cannot be loaded on cuda \(.+\)\. Set ROLEWISE_DEVICE=cpu"):
        make_embedder(asked, for_many=True).embed_passages(["A mill."])


@pytest.mark.models
@pytest.mark.skipif(not has_cuda(), reason="no card with its driver and a torch built for it")
def test_a_card_gives_the_vectors_of_the_processor() -> None:
    folder = pull("all-MiniLM-L6-v2")
    texts = [f"{'The mill grinds rye. ' * (number % 70)}Stone {number}." for number in range(600)]
    on_card = SentenceTransformersEmbedder(folder, name="card", sha256="", device="cuda").embed_passages(texts)
    assert cosines(on_card, BertEmbedder(folder, name="fast", sha256="").embed_queries(texts)).min() > 0.999
