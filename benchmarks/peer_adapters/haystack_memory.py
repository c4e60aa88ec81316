"""Haystack: MarkdownToDocument, DocumentSplitter of 200 words, InMemoryDocumentStore, as its tutorials do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from haystack.components.converters import MarkdownToDocument
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import ComponentDevice
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)
from timing import Search, measure


def load(model: str) -> Any:
    cpu = ComponentDevice.from_str("cpu")
    embedders = (
        SentenceTransformersDocumentEmbedder(model=model, device=cpu, progress_bar=False, local_files_only=True),
        SentenceTransformersTextEmbedder(model=model, device=cpu, progress_bar=False, local_files_only=True),
    )
    for one in embedders:
        one.warm_up()
    return embedders


def build(embedder: Any, folder: Path) -> tuple[int, Search]:
    of_documents, of_text = embedder
    converter = MarkdownToDocument(progress_bar=False, store_full_path=True)
    documents = converter.run(sources=sorted(folder.rglob("*.md")))["documents"]
    passages = DocumentSplitter().run(documents=documents)["documents"]
    store = InMemoryDocumentStore()
    store.write_documents(of_documents.run(documents=passages)["documents"])
    retriever = InMemoryEmbeddingRetriever(store)

    def search(question: str, k: int) -> list[str]:
        vector = of_text.run(text=question)["embedding"]
        return [one.meta["file_path"] for one in retriever.run(query_embedding=vector, top_k=k)["documents"]]

    return store.count_documents(), search


measure(load, build)
