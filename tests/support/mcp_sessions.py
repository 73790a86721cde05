"""An MCP server over streamable HTTP that keeps sessions, as the protocol of 2025 has them, and can forget them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from support.loopback import Received, Reply, json_reply

PROTOCOL = "2025-06-18"
METHOD_NOT_FOUND = -32601


class SessionServer:
    """Answers for a `LoopbackServer`.

    Args:
        results: What its tools give: blocks of content, or a whole result.
        schemas: Of its tools' arguments.
    """

    def __init__(
        self,
        results: Mapping[str, Sequence[Any] | Mapping[str, Any]],
        schemas: Mapping[str, Any] | None = None,
    ) -> None:
        self.results = dict(results)
        self.schemas = dict(schemas or {})
        self.sessions: set[str] = set()
        self.opened = 0
        self.called: list[str] = []
        self.listed: Callable[[], Any] = self.list

    def forget(self) -> None:
        """Forget all sessions, as a server does that is started anew."""
        self.sessions.clear()

    def list(self) -> Any:
        """Return what it says of its tools."""
        return {
            "tools": [
                {
                    "name": name,
                    "description": f"Does {name}.",
                    "inputSchema": self.schemas.get(name, {"type": "object"}),
                }
                for name in self.results
            ]
        }

    def __call__(self, received: Received) -> Reply:
        if received.method == "GET":
            return Reply(status=405)
        session = received.headers.get("mcp-session-id")
        if session is not None and session not in self.sessions:
            return json_reply({"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": "?"}}, 404)
        if received.method == "DELETE":
            return Reply(status=200)
        message = received.json
        if "id" not in message:
            return Reply(status=202)
        method, params = message["method"], message.get("params", {})
        result: Any
        headers: dict[str, str] = {}
        if method == "initialize":
            self.opened += 1
            self.sessions.add(f"session-{self.opened}")
            headers = {"mcp_session_id": f"session-{self.opened}"}
            about = {"name": "sessions", "version": "1"}
            result = {"protocolVersion": PROTOCOL, "capabilities": {"tools": {}}, "serverInfo": about}
        elif method == "tools/list":
            result = self.listed()
        elif method == "tools/call":
            self.called.append(params["name"])
            given = self.results[params["name"]]
            result = given if isinstance(given, Mapping) else {"content": given}
        else:
            error = {"code": METHOD_NOT_FOUND, "message": "there is no such method"}
            return json_reply({"jsonrpc": "2.0", "id": message["id"], "error": error})
        return json_reply({"jsonrpc": "2.0", "id": message["id"], "result": result}, **headers)
