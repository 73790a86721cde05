"""The command `agent-runtime`."""

from agent_runtime.cli.entry import main

__all__ = ["main"]
