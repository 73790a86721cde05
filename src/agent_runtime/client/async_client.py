"""`AsyncClient`: the service, for asynchronous code."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final, Self

import httpx2

from agent_runtime.client.actions import AsyncActions
from agent_runtime.client.budgets import AsyncBudgets
from agent_runtime.client.execution_logs import AsyncExecutionLogs
from agent_runtime.client.following import follow
from agent_runtime.client.jobs import AsyncJobs
from agent_runtime.client.keys import AsyncKeys
from agent_runtime.client.ledger import AsyncLedger
from agent_runtime.client.messages import AsyncMessages
from agent_runtime.client.models import Caller, Event, Executed, Health, Overview, Worker
from agent_runtime.client.policies import AsyncPolicies
from agent_runtime.client.schedules import AsyncSchedules
from agent_runtime.client.sending import Sender
from agent_runtime.errors import AgentRuntimeError, InvalidInput
from agent_runtime.values.checks import check_seconds, check_whole

TIMEOUT: Final = 60.0
PATIENCE: Final = 30.0


class AsyncClient:
    """A client of a service.

    A request that was refused because there were too many (429) is sent again, after as long as the service says. So is one whose connection
    was lost or that was answered with a 502, 503 or 504, if doing it twice does no harm: whatever reads, a submission and a message, which
    have a key for that, a cancellation, and what stores a budget or a schedule.

    Args:
        url: Where the service is.
        key: An API key; none for a service that asks for none.
        timeout: Seconds for which an answer may keep one waiting.
        tries: How often a request is sent at most, and how often in a row a stream may be lost. By default what only reads is tried for as
            long as patience lasts, so that a service that is started anew is waited for, and what must not be done twice five times.
        patience: Seconds for which the tries of one request may wait, all together.
        transport: Instead of connections, such as `httpx2.ASGITransport(app)` in tests.

    Attributes:
        jobs: Submit, find, follow, stop and retry.
        messages: Send.
        actions: Questions to people.
        schedules: What is started by cron, by interval or once.
        budgets: The ceilings.
        ledger: What was spent.
        policies: What the rules would decide.
        keys: API keys.
        execution_logs: What agents did and models were asked.

    Raises:
        InvalidInput: A bound is not valid.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = TIMEOUT,
        tries: int | None = None,
        patience: float = PATIENCE,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        check_seconds("timeout", timeout, zero=False)
        check_seconds("patience", patience)
        if tries is not None:
            check_whole("tries", tries, least=1)
        headers = {} if key is None else {"Authorization": f"Bearer {_sent(key)}"}
        make = partial(
            httpx2.AsyncClient, base_url=url, headers=headers, timeout=timeout, transport=transport
        )
        self._sender = sender = Sender(make, timeout=timeout, tries=tries, patience=patience)
        self.jobs = AsyncJobs(sender)
        self.messages = AsyncMessages(sender)
        self.actions = AsyncActions(sender)
        self.schedules = AsyncSchedules(sender)
        self.budgets = AsyncBudgets(sender)
        self.ledger = AsyncLedger(sender)
        self.policies = AsyncPolicies(sender)
        self.keys = AsyncKeys(sender)
        self.execution_logs = AsyncExecutionLogs(sender)

    async def overview(self, *, scope_id: str | None = None) -> Overview:
        """Return what a first page shows, in one request."""
        return await self._sender.call("GET", "/v1/overview", Overview, query={"scope_id": scope_id})

    async def whoami(self) -> Caller:
        """Return who the key makes of this client, and what it may do."""
        return await self._sender.call("GET", "/v1/session", Caller)

    async def metrics(self) -> str:
        """Return what Prometheus reads. It takes a key for all scopes."""
        return (await self._sender.send("GET", "/metrics")).text

    async def executed(self) -> Executed:
        """Return which operators the workers know, and how many these are."""
        return await self._sender.call("GET", "/v1/operators", Executed)

    async def workers(self) -> Sequence[Worker]:
        """Return the processes that execute jobs. It takes a key for all scopes."""
        return [worker async for worker in self._sender.pages("/v1/workers", Worker, query={"limit": 500})]

    async def events(
        self,
        *,
        scope_id: str | None = None,
        job_ids: Sequence[str] = (),
        types: Sequence[str] = (),
        after: int | None = None,
    ) -> AsyncGenerator[Event | None, None]:
        """Yield the events of many jobs in one line, without an end; `None` where some are missing, because this reader was away for too long.

        Args:
            scope_id: For keys for all scopes.
            job_ids: Only these jobs'.
            types: Only these types, or families of them, such as `job` or `action`.
            after: Position of the last event that is known; without one, what is written from now on.
        """
        events = follow(
            self._sender,
            "/v1/events",
            path={},
            query={"scope_id": scope_id, "job_id": job_ids, "type": types, "after": after, "named": True},
        )
        async with aclosing(events):
            async for event in events:
                yield event

    async def is_live(self) -> bool:
        """Whether the service answers at all."""
        try:
            return (await self._sender.call("GET", "/health/live", Health, again=False)).status == "ok"
        except AgentRuntimeError:
            return False

    async def is_ready(self) -> bool:
        """Whether the service can do its work."""
        try:
            return (await self._sender.call("GET", "/health/ready", Health, again=False)).status == "ok"
        except AgentRuntimeError:
            return False

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self._sender.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


def _sent(key: str) -> str:
    """Return a key without the end of the line it was read from. Raises `InvalidInput`, which does not repeat it, for what no header can be."""
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise InvalidInput("this is no API key: it has characters that no key has")
    return key
