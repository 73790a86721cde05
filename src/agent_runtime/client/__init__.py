"""A client of the service: jobs, questions, schedules, budgets, costs, keys and logs over HTTP, for asynchronous and for ordinary code.

It needs no extra: neither the service nor a database is on its side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_client.lazy_names import lazy_names

if TYPE_CHECKING:
    from agent_runtime.client.actions import AsyncActions
    from agent_runtime.client.async_client import AsyncClient
    from agent_runtime.client.blocking_client import Client
    from agent_runtime.client.budgets import AsyncBudgets
    from agent_runtime.client.execution_logs import AsyncExecutionLogs
    from agent_runtime.client.jobs import AsyncJobs
    from agent_runtime.client.keys import AsyncKeys
    from agent_runtime.client.ledger import AsyncLedger
    from agent_runtime.client.messages import AsyncMessages
    from agent_runtime.client.policies import AsyncPolicies
    from agent_runtime.client.schedules import AsyncSchedules
    from agent_runtime.client.texts import AnswerTexts

__all__ = [
    "AnswerTexts",
    "AsyncActions",
    "AsyncBudgets",
    "AsyncClient",
    "AsyncExecutionLogs",
    "AsyncJobs",
    "AsyncKeys",
    "AsyncLedger",
    "AsyncMessages",
    "AsyncPolicies",
    "AsyncSchedules",
    "Client",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "actions": "AsyncActions",
        "async_client": "AsyncClient",
        "blocking_client": "Client",
        "budgets": "AsyncBudgets",
        "execution_logs": "AsyncExecutionLogs",
        "jobs": "AsyncJobs",
        "keys": "AsyncKeys",
        "ledger": "AsyncLedger",
        "messages": "AsyncMessages",
        "policies": "AsyncPolicies",
        "schedules": "AsyncSchedules",
        "texts": "AnswerTexts",
    },
)
