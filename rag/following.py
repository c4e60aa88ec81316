"""A question that only makes sense after the one before it is made whole from the conversation, by rule.

It leans on what was said before if it says so ("And …", "What about …"), points back ("it", "there", "the same") or has
next to no content of its own; a question that announces another subject, or that names a role and asks in full, does
not. A role named in place of another takes its place; all else is put behind the question it follows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.roles import Roles
from rag.types import Message
from rag.words import content_words

_LEANS = re.compile(
    r"^\W*(?:and|or|but|also|so|what about|how about|what of|what if|same|do the same|the same|who else|what else|which"
    r" of (?:them|these|those))\b"
    r"|\b(?:it|its|they|them|their|theirs|that one|this one|the other one|those|these|there|the same|the former"
    r"|the latter)\b",
    re.IGNORECASE,
)
_TURNS_AWAY = re.compile(
    r"\b(?:(?:an)?other|different|new|separate) (?:question|topic|subject|thing)\b|\bchange of (?:topic|subject)\b"
    r"|\b(?:thanks|thank you|ok(?:ay)?)\b[^?]{0,20}\bnow\b|\bsomething else\b|\bunrelated\b",
    re.IGNORECASE,
)
_SHORT = 2
"""Content words up to which a question cannot stand alone once a conversation has begun."""


def made_whole(question: str, history: Sequence[Message], roles: Roles) -> str:
    """The question as it would be asked without the conversation; itself where it stands alone."""
    before = _question_before(history, roles)
    if not before or _TURNS_AWAY.search(question):
        return question
    own = roles.mentions(question)
    said = content_words(_without(question, [(one.start, one.end) for one in own]))
    if not _LEANS.search(question) and (len(said) > _SHORT or (own and said)):
        return question
    if own and not said and (asked := roles.mentions(before)):
        return before[: asked[0].start] + own[0].role + before[asked[0].end :]
    if own:
        before = _without(before, [(one.start, one.end) for one in roles.mentions(before)])
    return f"{before.rstrip()} {question}"


def _question_before(history: Sequence[Message], roles: Roles) -> str:
    """The last question of the conversation, itself made whole."""
    asked = [message for message in history if message.role == "user"]
    if not asked:
        return ""
    until = max(place for place, message in enumerate(history) if message.role == "user")
    return made_whole(asked[-1].content, history[:until], roles)


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    for start, end in reversed(spans):
        text = text[:start] + text[end:]
    return text
