"""What the runtime puts around every model and tool call: recall, admit, settle."""

from agent_runtime.execution.guards.guard import Guard

__all__ = ["Guard"]
