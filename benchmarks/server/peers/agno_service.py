"""Agno's AgentOS with its durable queue: an agent whose model answers at once, and one that takes steps."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from agno.agent import Agent
from agno.db.postgres import AsyncPostgresDb
from agno.job_queue.config import QueueConfig
from agno.models.base import Model
from agno.models.response import ModelResponse
from agno.os import AgentOS
from steps import STEPS, step


class Instant(Model):
    """A model that answers at once."""

    def __init__(self) -> None:
        super().__init__(id="instant", name="instant", provider="instant")

    def invoke(self, *args: Any, **kwargs: Any) -> ModelResponse:
        return ModelResponse(role="assistant", content="done")

    async def ainvoke(self, *args: Any, **kwargs: Any) -> ModelResponse:
        return self.invoke()

    def invoke_stream(self, *args: Any, **kwargs: Any) -> Iterator[ModelResponse]:
        yield self.invoke()

    async def ainvoke_stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ModelResponse]:
        yield self.invoke()

    def _parse_provider_response(self, response: Any, **kwargs: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response


class Stepping(Instant):
    """A model that has a tool called a few times before it answers."""

    async def ainvoke(self, messages: list[Any], *args: Any, **kwargs: Any) -> ModelResponse:
        taken = sum(message.role == "tool" for message in messages)
        job = next(str(message.content) for message in messages if message.role == "user")
        if taken == STEPS:
            return self.invoke()
        call = {"id": f"call-{taken}", "type": "function"}
        arguments = f'{{"job": "{job}", "number": {taken}}}'
        return ModelResponse(
            role="assistant", tool_calls=[{**call, "function": {"name": "take_step", "arguments": arguments}}]
        )


async def take_step(job: str, number: int) -> str:
    """Take one step."""
    await step(job, number)
    return "taken"


db = AsyncPostgresDb(db_url=os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"))
agents = [
    Agent(id="echo", model=Instant(), db=db, telemetry=False),
    Agent(id="stepping", model=Stepping(), tools=[take_step], db=db, telemetry=False),
]
# As lasting as it can be: attempts after a crash, found as soon as its rules for leases permit.
queue = QueueConfig(
    durable=True,
    max_attempts=3,
    max_queue_depth=1_000_000,
    lock_grace_seconds=15,
    stop_timeout_seconds=5,
    retry_delay_seconds=1,
)
app = AgentOS(id="bench", agents=agents, db=db, telemetry=False, queue=queue).get_app()
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
