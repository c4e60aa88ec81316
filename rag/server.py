"""One port for everything: page, plain pages, API and whatever is mounted, behind the guard, in a thread."""

from __future__ import annotations

import socket
import threading
import time

import uvicorn
from starlette.types import ASGIApp

from rag.ports import bracketed, listening
from rag.safety import Guard, hosts_for
from rag.settings import Settings

GRACE_SECONDS = 1
"""For answers that are being written when the server is stopped; a page keeps its stream open for good."""
STOP_SECONDS = 10
CONNECTIONS = 512


class Served:
    """An application on a port, in the background from when this is made. Raises SettingsError."""

    def __init__(
        self, application: ASGIApp, settings: Settings, *, host: str = "127.0.0.1", port: int = 0, token: str = ""
    ) -> None:
        """Port 0 takes any free one. With a `token` nothing is answered without it."""
        taken = listening(host, port)
        self.url = f"http://{bracketed(host)}:{taken.getsockname()[1]}/"
        config = uvicorn.Config(
            Guard(application, token=token, hosts=hosts_for(host, settings.host_names)),
            log_level="critical",  # what is cut off at the end would be told with a traceback
            access_log=False,
            ws="none",
            proxy_headers=False,  # else a client chooses the address it is counted by
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, args=[taken], name="server", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)

    def _run(self, taken: socket.socket) -> None:
        with taken:
            self._server.run(sockets=[taken])

    def wait(self) -> None:
        """Returns when the server has ended."""
        while self._thread.is_alive():
            self._thread.join(1)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)
