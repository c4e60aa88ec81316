"""Which files of an index are read whole when it is opened, and which are mapped: read only where they are touched.

Small files are read whole: whatever happens to them later changes nothing. Large ones are mapped, so that an index may
be larger than the memory; nobody may change or cut such a file while it is open, and no part of this program does.
"""

from __future__ import annotations

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
