"""A small MCP server for tests: over stdio by default, over HTTP when a port is given."""

import os
import sys
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

server = MCPServer("test-server")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
def put(key: str) -> str:
    """Store a key."""
    return f"stored {key}"


@server.tool()
def send(to: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


@server.tool()
def fail() -> str:
    """Fail."""
    raise ToolError("out of order")


@server.tool(name="weather.today", annotations=ToolAnnotations(read_only_hint=True))
def weather(arguments: str, ctx: Context[Any]) -> dict[str, Any]:
    """Tell the weather; its parameter has a difficult name."""
    meta = ctx.request_context.meta
    return {"city": arguments, "meta": dict(meta) if meta else {}, "env": os.environ.get("MCP_TEST")}


@server.tool()
def die() -> str:
    """End the server in the middle of a call."""
    os._exit(1)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run("stdio")
