"""LangChain: DirectoryLoader with TextLoader, the tutorial's splitter (1,000 characters, 200 of them shared), FAISS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain_community.document_loaders import DirectoryLoader, TextLoader
from langchain_community.vectorstores import FAISS
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter
from timing import Search, measure


def load(model: str) -> Any:
    return HuggingFaceEmbeddings(model=model, model_kwargs={"device": "cpu"})


def build(embedder: Any, folder: Path) -> tuple[int, Search]:
    documents = DirectoryLoader(str(folder), glob="**/*.md", loader_cls=TextLoader).load()
    passages = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200).split_documents(documents)
    store = FAISS.from_documents(passages, embedder)

    def search(question: str, k: int) -> list[str]:
        return [one.metadata["source"] for one in store.similarity_search(question, k=k)]

    return len(passages), search


measure(load, build)
