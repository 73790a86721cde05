"""A client of the service: jobs, questions, budgets, costs, keys and logs over HTTP, for asynchronous and for ordinary code.

It needs no extra: neither the service nor a database is on its side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_client.lazy_names import lazy_names

if TYPE_CHECKING:
    from agent_runtime.client.async_client import AsyncClient
    from agent_runtime.client.blocking_client import Client
    from agent_runtime.client.texts import AnswerTexts

__all__ = ["AnswerTexts", "AsyncClient", "Client"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {"async_client": "AsyncClient", "blocking_client": "Client", "texts": "AnswerTexts"},
)
