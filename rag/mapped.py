"""Files that are mapped, read only where they are touched: the large ones of an index, and the weights of a model.

Small files are read whole: whatever happens to them later changes nothing. Large ones are mapped, so that an index may
be larger than the memory; nobody may change or cut such a file while it is open, and no part of this program does.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

LARGE = 32 * 2**20
"""Bytes from which on a file is mapped: reading and hashing less takes some 50 ms."""


def is_large(path: Path) -> bool:
    return path.stat().st_size >= LARGE


def array(path: Path) -> np.ndarray[Any, Any]:
    """The array that `numpy.save` wrote. Raises OSError or ValueError."""
    loaded: np.ndarray[Any, Any] = np.load(path, mmap_mode="r" if is_large(path) else None)
    return loaded


_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}


class Tensors(Mapping[str, np.ndarray[Any, Any]]):
    """The tensors of a safetensors file, by name. Nothing of it is in memory before it is touched.

    Raises OSError, or ValueError for a file that is none. The format: https://huggingface.co/docs/safetensors
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            # OpenVINO takes none that it might not write to.
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._start = 8 + int.from_bytes(self._map[:8], "little")
        self._heads = json.loads(self._map[8 : self._start])
        self._heads.pop("__metadata__", None)

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        head = self._heads[name]
        start, end = (self._start + offset for offset in head["data_offsets"])
        kind = np.dtype(_TYPES[head["dtype"]])
        numbers = np.frombuffer(self._map, kind, (end - start) // kind.itemsize, start)
        return numbers.reshape(head["shape"])

    def __len__(self) -> int:
        return len(self._heads)

    def __iter__(self) -> Iterator[str]:
        return iter(self._heads)

    def let_go(self) -> None:
        """Takes what was touched out of memory until it is touched again, where the system can."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
