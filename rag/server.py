"""One port for everything: page, plain pages, API and whatever is mounted, behind the guard, in a thread."""

from __future__ import annotations

import socket
import threading
import time

import uvicorn
from starlette.types import ASGIApp

from rag.errors import SettingsError
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
        port = _free(host, port)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        config = uvicorn.Config(
            Guard(application, token=token, hosts=hosts_for(host, settings.host_names)),
            host=host,
            port=port,
            log_level="critical",  # what is cut off at the end would be told with a traceback
            access_log=False,
            ws="none",
            proxy_headers=False,  # else a client chooses the address it is counted by
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="server", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)

    def wait(self) -> None:
        """Returns when the server has ended."""
        while self._thread.is_alive():
            self._thread.join(1)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)


def _free(host: str, port: int) -> int:
    """The port, or a free one for 0. Raises SettingsError if it cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise SettingsError(
            f"the page cannot be served at {host}:{port} ({error.strerror}). Give another --port, or 0 for any."
        ) from error
