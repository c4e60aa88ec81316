"""LlamaIndex: SimpleDirectoryReader, its SentenceSplitter of 1,024 tokens, its store in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from timing import Search, measure


def load(model: str) -> Any:
    return HuggingFaceEmbedding(model_name=model, device="cpu")


def build(embedder: Any, folder: Path) -> tuple[int, Search]:
    documents = SimpleDirectoryReader(str(folder), recursive=True).load_data()
    index = VectorStoreIndex.from_documents(documents, embed_model=embedder)

    def search(question: str, k: int) -> list[str]:
        found = index.as_retriever(similarity_top_k=k).retrieve(question)
        return [one.node.metadata["file_path"] for one in found]

    return len(index.docstore.docs), search


measure(load, build)
