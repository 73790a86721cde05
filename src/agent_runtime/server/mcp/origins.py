"""Pages that may talk to the MCP server: the protocol has servers look at `Origin`, so that no page reaches one by a name that was bent."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from agent_runtime.server.config import ServerConfig

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def may_come_from(headers: Headers, config: ServerConfig) -> bool:
    """Whether a request is of no page, of one of this machine, of one that is allowed, or, where keys are asked for, of the service's own address."""
    origin = headers.get("origin")
    if origin is None or origin in config.cors_origins:
        return True
    try:
        parts = urlsplit(origin)
        host = parts.hostname
    except ValueError:
        return False
    return host in _LOOPBACK or (config.authenticate and parts.netloc == headers.get("host"))
