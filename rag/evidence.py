"""Passages become evidence: the sentences that bear on the question, each read in its context.

The context of a sentence is its heading trail and the line that introduces its list, so that "Seattle, WA: $150,000"
under salaries by place is near to a question on pay in Seattle although it says neither "pay" nor "salary". Nearness is
that of the whole texts plus that of their words: each word of the question against the nearest word of the context
(late interaction, as in Khattab and Zaharia, "ColBERT", SIGIR 2020), rare words counting more than common ones.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rag.choosing import complements, other_voices, rivals
from rag.kinds import kind_asked
from rag.orders import addresses_program
from rag.packing import NEAR
from rag.protocols import Embedder, TokenVectors, Vectors
from rag.questions import QuestionWord, identifying
from rag.types import Evidence, Passage, ScoredPassage, Sentence
from rag.versions import IndexVersion
from rag.words import spells_out, stems

STANDS_OUT = 0.08
"""An entry answers alone if it scores this much more than the median of its list; else the whole list is the answer.
Chosen on the development questions, where lists that were asked for whole lie below it and single entries above."""
SUITS = 0.1
"""What the score of a sentence is raised by that holds the kind of thing asked for: an amount for "how much"."""
LONGEST_LIST = 40
"""Entries of a list that are taken whole at the most."""


_Candidate = tuple[Passage, Sentence]


@dataclass(frozen=True, slots=True)
class Findings:
    """Evidence, best first, and what is known of each content word of the question.

    `suspect` sentences were left out because they speak to the program that reads them.
    """

    evidence: tuple[Evidence, ...]
    words: tuple[QuestionWord, ...]
    suspect: int = 0


@dataclass(frozen=True)
class EvidenceFinder:
    version: IndexVersion
    embedder: Embedder

    def find(self, question: str, passages: Sequence[ScoredPassage], limit: int) -> Findings:
        """The `limit` sentences of `passages` that bear most on the question, after a list that is asked for whole."""
        candidates = [
            (scored.passage, sentence)
            for scored in passages
            for sentence in self.version.sentences(scored.passage)
            if not sentence.text.endswith(":")
        ]
        candidates = self._about_asked_roles(question, candidates)
        suspect = sum(addresses_program(sentence.text) for _, sentence in candidates)
        candidates = [one for one in candidates if not addresses_program(one[1].text)] if suspect else candidates
        if not candidates:
            return Findings((), (), suspect)
        asked, *contexts = self.embedder.embed_tokens([question, *(context(*candidate) for candidate in candidates)])
        asked_words = self._words(question, asked)
        nearness = np.array([[_nearest(asked, tokens, one) for tokens, _ in asked_words] for one in contexts])
        rarity = np.array([word.rarity for _, word in asked_words])
        whole = np.array([one.text @ asked.text for one in contexts])
        by_word = nearness @ rarity / rarity.sum() if asked_words else np.zeros(len(contexts))
        scores = whole + by_word
        if kind := kind_asked(question):
            scores = scores + SUITS * np.array([kind.is_in(sentence.text) for _, sentence in candidates])
        order = sorted(range(len(candidates)), key=lambda row: (-scores[row], row))
        ranked = [Evidence(*candidates[row], float(scores[row])) for row in order]
        near = nearness[order[:limit]].max(axis=0) if asked_words else []
        read = [context(*candidates[row]) for row in order[:limit]]
        known = tuple(
            replace(word, nearness=1.0 if any(spells_out(text, word.text) for text in read) else float(value))
            for (_, word), value in zip(asked_words, near, strict=True)
        )
        entries = _whole_list(ranked)
        chosen = [row for row in order[:limit] if scores[row] >= scores[order[0]] - NEAR]
        more = complements(nearness, rarity, scores, order, chosen)
        texts = [sentence.text for _, sentence in candidates]
        documents = [passage.document for passage, _ in candidates]
        more += other_voices(question, texts, documents, scores, order, chosen + more)
        naming = identifying([word for _, word in asked_words])
        against = rivals(texts, nearness[:, naming], scores, order, chosen + more)
        flagged = [
            replace(one, is_complement=row in more, is_rival=row in against)
            for row, one in zip(order, ranked, strict=True)
            if replace(one, is_of_list=True) not in entries
        ]
        room = max(limit - len(entries), 2)
        wanted = [one for one in flagged[room:] if one.is_complement or one.is_rival]
        return Findings((*entries, *flagged[:room], *wanted), known, suspect)

    def _about_asked_roles(self, question: str, candidates: list[_Candidate]) -> list[_Candidate]:
        """Of documents about other roles than the question names only what speaks of one that it names."""
        asked = set(self.version.roles.find(question))
        if not asked:
            return candidates
        return [
            (passage, sentence)
            for passage, sentence in candidates
            if passage.role is None
            or passage.role in asked
            or asked & set(self.version.roles.find(context(passage, sentence)))
        ]

    def _words(self, question: str, asked: TokenVectors) -> list[tuple[list[int], QuestionWord]]:
        """The content words of the question with the rows of their tokens."""
        rows: dict[tuple[int, int], list[int]] = {}
        for row, span in enumerate(asked.spans):
            rows.setdefault(span, []).append(row)
        words = []
        for (start, end), tokens in rows.items():
            if own := stems(question[start:end]):
                frequency = min(self.version.lexical.frequency(stem) for stem in own)
                rarity = math.log(1 + len(self.version.passages) / (frequency + 0.5))
                words.append((tokens, QuestionWord(question[start:end], start, rarity)))
        return words


def context(passage: Passage, sentence: Sentence) -> str:
    """A sentence as it is to be understood: behind its heading trail and the line that introduces it.

    An entry of a list without such a line is introduced by its heading once more.
    """
    lead = sentence.lead or (f"{passage.section[-1]}:" if sentence.is_entry and passage.section else "")
    return "\n".join(filter(None, [passage.trail, lead, sentence.text]))


def _nearest(asked: TokenVectors, tokens: Sequence[int], other: TokenVectors) -> float:
    """How near `other` comes to a word of the question: of its tokens, the one that is matched worst."""
    if not len(other.tokens):
        return 0.0
    similarity: Vectors = asked.tokens[list(tokens)] @ other.tokens.T
    return float(similarity.max(axis=1).min())


def _whole_list(ranked: Sequence[Evidence]) -> list[Evidence]:
    """The list of the best entry, in its own order, if the entry does not stand out from it; else nothing."""
    best = ranked[0]
    if not best.sentence.is_entry:
        return []
    entries = [one for one in ranked if _list_of(one) == _list_of(best)]
    stands_out = best.score - statistics.median(one.score for one in entries) >= STANDS_OUT
    if len(entries) < 2 or len(entries) > LONGEST_LIST or stands_out:
        return []
    return [replace(one, is_of_list=True) for one in sorted(entries, key=lambda one: one.sentence.start)]


def _list_of(evidence: Evidence) -> tuple[str, tuple[str, ...], str, bool]:
    passage, sentence = evidence.passage, evidence.sentence
    return passage.document, passage.section, sentence.lead, sentence.is_entry
