"""The local model on its way: pulled and loaded in the background while answers are written without it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from rag import models
from rag.answering import Engine
from rag.errors import RolewiseError
from rag.pages.answers import status
from rag.settings import Settings

logger = logging.getLogger(__name__)

LOCAL = "local"


class LocalModel:
    """The local generator on its way: pulled if need be, then loaded, by one thread in the background."""

    def __init__(self, name: str, *, is_there: bool, load: Callable[[], object], pull: Callable[..., object]) -> None:
        self.name = name
        self.is_done = False
        self.is_ready = is_there  # it may be chosen; loading it is waited for by the first answer
        self._text = f"Loading {name} …" if is_there else f"Pulling {name} …"
        self._share: float | None = None
        self._was_there, self._load, self._pull = is_there, load, pull

    @classmethod
    def of(cls, engine: Engine, settings: Settings) -> LocalModel | None:
        """None unless the settings ask for the local generator."""
        if settings.generator != LOCAL:
            return None
        is_file = settings.model.endswith(".gguf")
        return cls(
            Path(settings.model).name,
            is_there=is_file or models.is_pulled(settings.model),
            load=lambda: engine.make_ready(LOCAL),
            pull=models.pull,
        )

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="local-model", daemon=True)
        thread.start()
        return thread

    def line(self) -> str:
        """The status line as HTML."""
        return status(self._text, self._share)

    def _run(self) -> None:
        try:
            if not self._was_there:
                self._pull(self.name, progress=self._report)
                self._text, self._share = f"Loading {self.name} …", None
            self._load()
            self.is_ready = True
            self._text = "" if self._was_there else f"{self.name} is there; it writes the answers from now on."
        except RolewiseError as error:
            logger.warning("%s", error)
            self.is_ready = False
            self._text = f"{error} Answers are the documents' own sentences until then."
        finally:
            self._share, self.is_done = None, True

    def _report(self, done: int, total: int) -> None:
        self._share = done / total
        self._text = f"Pulling {self.name}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB ({self._share:.0%})"
