"""Resident agents on a kernel: their turns are its jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from agent_runtime.jobs.manager import JobManager
from agent_runtime.kernel.handle import ExecutionHandle
from agent_runtime.kernel.request import ExecutionRequest
from agent_runtime.ledger.ledger import Ledger
from agent_runtime.operators.operator import OperatorRegistry
from agent_runtime.ports.agents import AgentMessage, StoredAgent
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.storage import Storage
from agent_runtime.residents.definitions import AgentRegistry
from agent_runtime.residents.history import AgentHistory
from agent_runtime.residents.mail import MailManager
from agent_runtime.residents.manager import AgentManager, budget_of, session_of
from agent_runtime.residents.records import AgentRecords
from agent_runtime.residents.settings import AgentSettings
from agent_runtime.residents.turn import operator_of, turns_of
from agent_runtime.values.job import JobRecord, JobStatus
from agent_runtime.worker.agent_keeper import AgentKeeper

if TYPE_CHECKING:
    from llm_client.engine.engine import ExecutionEngine


class Runs(Protocol):
    """What a kernel does for turns."""

    async def execute(self, request: ExecutionRequest) -> ExecutionHandle:
        """Accept a job and return its handle."""
        ...

    async def retry(self, job_id: str, *, scope_id: str | None = None) -> ExecutionHandle:
        """Have another job go on in the place of one that has failed, and return its handle."""
        ...


class KernelTurns:
    """Turns of agents as jobs of a kernel: a message has one job, and those that go on in its place.

    Args:
        runs: Accepts jobs.
        storage: Where jobs are found by their keys.
        jobs: All there are.
        ledger: Knows what agents have spent.
        end_of: Gives a future of a job's next stop.
    """

    def __init__(
        self,
        runs: Runs,
        *,
        storage: Storage,
        jobs: JobManager,
        ledger: Ledger,
        end_of: Callable[[str], asyncio.Future[Any]],
    ) -> None:
        self._runs = runs
        self._storage = storage
        self._jobs = jobs
        self._ledger = ledger
        self.end_of = end_of

    async def start(self, agent: StoredAgent, message: AgentMessage) -> str:
        """Begin the turn that handles a message, or go on with it: what has succeeded in it before is recalled."""
        head = await self.find(agent, message)
        if head is not None:
            if head.status.is_active or head.status is JobStatus.SUCCEEDED:
                return head.job_id
            retried = await self._runs.retry(head.job_id, scope_id=agent.scope_id)
            return retried.job_id
        told = {"agent_id": agent.agent_id, "message_id": message.message_id}
        request = ExecutionRequest(
            operator=operator_of(agent.definition),
            input=told,
            scope_id=agent.scope_id,
            principal_id=agent.principal_id,
            session_id=session_of(agent.agent_id),
            idempotency_key=_key(message),
            priority=int(message.priority),
            metadata={**told, "kind": message.kind.value},
        )
        return (await self._runs.execute(request)).job_id

    async def find(self, agent: StoredAgent, message: AgentMessage) -> JobRecord | None:
        """Return the job that handles a message, the last one of its chain, or `None`."""
        first = await self._storage.find_job(agent.scope_id, _key(message))
        return None if first is None else await self._jobs.head(first.job_id, scope_id=agent.scope_id)

    async def cancel(self, message: AgentMessage) -> bool:
        """Ask the turn that handles a message to stop; return whether one goes on."""
        first = await self._storage.find_job(message.scope_id, _key(message))
        if first is None:
            return False
        head = await self._jobs.head(first.job_id, scope_id=message.scope_id)
        if head.status.is_terminal:
            return False
        await self._jobs.cancel(head.job_id, scope_id=message.scope_id)
        return True

    async def may_spend(self, agent: StoredAgent) -> bool:
        """Whether an agent has money left today."""
        budget = budget_of(agent)
        if budget is None:
            return True
        status = await self._ledger.status(budget)
        return all(line.left > 0 for line in status.lines)


def _key(message: AgentMessage) -> str:
    return f"agent:{message.mailbox}:{message.message_id}"


DEFAULT_DEFINITION: Final = "agent"


class Residents:
    """All that a kernel has for resident agents.

    Args:
        runs: The kernel.
        storage: Where they are kept.
        clock: What time it is.
        holder: This process.
        jobs: The kernel's.
        ledger: The kernel's.
        operators: Where the operators of their turns are added.
        registry: What they are made of; `None` for agents of the kernel's own agent alone.
        engine: Asked where neither a definition nor the registry names a model.
        check: Raises when nobody can execute an operator.
        end_of: Gives a future of a job's next stop.
        sweep_interval: Seconds after which the storage is looked at in any case.
        max_agents: How many one scope may have.
    """

    def __init__(
        self,
        runs: Runs,
        *,
        storage: Storage,
        clock: Clock,
        holder: str,
        jobs: JobManager,
        ledger: Ledger,
        operators: OperatorRegistry,
        registry: AgentRegistry | None,
        engine: ExecutionEngine | None,
        check: Callable[[str], Awaitable[None]],
        end_of: Callable[[str], asyncio.Future[Any]],
        sweep_interval: float,
        max_agents: int,
    ) -> None:
        turns = KernelTurns(runs, storage=storage, jobs=jobs, ledger=ledger, end_of=end_of)
        self.registry = _with_default(registry or AgentRegistry(), operators)
        self.history = AgentHistory(storage, clock, sweep_interval=sweep_interval)
        self.mail = MailManager(storage, clock)

        async def check_definition(definition: str) -> None:
            await check(operator_of(definition))

        def defaults(definition: str) -> AgentSettings | None:
            return self.registry.get(definition).defaults if definition in self.registry else None

        self.agents = AgentManager(
            storage,
            clock,
            ledger=ledger,
            check_definition=check_definition,
            defaults=defaults,
            cancel_turn=turns.cancel,
            max_agents=max_agents,
        )
        records = AgentRecords(storage, clock, manager=self.agents, mail=self.mail, history=self.history)
        for operator in turns_of(self.registry, records=records, doings=records, engine=engine):
            operators.add(operator)
        self.keeper = AgentKeeper(
            storage,
            clock,
            holder=holder,
            turns=turns,
            sweep=self.history.bring_abandoned,
            sweep_interval=sweep_interval,
        )

    def changed(self) -> None:
        """Hear that something was written about agents."""
        self.keeper.wake()
        self.history.notify()


def _with_default(registry: AgentRegistry, operators: OperatorRegistry) -> AgentRegistry:
    """Return a registry that knows the kernel's own agent, too."""
    if DEFAULT_DEFINITION not in registry and DEFAULT_DEFINITION in operators:
        agent = getattr(operators.get(DEFAULT_DEFINITION), "_agent", None)
        if agent is not None:
            registry.add(DEFAULT_DEFINITION, agent)
    return registry
