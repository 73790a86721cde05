"""What the MCP server of a service offers and bounds."""

from __future__ import annotations

from dataclasses import dataclass

from agent_runtime.errors import InvalidInput
from agent_runtime.values.checks import check_seconds, check_text, check_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class McpConfig:
    """Bounds of the MCP server. Bodies and requests are bounded with those of all other routes, by `ServerConfig`.

    Raises:
        InvalidInput: A value is out of its range; it names the field.
    """

    operators: tuple[str, ...] | None = None
    """Those that are tools; `None` is all of them."""
    task_after: float = 5.0
    """Seconds for which a call waits before it becomes a task, where the client knows what that is."""
    longest_call: float = 600.0
    """Seconds for which a call waits where the client knows nothing of tasks. Its job goes on after that."""
    cancel_on_leave: bool = True
    """Whether a job is cancelled when its caller leaves before the end, which is how MCP clients cancel. One that named its call can ask again, and
    its job goes on."""
    sessions: bool = False
    """Whether clients of the protocol before 2026-07-28 get sessions, which live in one process: a balancer has to bring each of them there."""
    max_sessions: int = 1_000
    """In this process."""
    max_sessions_per_key: int = 20
    session_idle: float = 900.0
    """Seconds after which a session that nobody uses ends."""

    def __post_init__(self) -> None:
        for name in ("max_sessions", "max_sessions_per_key"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("task_after", "longest_call", "session_idle"):
            check_seconds(name, getattr(self, name), zero=name == "task_after")
        if isinstance(self.operators, str):
            raise InvalidInput("operators are names, one by one")
        for operator in self.operators or ():
            check_text("operators", operator)
