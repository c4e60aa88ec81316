"""Writes drafts with a model behind an OpenAI-compatible endpoint.

In go messages, out come pieces of text as the endpoint sends them. Whatever goes wrong there becomes one line that
names the endpoint's host and what to do. Nothing is read from the environment but the proxy settings, and the key is
sent to the endpoint and shown nowhere. It reads no evidence and judges nothing.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterator, Sequence
from json import JSONDecodeError
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rag.errors import GeneratorError, SettingsError
from rag.protocols import Tokenizer
from rag.types import Evidence, GeneratorInfo, Message

if TYPE_CHECKING:
    from openai import Stream
    from openai.types.chat import ChatCompletionChunk

logger = logging.getLogger(__name__)


class HostedGenerator:
    """Speaks to `url` (which ends in /v1 at most hosts) as `model`. Safe to use from several threads.

    `timeout` is the longest silence to bear, in seconds. 429, 5xx and broken connections are tried `retries` times
    more, at growing intervals, unless text has already come. Tokens are counted by `tokenizer`, since hosts do not tell
    theirs. Raises SettingsError if an argument cannot be right.
    """

    def __init__(
        self,
        *,
        url: str,
        model: str,
        key: str,
        tokenizer: Tokenizer,
        timeout: float = 60.0,
        retries: int = 3,
        context_tokens: int = 8192,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError("hosted_url must be the address of an endpoint, such as https://example.org/v1.")
        if not model:
            raise SettingsError("hosted_model is not set. Name a model that the endpoint offers.")
        if not key and not _is_loopback(parts.hostname):
            raise SettingsError(f"{parts.hostname} needs a key. Set ROLEWISE_HOSTED_KEY.")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise SettingsError("hosted_key holds a space, a line break or a letter outside ASCII. Copy it again.")

        from openai import OpenAI  # noqa: PLC0415

        self._host = parts.hostname
        self._timeout = timeout
        self._tokenizer = tokenizer
        self._context_tokens = context_tokens
        self._info = GeneratorInfo("hosted", model)
        self._client = OpenAI(base_url=url, api_key=key or "none", timeout=timeout, max_retries=retries)
        # The client takes these from OPENAI_* variables when they are not given, and cannot be given "none".
        self._client.organization = self._client.project = None

    @property
    def info(self) -> GeneratorInfo:
        return self._info

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    def count(self, text: str) -> int:
        return self._tokenizer.count(text)

    def close(self) -> None:
        """Close the connections that are kept open for the next question."""
        self._client.close()
