"""The language a text is in, by py3langid's naive Bayes over byte n-grams (Lui and Baldwin, "langid.py", ACL 2012)."""

from __future__ import annotations

import functools
from collections.abc import Callable


def language_of(text: str) -> str:
    """The ISO 639 code of the likeliest language. A few words may mislead it."""
    return _classify()(text)


@functools.cache
def _classify() -> Callable[[str], str]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    return lambda text: str(identifier.classify(text)[0])
