"""The service: jobs, questions, budgets and costs over HTTP. Needs the extra `server`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runtime.extras import import_optional
from agent_runtime.server.config import ServerConfig
from agent_runtime.server.jwt.config import JwtConfig
from agent_runtime.server.mcp.config import McpConfig
from llm_client.lazy_names import lazy_names

if TYPE_CHECKING:
    from agent_runtime.server.app import create_app

__all__ = ["JwtConfig", "McpConfig", "ServerConfig", "create_app"]

__getattr__, _names = lazy_names(__name__, {"app": "create_app"}, import_optional)


def __dir__() -> list[str]:
    return _names()
