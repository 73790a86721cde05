"""`Client`: the service, for ordinary code. Every method is that of `AsyncClient`, waited for."""

from __future__ import annotations

from typing import Self

import httpx2

from agent_runtime.client.actions import AsyncActions
from agent_runtime.client.async_client import PATIENCE, TIMEOUT, AsyncClient
from agent_runtime.client.blocking import Blocking, one_by_one, waited
from agent_runtime.client.budgets import AsyncBudgets
from agent_runtime.client.execution_logs import AsyncExecutionLogs
from agent_runtime.client.jobs import AsyncJobs
from agent_runtime.client.keys import AsyncKeys
from agent_runtime.client.ledger import AsyncLedger
from agent_runtime.client.messages import AsyncMessages
from agent_runtime.client.policies import AsyncPolicies
from agent_runtime.client.schedules import AsyncSchedules


class Jobs(Blocking[AsyncJobs]):
    """Jobs of the service."""

    submit = waited(AsyncJobs.submit)
    list = one_by_one(AsyncJobs.list)
    get = waited(AsyncJobs.get)
    outcome = waited(AsyncJobs.outcome)
    result = waited(AsyncJobs.result)
    cancel = waited(AsyncJobs.cancel)
    retry = waited(AsyncJobs.retry)
    unblock = waited(AsyncJobs.unblock)
    history = one_by_one(AsyncJobs.history)
    events = one_by_one(AsyncJobs.events)


class Messages(Blocking[AsyncMessages]):
    """Messages to jobs."""

    send = waited(AsyncMessages.send)


class Actions(Blocking[AsyncActions]):
    """Questions to people."""

    list = one_by_one(AsyncActions.list)
    get = waited(AsyncActions.get)
    resolve = waited(AsyncActions.resolve)
    cancel = waited(AsyncActions.cancel)


class Schedules(Blocking[AsyncSchedules]):
    """Schedules."""

    put = waited(AsyncSchedules.put)
    list = one_by_one(AsyncSchedules.list)
    get = waited(AsyncSchedules.get)
    delete = waited(AsyncSchedules.delete)
    pause = waited(AsyncSchedules.pause)
    resume = waited(AsyncSchedules.resume)
    pause_all = waited(AsyncSchedules.pause_all)
    resume_all = waited(AsyncSchedules.resume_all)
    fires = one_by_one(AsyncSchedules.fires)


class Budgets(Blocking[AsyncBudgets]):
    """Standing budgets."""

    list = one_by_one(AsyncBudgets.list)
    save = waited(AsyncBudgets.save)
    change = waited(AsyncBudgets.change)
    delete = waited(AsyncBudgets.delete)


class Ledger(Blocking[AsyncLedger]):
    """What was spent."""

    entries = one_by_one(AsyncLedger.entries)
    costs = waited(AsyncLedger.costs)


class Policies(Blocking[AsyncPolicies]):
    """The rules."""

    explain = waited(AsyncPolicies.explain)


class Keys(Blocking[AsyncKeys]):
    """API keys."""

    list = one_by_one(AsyncKeys.list)
    get = waited(AsyncKeys.get)
    create = waited(AsyncKeys.create)
    rotate = waited(AsyncKeys.rotate)
    revoke = waited(AsyncKeys.revoke)


class ExecutionLogs(Blocking[AsyncExecutionLogs]):
    """The execution logs."""

    executions = waited(AsyncExecutionLogs.executions)
    execution = waited(AsyncExecutionLogs.execution)
    llm_calls = waited(AsyncExecutionLogs.llm_calls)
    llm_call = waited(AsyncExecutionLogs.llm_call)
    summary = waited(AsyncExecutionLogs.summary)
    delete = waited(AsyncExecutionLogs.delete)


class Client(Blocking[AsyncClient]):
    """A client of a service for ordinary code: arguments, attributes and errors are those of `AsyncClient`.

    Calls run in a thread of the process that all such clients share, and block this one. In a running event loop they are refused.
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
        part = AsyncClient(url, key, timeout=timeout, tries=tries, patience=patience, transport=transport)
        super().__init__(part)
        self.jobs = Jobs(part.jobs)
        self.messages = Messages(part.messages)
        self.actions = Actions(part.actions)
        self.schedules = Schedules(part.schedules)
        self.budgets = Budgets(part.budgets)
        self.ledger = Ledger(part.ledger)
        self.policies = Policies(part.policies)
        self.keys = Keys(part.keys)
        self.execution_logs = ExecutionLogs(part.execution_logs)

    overview = waited(AsyncClient.overview)
    whoami = waited(AsyncClient.whoami)
    metrics = waited(AsyncClient.metrics)
    executed = waited(AsyncClient.executed)
    workers = waited(AsyncClient.workers)
    events = one_by_one(AsyncClient.events)
    is_live = waited(AsyncClient.is_live)
    is_ready = waited(AsyncClient.is_ready)
    close = waited(AsyncClient.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
