"""The child process that reads files: a request a line on stdin, an answer a line on stdout, both JSON.

It may use so much memory and no more, and may not connect to anything or start another program. Whatever it meets in a
file, it answers with what the file holds or why it cannot be read; if it cannot even do that, its parent goes on.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import Any

from rag.errors import Unreadable
from rag.readers.files import read_file

FORBIDDEN = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")

FULL = "takes too much memory to be read; split it"


def forbid(event: str, arguments: tuple[Any, ...]) -> None:  # noqa: ARG001 - the form of an audit hook
    if event in FORBIDDEN:
        raise Unreadable("makes its reader reach out of its process; that is not done")


def limit_memory(size: int) -> None:
    """Bounds the memory of this process, in bytes, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def answer(path: str, member: str) -> str:
    """What a file holds as JSON, or the reason why it cannot be read."""
    try:
        sha256, parsed = read_file(path, member)
        return json.dumps({"sha256": sha256, "parsed": asdict(parsed)}, default=str)
    except Unreadable as error:
        reason = str(error)
    except OSError as error:
        reason = f"cannot be opened: {error.strerror or error}"
    except RecursionError:
        reason = "is nested too deeply to be read"
    except MemoryError:
        reason = FULL
    except Exception as error:  # noqa: BLE001 - parsers raise anything at all
        reason = f"is damaged in a way that its reader does not know ({type(error).__name__})"
    return json.dumps({"reason": reason})


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - what libraries print
    os.dup2(sys.stderr.fileno(), 1)
    os.dup2(sys.stderr.fileno(), 2)
    limit_memory(int(sys.argv[1]))
    sys.addaudithook(forbid)
    for line in sys.stdin:
        request = json.loads(line)
        found = answer(request["path"], request["member"])
        answers.write(found + "\n")
        answers.flush()
        if found == json.dumps({"reason": FULL}):
            return  # the next child begins with its memory empty


main()
