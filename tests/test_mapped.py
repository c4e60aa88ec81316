"""Tensors are read from where they lie in their file, and a file that holds none is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from rag.mapped import Tensors


@pytest.mark.parametrize("kind", ["f8", "f4", "f2", "i8", "i4", "u1", "?"])
def test_what_safetensors_writes_is_read_back(kind: str, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    written = {
        name: (100 * chance.normal(size=shape)).astype(kind) for name, shape in {"a.b": (3, 5), "c": (7,)}.items()
    }
    save_file(written, tmp_path / "model.safetensors", {"format": "pt"})
    read = Tensors(tmp_path / "model.safetensors")
    for _ in range(2):
        assert read.keys() == written.keys()
        for name, numbers in written.items():
            assert read[name].dtype == numbers.dtype
            np.testing.assert_array_equal(read[name], numbers)
        read.let_go()


def test_what_is_written_to_a_tensor_stays_out_of_the_file(tmp_path: Path) -> None:
    save_file({"a": np.zeros(4, dtype=np.float32)}, tmp_path / "model.safetensors")
    Tensors(tmp_path / "model.safetensors")["a"][:] = 1
    np.testing.assert_array_equal(Tensors(tmp_path / "model.safetensors")["a"], np.zeros(4))


@pytest.mark.parametrize("kept", [0, 7, 8, 40, -1])
def test_a_file_that_is_cut_short_is_refused(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": np.arange(4, dtype=np.float32)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"\w"):
        Tensors(path)["a"]
