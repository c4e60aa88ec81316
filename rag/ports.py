"""Where a server listens: the socket is taken once and kept, so that nobody else gets its port meanwhile."""

from __future__ import annotations

import socket

from rag.errors import SettingsError


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any free one. Raises SettingsError if the port cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise SettingsError(
            f"nothing can listen at {bracketed(host)}:{port} ({error.strerror}). Give another --port, or 0 for any."
        ) from error


def bracketed(host: str) -> str:
    """A host as it stands in an address."""
    return f"[{host}]" if ":" in host else host
