"""What every run of a kernel uses, and what it asks of the worker it is in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from agent_runtime.events.bus import EventBus
from agent_runtime.events.live_calls import LiveCalls
from agent_runtime.execution.abilities import Abilities
from agent_runtime.execution.options import KernelOptions
from agent_runtime.execution.outages import Queue
from agent_runtime.execution.policies import Policies
from agent_runtime.ledger.ledger import Ledger
from agent_runtime.operators.orchestration import OrchestrationConfig
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.storage import Storage
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.retry_policy import RetryPolicy
from llm_client.turns import Turns


class Lease(Protocol):
    """The worker's heartbeat, as its runs see it."""

    def is_fresh(self) -> bool:
        """Whether nobody can have taken this worker for dead yet."""

    async def refresh(self) -> None:
        """Make sure that the worker counts as alive, or learn that its jobs were taken from it.

        Raises:
            StorageError: The storage does not answer.
        """


class Completions(Protocol):
    """Those who wait for other jobs to end."""

    def end_of(self, job_id: str) -> asyncio.Future[RuntimeEvent]:
        """Return a future of the next event with which the job stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunServices:
    """What every run of a kernel uses."""

    storage: Storage
    clock: Clock
    bus: EventBus
    owner: str
    options: KernelOptions
    ledger: Ledger
    policies: Policies
    lease: Lease
    """Of the worker: nothing begins that another worker may have taken over."""
    abilities: Abilities
    retry: RetryPolicy
    orchestration: OrchestrationConfig | None
    """Of jobs whose request and operator have none."""
    ends: Completions
    """Of other jobs."""
    live: LiveCalls = field(default_factory=LiveCalls)
    """Answers that are coming."""
    outages: Queue = field(default_factory=Queue)
    turns: Turns = field(default_factory=Turns)
    """Shared by all runs, as the loop is."""
