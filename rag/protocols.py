"""The seams of the pipeline: what an embedder, an index, a retriever and a generator must do.

Everything above the adapters knows these Protocols and no vendor. `tests/contracts/` holds one suite per Protocol,
run over every implementation.
"""

from __future__ import annotations

import collections.abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from rag.types import Evidence, GeneratorInfo, Message, ScoredPassage

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Draft = collections.abc.Generator[str, None, None]
"""The pieces of a draft as they are written. Closing it stops the work."""


class Tokenizer(Protocol):
    """Counts tokens the way the thing that will read the text does."""

    def count(self, text: str) -> int: ...


class Embedder(Protocol):
    """Turns texts into vectors whose inner product is their cosine similarity."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str:
        """Hash of the weights, so that an index can tell which bytes made it."""
        ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Word pieces, special ones included, beyond which a text would be cut."""
        ...

    def count(self, text: str) -> int:
        """Word pieces of `text`, special ones included."""
        ...

    def has_token(self, word: str) -> bool:
        """Whether a word in small letters is one token: a common word or a well-known name, no typing error."""
        ...

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """(n, dimension) float32, unit rows, row i for text i."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """(n, dimension) float32, unit rows, row i for text i."""
        ...

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Each text with its tokens, for comparing texts word by word. A text beyond `max_tokens` is cut."""
        ...


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """A text as its embedder reads it: one vector of its meaning, and one for each of its tokens in their context."""

    text: Vectors
    """(dimension,) float32, unit length."""
    tokens: Vectors
    """(n, dimension) float32, unit rows, special tokens left out."""
    spans: tuple[tuple[int, int], ...]
    """For each token the half-open span of the word it belongs to, in the text."""


class VectorIndex(Protocol):
    def search(self, queries: Vectors, k: int, rows: Rows | None = None) -> tuple[Vectors, Rows]:
        """The `k` rows nearest to each query, best first, ties by row.

        `queries` is (n, dimension) float32, unit rows. Returns scores (n, k) float32, higher is nearer, and rows
        (n, k) int64. With `rows` only those are searched. Where fewer than `k` exist, the rest is -inf and -1.
        """
        ...

    def nearest(self, query: Vectors, k: int, rows: Rows | None = None) -> Vectors:
        """(n, dimension) float32 with n <= k: the vectors that `search` finds for one (1, dimension) query, best first.

        They are as exact as they are kept.
        """
        ...

    def __len__(self) -> int: ...


class LexicalIndex(Protocol):
    def search(self, question: str, k: int, rows: Rows | None = None) -> tuple[Vectors, Rows]:
        """The up to `k` rows that share words with the question, best first, ties by row.

        Returns scores (m,) float32 and rows (m,) int64 with m <= k; rows that share no word are left out.
        """
        ...

    def frequency(self, stem: str) -> int:
        """In how many rows a word stem occurs."""
        ...


class Retriever(Protocol):
    def retrieve(
        self,
        question: str,
        k: int,
        labels: Sequence[str] = (),
        favoured: Sequence[str] = (),
        rows: Rows | None = None,
    ) -> list[ScoredPassage]:
        """The `k` best passages, best first; with `labels` only those about these roles or of these titles.

        With `rows` only those are searched.
        Passages about the `favoured` come before others that are as good, which are not shut out.
        """
        ...


@runtime_checkable
class Judge(Protocol):
    """A generator that can say how likely it is to answer yes."""

    def yes_probability(self, messages: Sequence[Message]) -> float:
        """In 0 to 1; 0.5 if it would say neither yes nor no. Raises GeneratorError."""
        ...


@runtime_checkable
class ReadsAhead(Protocol):
    """A generator that can read beforehand what its prompts begin with."""

    def read_ahead(self, beginning: Sequence[Message]) -> None:
        """Read the first message of what will be asked. Raises GeneratorError."""
        ...


@runtime_checkable
class GivesWay(Protocol):
    """A generator that can be stopped while it reads, not only between the pieces that it writes."""

    def giving_way(self, is_busy: Callable[[], bool]) -> Generator:
        """The same generator; its work ends with GaveWay soon after `is_busy` has said so."""
        ...


class Generator(Protocol):
    """Writes the draft of an answer from numbered evidence."""

    @property
    def info(self) -> GeneratorInfo: ...

    @property
    def context_tokens(self) -> int:
        """How many tokens of `count` prompt and draft may have together."""
        ...

    def count(self, text: str) -> int: ...

    def stream(self, messages: Sequence[Message], evidence: Sequence[Evidence], *, max_tokens: int) -> Draft:
        """Pieces of a draft that cites the evidence as [1], [2], … in the order given.

        A model reads `messages`, which already contain the evidence; a generator without a model uses `evidence`
        itself. Raises GeneratorError if no draft can be had.
        """
        ...
