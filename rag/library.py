"""The page of documents: those that the server has for all, and a person's own, which are added and removed here.

Reading and embedding what was added takes a while: it goes on in a thread, and the page asks how far it is.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from fastapi import FastAPI
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from rag.answering import Engine
from rag.errors import SettingsError
from rag.pages.library import library_page
from rag.safety import person_of
from rag.uploads import MOST_FILES, Collection, CollectionError, Held, Uploads
from rag.web import HEADERS

OWN = "own"
"""The value of the parameter `in`, and of the choice of documents, for those of a person's own."""


@dataclass
class Work:
    """How far a change is: "reading 3 of 12"."""

    stage: str = ""
    done: int = 0
    total: int = 0

    def report(self, stage: str, done: int, total: int) -> None:
        self.stage, self.done, self.total = stage, done, total


def add_library(api: FastAPI, uploads: Uploads, engine: Callable[[], Engine]) -> None:
    """Adds the page `/documents`, and below /v1/uploads what it does, for other programs too."""
    changes = anyio.CapacityLimiter(2)  # each takes a processor
    going_on: dict[str, Work] = {}

    def collection(request: Request) -> Collection:
        return uploads.of(person_of(request.scope))

    async def changed(request: Request, change: Callable[[Work], dict[str, Any]]) -> JSONResponse:
        person, work = person_of(request.scope), Work()
        going_on[person] = work
        try:
            return JSONResponse(await anyio.to_thread.run_sync(change, work, limiter=changes))
        finally:
            if going_on.get(person) is work:
                del going_on[person]

    @api.get("/documents", include_in_schema=False)
    def show(request: Request) -> Response:
        own, damage = collection(request), ""
        files: Sequence[Held] = ()
        try:
            files = own.files()
            if any(one.passages for one in files):
                own.engine()
        except CollectionError as error:
            damage = str(error)
        return HTMLResponse(library_page(engine().version.heads, files, damage), headers=HEADERS)

    @api.get("/v1/uploads", tags=["documents"])
    def list_uploads(request: Request) -> dict[str, Any]:
        """Your own documents, and how far a change of them is, if one is going on."""
        own, work = collection(request), going_on.get(person_of(request.scope))
        files = [asdict(one) for one in own.files()]
        return {"files": files, "totals": asdict(own.totals()), "work": asdict(work) if work else None}

    @api.post("/v1/uploads", tags=["documents"], response_model=None)
    async def add_documents(request: Request) -> Response:
        """Add files to your own documents: multipart, each named `files`. One of the same name is replaced."""
        async with request.form(max_files=MOST_FILES, max_fields=10) as form:
            given = [one for one in form.getlist("files") if isinstance(one, UploadFile)]
            if not given:
                raise SettingsError("no file was sent. Send each under the name files.")
            with tempfile.TemporaryDirectory() as folder:
                copies = [await _copied(one, Path(folder) / str(number)) for number, one in enumerate(given)]

                def change(work: Work) -> dict[str, Any]:
                    return asdict(collection(request).add(copies, work.report))

                return await changed(request, change)

    @api.post("/v1/uploads/rebuild", tags=["documents"], response_model=None)
    async def rebuild(request: Request) -> Response:
        """Read all of your own documents again and build their index: after damage, or for other settings."""

        def change(work: Work) -> dict[str, Any]:
            collection(request).rebuild(work.report)
            return {}

        return await changed(request, change)

    @api.delete("/v1/uploads/{name:path}", tags=["documents"], response_model=None)
    async def remove_document(request: Request, name: str) -> Response:
        """Delete one of your own documents, and all that was made of it."""
        return await changed(request, lambda work: {"removed": collection(request).remove([name], work.report)})

    @api.delete("/v1/uploads", tags=["documents"], status_code=204)
    def remove_all(request: Request) -> None:
        """Delete all of your own documents."""
        collection(request).clear()


async def _copied(given: UploadFile, to: Path) -> tuple[str, Path]:
    def copy() -> None:
        with to.open("wb") as file:
            shutil.copyfileobj(given.file, file)

    await anyio.to_thread.run_sync(copy)
    return given.filename or "", to
