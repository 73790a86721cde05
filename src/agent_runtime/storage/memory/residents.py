"""What the storage in memory keeps of resident agents."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_runtime.ports.agents import AgentEvent, AgentMessage, StoredAgent

Key = tuple[str, str]
"""Scope and name."""


@dataclass(slots=True)
class Residents:
    """What is kept of resident agents, by scope and name."""

    agents: dict[Key, StoredAgent] = field(default_factory=dict)
    memory: dict[Key, bytes] = field(default_factory=dict)
    mailboxes: dict[Key, dict[str, AgentMessage]] = field(default_factory=dict)
    """The messages of each mailbox by their ids, in the order of their positions."""
    histories: dict[str, list[AgentEvent]] = field(default_factory=dict)
    """Of each scope, in order."""
    forgotten: dict[str, int] = field(default_factory=dict)
    """The last place of a history that was deleted, by scope."""

    def forget(self, key: Key) -> None:
        """Take an agent away with all that is its own."""
        for kept in (self.agents, self.memory, self.mailboxes):
            kept.pop(key, None)
