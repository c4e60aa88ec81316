"""The conversations of the page over HTTP: the list beside the chat, and a conversation as a file to keep.

The list holds only those of whoever asks (`safety.person_of`). The id of a conversation is a secret that cannot be
guessed: whoever was given it may read the conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rag.conversations import LONGEST_TITLE, MOST_LISTED, Store
from rag.safety import person_of


class Title(BaseModel):
    title: str = Field(min_length=1, max_length=LONGEST_TITLE)


def add_history(api: FastAPI, store: Store, forget: Callable[[Sequence[str]], object] = lambda _: None) -> None:
    """Adds the routes below /v1/conversations. What is not there is a 404 of `conversations.ConversationError`.

    `forget` deletes the receipts of a conversation's answers, by their ids.
    """

    @api.get("/v1/conversations", tags=["conversations"])
    def list_conversations(
        request: Request,
        query: Annotated[str, Query(max_length=1000, description="Only those that hold each of its words.")] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> dict[str, Any]:
        """Your conversations with the page, newest first."""
        found = store.list(query, limit, offset, person_of(request.scope))
        return {"conversations": [asdict(one) for one in found]}

    @api.get("/v1/conversations/{conversation}", tags=["conversations"])
    def read_conversation(conversation: str) -> Response:
        """All that is kept of a conversation: questions, records of the answers, ratings."""
        return JSONResponse(store.as_json(conversation), headers=_as_file(conversation, "json"))

    @api.get("/v1/conversations/{conversation}/markdown", tags=["conversations"])
    def export_conversation(conversation: str) -> Response:
        """The conversation as text, its quotations as footnotes."""
        return PlainTextResponse(
            store.as_markdown(conversation), headers=_as_file(conversation, "md"), media_type="text/markdown"
        )

    @api.patch("/v1/conversations/{conversation}", tags=["conversations"])
    def rename_conversation(conversation: str, new: Title) -> dict[str, str]:
        """Give a conversation another title."""
        store.rename(conversation, new.title)
        return {"id": conversation, "title": new.title}

    @api.delete("/v1/conversations/{conversation}", tags=["conversations"], status_code=204)
    def delete_conversation(conversation: str) -> None:
        """Remove a conversation, and what the log holds of it, from the disk."""
        forget([turn.record["receipt"] for turn in store.turns(conversation) if "receipt" in turn.record])
        store.delete(conversation)


def _as_file(conversation: str, ending: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="conversation-{conversation[:8]}.{ending}"'}
