"""Which of the documents' roles a question names, in any common wording of their names.

Known are the names and aliases that the documents give, and nothing else: short forms follow from them. "ML" stands for
"machine learning" because two names of one role differ in just that; "infra eng" for "infrastructure engineer"
because each word begins a word of the name; "MLE" for the initials of a name that no other role shares; "the
platform role" because the word belongs to one role only.
"""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rag.errors import SettingsError
from rag.types import Document, Head
from rag.words import STOPWORDS, fold, words

_ROLE_NOUNS = frozenset("role position job guide one title career path".split())
_LEVELS = frozenset("senior junior lead staff principal mid entry level experienced new young good great best".split())
_JOINERS = frozenset("and or vs versus with to than against".split())
_SHORTEST_PREFIX = 3
_TOKEN = re.compile(r"\w+(?:\+\+|#)?")


@dataclass(frozen=True, slots=True)
class Mention:
    """A role named in a text, and the half-open span of its words there."""

    role: str
    start: int
    end: int


_Match = Mention  # while they are looked for, with places among the words instead of characters


class Roles:
    """The roles of a set of documents. `names` are they, sorted."""

    def __init__(self, names: Mapping[str, Iterable[str]]) -> None:
        self.names = sorted(names)
        spelled = {role: [_singular(name) for name in {role, *others}] for role, others in names.items()}
        self._acronyms = _acronyms(name for group in spelled.values() for name in group)
        self._names = {role: sorted({tuple(self._shorten(name)) for name in group}) for role, group in spelled.items()}
        self._own = {role: _words_of_one(role, self._names) for role in self.names}
        self._initials = _initials(spelled)
        heads = collections.Counter(head for group in spelled.values() for head in {name[-1] for name in group if name})
        self._heads = {head for head, roles in heads.items() if roles > 1}
        """Nouns in which the names of several roles end."""

    @classmethod
    def of(cls, documents: Iterable[Document | Head]) -> Roles:
        names: dict[str, set[str]] = {}
        for document in documents:
            if document.role:
                names.setdefault(document.role, set()).update({document.title, *document.aliases})
        return cls(names)

    def find(self, text: str) -> list[str]:
        """The roles that `text` names, in order of their first mention."""
        return list(dict.fromkeys(mention.role for mention in self.mentions(text)))

    def mentions(self, text: str) -> list[Mention]:
        """Where `text` names a role, in order."""
        spelled = [(_singular_word(fold(match[0])), *match.span()) for match in _TOKEN.finditer(text)]
        tokens, spans = self._shorten_spans(spelled)
        return [Mention(match.role, spans[match.start][0], spans[match.end - 1][1]) for match in self._chosen(tokens)]

    def unknown(self, text: str) -> list[str]:
        """Roles of the same family that `text` names and no document treats: "prompt engineer" among engineers."""
        tokens = [(match[0], *match.span()) for match in _TOKEN.finditer(text)]
        known = [(mention.start, mention.end) for mention in self.mentions(text)]
        return [
            text[start:end]
            for (modifier, start, _), (noun, at, end) in itertools.pairwise(tokens)
            if _singular_word(fold(noun)) in self._heads
            and fold(modifier) not in STOPWORDS | _LEVELS
            and not any(begin <= at < stop for begin, stop in known)
        ]

    def spell_out(self, text: str) -> str:
        """`text` with each role under its own name: "ML INFRA ENG PAY" is "ML Infrastructure Engineer PAY"."""
        for mention in reversed(self.mentions(text)):
            text = f"{text[: mention.start]}{mention.role}{text[mention.end :]}"
        return text

    def _chosen(self, tokens: Sequence[str]) -> list[_Match]:
        matches = [match for role in self.names for match in self._matches(role, tokens)]
        matches.sort(key=lambda match: (match.start - match.end, match.start))
        chosen: list[_Match] = []
        for match in matches:  # the longest first; a shorter one inside it is only a part of the name
            if all(match.end <= other.start or match.start >= other.end for other in chosen):
                chosen.append(match)
        joined = [other for match in chosen for other in self._joined(match, tokens)]
        chosen += [one for one in joined if all(one.end <= other.start or one.start >= other.end for other in chosen)]
        return sorted(chosen, key=lambda match: match.start)

    def resolve(self, given: str) -> str:
        """The role that a user names as a filter. Raises SettingsError, listing the roles, if it is none or several."""
        by_name = {role.casefold(): role for role in self.names}
        found = [by_name[given.casefold()]] if given.casefold() in by_name else self.find(given)
        if len(found) != 1:
            known = ", ".join(self.names) or "none: the documents name no roles"
            raise SettingsError(f"no single role is called {given!r}. Roles: {known}.")
        return found[0]

    def _shorten(self, tokens: Sequence[str]) -> list[str]:
        """Words with every spelled-out acronym put back: machine learning engineer -> ml engineer."""
        return self._shorten_spans([(token, 0, 0) for token in tokens])[0]

    def _shorten_spans(self, tokens: Sequence[tuple[str, int, int]]) -> tuple[list[str], list[tuple[int, int]]]:
        shortened: list[str] = []
        spans: list[tuple[int, int]] = []
        position = 0
        while position < len(tokens):
            word, start, end = tokens[position]
            taken = 1
            for acronym, spelled in self._acronyms.items():
                if tuple(token for token, *_ in tokens[position : position + len(spelled)]) == spelled:
                    word, taken = acronym, len(spelled)
                    if [token for token, *_ in tokens[position + taken : position + taken + 1]] == [acronym]:
                        taken += 1  # "machine learning (ML)"
                    end = tokens[position + taken - 1][2]
                    break
            shortened.append(word)
            spans.append((start, end))
            position += taken
        return shortened, spans

    def _matches(self, role: str, tokens: Sequence[str]) -> Iterable[_Match]:
        own = self._own[role]
        for start in range(len(tokens)):
            if self._initials.get(tokens[start]) == role:
                yield _Match(role, start, start + 1)
            if _is_one_of(tokens[start], own) and tokens[start + 1 : start + 2] and tokens[start + 1] in _ROLE_NOUNS:
                yield _Match(role, start, start + 2)
            for name in self._names[role]:
                length, covered = _longest(tokens[start:], name)
                whole = len(covered) == len(name)
                telling = length >= 2 and len(name) - 1 in covered and any(name[place] in own for place in covered)
                if whole or telling:
                    yield _Match(role, start, start + length)

    def _joined(self, match: _Match, tokens: Sequence[str]) -> Iterable[_Match]:
        """Roles whose last word is left out before `match`: the platform in "platform and infrastructure engineers"."""
        at = match.start - 1
        if at < 1 or tokens[at] not in _JOINERS:
            return
        shared = {word for names in self._names.values() for name in names for word in name}
        while at >= 0:
            role = next((role for role in self.names if _is_one_of(tokens[at], self._own[role])), None)
            if role is not None:
                yield _Match(role, at, at + 1)
            elif tokens[at] not in _JOINERS and tokens[at] not in shared:
                return
            at -= 1


def _singular(text: str) -> list[str]:
    return [_singular_word(word) for word in words(text)]


def _singular_word(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _same(word: str, of_name: str) -> bool:
    if word == of_name or (len(of_name) >= 6 and word.startswith(of_name)):  # engineering, engineered
        return True
    return _SHORTEST_PREFIX <= len(word) < len(of_name) - 1 and of_name.startswith(word)


def _is_one_of(word: str, names: Iterable[str]) -> bool:
    return any(_same(word, name) for name in names)


def _longest(tokens: Sequence[str], name: Sequence[str]) -> tuple[int, tuple[int, ...]]:
    """How many tokens from the first on match words of the name in order, and which places of the name they cover."""
    covered: list[int] = []
    for token in tokens:
        after = covered[-1] + 1 if covered else 0
        place = next((place for place in range(after, len(name)) if _same(token, name[place])), None)
        if place is None:
            break
        covered.append(place)
    return len(covered), tuple(covered)


def _acronyms(names: Iterable[Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Acronyms among the names' words that the initials of neighbouring words of another name spell."""
    all_names = [tuple(name) for name in names]
    short = {word for name in all_names for word in name if 2 <= len(word) <= 5 and len(name) > 1}
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(all_names):
        for start in range(len(name)):
            for end in range(start + 2, len(name) + 1):
                initials = "".join(word[0] for word in name[start:end])
                if initials in short and initials not in name:
                    found.setdefault(initials, name[start:end])
    return found


def _words_of_one(role: str, names: Mapping[str, Sequence[Sequence[str]]]) -> frozenset[str]:
    """Words that no other role's names contain; for a family of roles, those that tell this one from the rest."""
    others = {word for other, group in names.items() if other != role for name in group for word in name}
    return frozenset(word for name in names[role] for word in name if len(names) > 1) - others - STOPWORDS


def _initials(names: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, str]:
    """Initials of whole names, of three letters or more, that belong to one role."""
    owners: dict[str, set[str]] = {}
    for role, group in names.items():
        for name in group:
            if len(name) >= 3:
                owners.setdefault("".join(word[0] for word in name), set()).add(role)
    return {initials: next(iter(roles)) for initials, roles in owners.items() if len(roles) == 1}
