"""The same documents make the same index, to the byte, wherever and under whatever locale, zone and hash seed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from rag.wiring import PROJECT

BUILD = """
import sys
from pathlib import Path
from rag.indexing import Builder
from rag.sources import read_documents
from rag.parts import make_store
from tests.conftest import HashingEmbedder
documents, folder = map(Path, sys.argv[1:])
print(Builder(HashingEmbedder(), make_store(), 200).build(read_documents([documents]), folder).version)
"""
MACHINES = (
    {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "UTC", "PYTHONUTF8": "0"},
    {"PYTHONHASHSEED": "4242", "LC_ALL": "tr_TR.UTF-8", "TZ": "Pacific/Chatham", "COLUMNS": "40"},
)


def test_two_machines_build_the_same_version_of_the_guides_to_the_byte(tmp_path: Path) -> None:
    built = []
    for number, machine in enumerate(MACHINES):
        place = tmp_path / f"machine {number}" / ("é" * number)
        guides, folder = place / "guides", place / "build"
        guides.mkdir(parents=True)
        for name in sorted((PROJECT / "index" / "sources").iterdir(), reverse=bool(number)):
            (guides / name.name).write_bytes(name.read_bytes())  # with other times, in another order of the folder
        command = [sys.executable, "-c", BUILD, str(guides), str(folder)]
        done = subprocess.run(
            command, cwd=PROJECT, env=os.environ | machine, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        version = done.stdout.strip()
        home = folder / version
        files = {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}
        built.append((version, {name: hashlib.sha256(one).hexdigest() for name, one in files.items()}))
        assert json.loads(files["manifest.json"])["counts"]["documents"] == 5
    assert built[0] == built[1]
