"""A resident agent, and a message of its, as they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from agent_runtime.ports.agents import AgentState, StoredAgent
from agent_runtime.residents.settings import AgentSettings
from agent_runtime.residents.sleep import Sleep


class Health(StrEnum):
    """How an agent does."""

    HEALTHY = "healthy"
    FAILING = "failing"
    """Its last turn has failed."""
    BROKEN = "broken"
    """So many turns have failed in a row that none begins for a while: its circuit breaker is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentAgent:
    """A resident agent."""

    agent_id: str
    """Its name, among those of its scope."""
    scope_id: str
    definition: str
    """What it is made of."""
    settings: AgentSettings
    principal_id: str | None
    """On whose behalf its turns run."""
    state: AgentState
    reason: str | None
    """Why it is in this state."""
    sleep: Sleep | None
    """What wakes it; it sleeps when its turns have ended, where it does not yet."""
    queue_depth: int
    """Messages that wait."""
    running: int
    """Turns that go on."""
    turns: int
    """Turns that have ended well."""
    errors: int
    """Turns that have failed."""
    failures: int
    """Turns that have failed since the last one that ended well."""
    broken_until: datetime | None
    """When the next turn is tried, where so many have failed that none begins now."""
    last_active: datetime
    created_at: datetime
    created_by: str | None
    updated_at: datetime

    @property
    def sleep_until(self) -> datetime | None:
        """When it wakes at the latest."""
        return None if self.sleep is None else self.sleep.looks_at()

    @property
    def wake_events(self) -> tuple[str, ...]:
        """Types of events that wake it."""
        return () if self.sleep is None else self.sleep.events

    @property
    def health(self) -> Health:
        """How it does."""
        if self.broken_until is not None:
            return Health.BROKEN
        return Health.FAILING if self.failures else Health.HEALTHY

    @classmethod
    def of(cls, stored: StoredAgent) -> ResidentAgent:
        """Return an agent as it is stored."""
        return cls(
            agent_id=stored.agent_id,
            scope_id=stored.scope_id,
            definition=stored.definition,
            settings=AgentSettings.from_json(stored.config),
            principal_id=stored.principal_id,
            state=stored.state,
            reason=stored.reason,
            sleep=None if stored.sleep is None else Sleep.from_json(stored.sleep),
            queue_depth=stored.queued,
            running=stored.running,
            turns=stored.turns,
            errors=stored.errors,
            failures=stored.failures,
            broken_until=stored.broken_until,
            last_active=stored.last_active,
            created_at=stored.created_at,
            created_by=stored.created_by,
            updated_at=stored.updated_at,
        )
