"""Index versions: the same inputs give the same id, and what is opened is what was built."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from rag.errors import IndexDamaged, IndexMismatch, IndexMissing, ModelError, SourceError
from rag.indexing import Builder, BuildReport, finds_itself
from rag.parts import make_store
from rag.protocols import Vectors
from rag.sources import read_documents
from rag.vectors import FaissIndex
from rag.versions import (
    IndexVersion,
    current,
    faults,
    id_of,
    open_version,
    prune,
    read_manifest,
    read_texts,
    sealed,
    switch,
    vectors_line,
    versions,
)
from tests.conftest import HashingEmbedder


def build_from(folder: Path, into: Path, passage_tokens: int = 200) -> BuildReport:
    documents = read_documents([folder])
    return Builder(HashingEmbedder(), make_store(), passage_tokens).build(documents, into)


def reopen(folder: Path, **changed: object) -> IndexVersion:
    settings: dict[str, object] = {
        "embedder": "hashing",
        "embedder_sha256": "0" * 64,
        "passage_tokens": 200,
        "store": make_store(),
    }
    return open_version(folder, **{**settings, **changed})  # type: ignore[arg-type]


def test_what_is_opened_is_what_was_built(shelf: Path, tmp_path: Path) -> None:
    report = build_from(shelf, tmp_path / "build")
    assert (report.documents, report.sections, report.passages, report.cut) == (2, 4, 4, 0)
    version = reopen(tmp_path / "build")
    assert version.info.version == report.version
    assert {one.id: one for one in read_documents([shelf])} == version.documents
    assert [passage.id for passage in version.passages] == [
        "baker:12-96",
        "baker:106-203",
        "miller:13-57",
        "miller:65-118",
    ]
    assert all(version.documents[p.document].text[p.start : p.end] == p.text for p in version.passages)
    rows = version.rows_of(["Miller"])
    assert rows is not None
    assert rows.tolist() == [2, 3]
    assert version.rows_of([]) is None


def test_the_same_inputs_give_the_same_id_and_are_not_built_again(shelf: Path, tmp_path: Path) -> None:
    first = build_from(shelf, tmp_path / "one")
    assert build_from(shelf, tmp_path / "two").version == first.version
    assert build_from(shelf, tmp_path / "one") == BuildReport(first.version, 2, 4, 4, first.tokens, 0, was_there=True)


def test_another_text_or_setting_gives_another_id(shelf: Path, tmp_path: Path) -> None:
    ids = {build_from(shelf, tmp_path / "build").version, build_from(shelf, tmp_path / "build", 100).version}
    (shelf / "baker.md").write_text("Bakers bake.")
    ids.add(build_from(shelf, tmp_path / "build").version)
    assert len(ids) == 3
    assert set(versions(tmp_path / "build")) == ids


def test_an_index_that_does_not_match_its_settings_is_refused_with_the_command_that_mends_it(
    shelf: Path, tmp_path: Path
) -> None:
    build_from(shelf, tmp_path)
    with pytest.raises(
        IndexMismatch,
        match=r"built with the embedder hashing \(00000000\), the settings ask for e5 \(ffffffff\)\. Build it again: python -m rag index build",
    ):
        reopen(tmp_path, embedder="e5", embedder_sha256="f" * 64)
    with pytest.raises(IndexMismatch, match="up to 200 tokens, the settings ask for 50"):
        reopen(tmp_path, passage_tokens=50)


def test_a_missing_index_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(IndexMissing, match="there is no index in .* Build it: python -m rag index build"):
        current(tmp_path)


def test_no_documents_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no document to index"):
        Builder(HashingEmbedder(), make_store(), 200).build([], tmp_path)


def test_an_altered_file_is_found_and_the_next_build_mends_it(shelf: Path, tmp_path: Path) -> None:
    home = tmp_path / build_from(shelf, tmp_path).version
    assert faults(home) == []
    with (home / "vectors.faiss").open("r+b") as file:
        file.seek(60)
        file.write(b"\xff")
    (home / "lexical" / "stems.npy").unlink()
    assert faults(home) == [f"{home}/lexical/stems.npy is missing", f"{home}/vectors.faiss was altered"]
    assert not build_from(shelf, tmp_path).was_there
    assert faults(home) == []


def test_a_damaged_file_is_named(shelf: Path, tmp_path: Path) -> None:
    home = tmp_path / build_from(shelf, tmp_path).version
    (home / "vectors.faiss").write_bytes(b"IxFI")
    with pytest.raises(IndexDamaged, match=r"vectors\.faiss was altered\. Build the index again: python -m rag index"):
        reopen(tmp_path)
    (home / "passages.npy").unlink()
    with pytest.raises(IndexDamaged, match=r"passages\.npy is missing"):
        reopen(tmp_path)
    (home / "manifest.json").write_text("{}")
    with pytest.raises(IndexDamaged, match=r"manifest\.json is not a readable manifest"):
        reopen(tmp_path)


def test_a_version_of_a_newer_program_is_refused(shelf: Path, tmp_path: Path) -> None:
    path = tmp_path / build_from(shelf, tmp_path).version / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["inputs"]["format"] = 99
    path.write_text(json.dumps(manifest))
    with pytest.raises(IndexMismatch, match="written by a newer Rolewise"):
        reopen(tmp_path)


def test_switching_back_and_pruning(shelf: Path, tmp_path: Path) -> None:
    first = build_from(shelf, tmp_path).version
    (shelf / "baker.md").write_text("Bakers bake.")
    second = build_from(shelf, tmp_path).version
    assert current(tmp_path) == second
    switch(tmp_path, first)
    assert reopen(tmp_path).documents["baker"].title == "Baker"
    assert prune(tmp_path, keep=0) == [second]
    assert versions(tmp_path) == [first]
    with pytest.raises(IndexMissing, match=r"there is no index version 'none'"):
        switch(tmp_path, "none")


def test_the_stored_text_is_what_offsets_speak_of(shelf: Path, tmp_path: Path) -> None:
    build_from(shelf, tmp_path)
    baker = read_texts(tmp_path)["baker"]
    assert baker.text[40:66] == "Bern: 61,000 francs a year"


def test_progress_is_told_from_none_to_all(shelf: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    builder = Builder(HashingEmbedder(), make_store(), 200)
    builder.build(read_documents([shelf]), tmp_path, lambda *step: told.append(step))
    assert told == [("indexing", 0, 2), ("indexing", 1, 2), ("indexing", 2, 2)]


def test_sentences_of_a_passage_know_a_lead_that_stands_in_another_passage(
    write: Callable[[str, str], Path], open_shelf: Callable[[Path], IndexVersion]
) -> None:
    entries = "\n".join(f"- entry {number} {'word ' * 40}" for number in range(12))
    folder = write("long/list.md", f"They are:\n\n{entries}\n").parent
    version = open_shelf(folder)
    assert len(version.passages) == 3
    assert {one.lead for one in version.sentences(version.passages[2])} == {"They are:"}


def test_rows_of_a_large_index_find_themselves_and_no_other_does() -> None:
    vectors = np.random.default_rng(0).standard_normal((10_000, 384), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = FaissIndex.build(vectors)
    rows = np.arange(0, len(vectors), 50)
    assert all(finds_itself(index, row, vectors[row]) for row in map(int, rows))
    assert not any(finds_itself(index, row, vectors[row + 1]) for row in map(int, rows))


def test_an_index_of_an_older_format_names_the_command(shelf: Path, tmp_path: Path) -> None:
    version = build_from(shelf, tmp_path).version
    manifest = json.loads((tmp_path / version / "manifest.json").read_text())
    inputs = manifest["inputs"] | {"format": 2}
    old = id_of(inputs)
    (tmp_path / version).rename(tmp_path / old)
    text = json.dumps(sealed({**manifest, "version": old, "inputs": inputs}))
    (tmp_path / old / "manifest.json").write_text(text)
    for opened in (lambda: reopen(tmp_path, version=old), lambda: read_texts(tmp_path, old)):
        with pytest.raises(
            IndexMismatch,
            match=f"index {old} was written by an older Rolewise. Build it again: python -m rag index build",
        ):
            opened()


def test_what_was_measured_of_the_vectors_is_in_the_manifest_and_not_in_the_id(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_from(shelf, tmp_path / "one").version
    assert read_manifest(tmp_path / "one", first)["vectors"] == {"factory": "Flat", "recall@10": 1.0}
    monkeypatch.setattr("rag.vectors.MOST_PLAIN", 1)
    second = build_from(shelf, tmp_path / "two").version
    assert read_manifest(tmp_path / "two", second)["vectors"]["factory"] == "SQfp16"
    assert first == second
    assert reopen(tmp_path / "two").vectors.search(HashingEmbedder().embed_queries(["grain"]), 1)[1].tolist() == [[3]]


def test_how_vectors_are_kept_is_said_in_a_line() -> None:
    measured = {"factory": "IVF4000,SQ8", "nprobe": 16, "recall@10": 0.9715, "measured_on": 200}
    assert vectors_line({"vectors": measured}) == "IVF4000,SQ8, 16 lists searched, recall@10 0.972"
    assert vectors_line({"vectors": {"factory": "Flat", "recall@10": 1.0}}) == "Flat, exact"
    walked = {"engine": "postgresql", "graph": True, "recall@10": 0.9, "measured_on": 50}
    assert vectors_line({"vectors": walked}) == "recall@10 0.900, set postgres_ef_search higher"
    assert vectors_line({"vectors": walked | {"recall@10": 0.95}}) == "recall@10 0.950"
    walked["ef_search"] = 400
    assert vectors_line({"vectors": walked}) == "ef_search 400, recall@10 0.900, set postgres_ef_search higher"
    assert vectors_line({"vectors": walked | {"ef_search": 1000}}) == "ef_search 1000, recall@10 0.900"  # and cannot be
    assert vectors_line({}) == ""


def test_documents_that_hold_headings_alone_are_an_error(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    folder = write("bare/bare.md", "# Bare\n\n## Alone\n").parent
    with pytest.raises(SourceError, match="there is no document to index"):
        build_from(folder, tmp_path / "build")


def test_vectors_wait_in_a_file_in_the_order_of_their_rows(
    write: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.indexing.FIRST", 2)
    monkeypatch.setattr("rag.indexing.WINDOW", 5)
    for number in range(17):
        folder = write(f"many/{number}.md", f"# D{number}\n\nStone {number} {'lies here ' * (number % 4)}.\n").parent
    assert build_from(folder, tmp_path / "build").embedded == 17
    version = reopen(tmp_path / "build")
    assert sorted(path.name for path in (tmp_path / "build" / version.info.version).iterdir()) == [
        "catalogue.json", "documents.jsonl", "documents.npy", "lexical", "manifest.json", "passages.npy",
        "vectors.faiss", "words.json",
    ]  # fmt: skip
    embedder = HashingEmbedder()
    for row, passage in enumerate(version.passages):
        vector = embedder.embed_passages([f"{passage.trail}\n{passage.text}"])
        assert version.vectors.search(vector, 1)[1].tolist() == [[row]]


def test_an_embedder_that_fails_ends_the_build(shelf: Path, tmp_path: Path) -> None:
    class Failing(HashingEmbedder):
        def embed_passages(self, texts: Sequence[str]) -> Vectors:
            raise ModelError("the embedder has no weights.")

    with pytest.raises(ModelError, match="no weights"):
        Builder(Failing(), make_store(), 200).build(read_documents([shelf]), tmp_path)
    assert versions(tmp_path) == []
