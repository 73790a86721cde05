"""What a service bounds and allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from agent_runtime.errors import InvalidInput
from agent_runtime.server.jwt.config import JwtConfig
from agent_runtime.server.mcp.config import McpConfig
from agent_runtime.values.checks import check_seconds, check_whole

MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Bounds of a service.

    Raises:
        InvalidInput: A value is out of its range; it names the field.
    """

    authenticate: bool = True
    """Without keys everybody may do everything but make keys: for a process that only its own machine can reach. It answers to that
    machine's own names alone (`localhost`, `127.0.0.1`, `[::1]`), and to pages that came from there or from one of `cors_origins`."""
    jwt: JwtConfig | None = None
    """The identity provider whose tokens are taken beside API keys. None is the default."""
    max_body_bytes: int = 2 * MEBIBYTE
    """Of a request. What is longer is refused before it is read."""
    requests_per_second: float = 50.0
    """Of one key, or of one address without a valid one, in this process."""
    burst: int = 200
    """Requests that may come at once, where fewer came before."""
    max_streams: int = 2_000
    """Readers of event streams in this process."""
    max_streams_per_key: int = 500
    longest_wait: float = 60.0
    """Seconds for which a request for a result may wait."""
    heartbeat: float = 15.0
    """Seconds after which a stream that has nothing to tell says so, for the sake of proxies."""
    cors_origins: tuple[str, ...] = ()
    """Origins of pages, such as `https://console.example.com`, that browsers may let read answers. None is the default."""
    mcp: McpConfig | None = field(default_factory=McpConfig)
    """How operators are tools for MCP clients, at `/mcp`; `None` is not at all. It takes the extra `mcp`, without which there is no such address."""

    def __post_init__(self) -> None:
        if self.jwt is not None and not self.authenticate:
            raise InvalidInput("jwt says whose tokens are taken, and authenticate=False that nobody is asked")
        for name in ("max_body_bytes", "burst", "max_streams", "max_streams_per_key"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("longest_wait", "heartbeat"):
            check_seconds(name, getattr(self, name), zero=False)
        if not self.requests_per_second > 0:
            raise InvalidInput("requests_per_second is a number above 0")
        if not isinstance(self.cors_origins, tuple) or "*" in self.cors_origins:  # type: ignore[redundant-expr]  # a text holds texts
            raise InvalidInput("cors_origins are origins, one by one; there is none for everybody")
