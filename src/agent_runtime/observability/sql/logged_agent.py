"""An agent whose runs and model calls are logged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from agent_runtime.observability.sql.calls import LLMCallLogger
from agent_runtime.observability.sql.database import database_of
from agent_runtime.observability.sql.executions import ExecutionLogger
from agent_runtime.observability.sql.prompts import text_of
from agent_runtime.values.context import DEFAULT_SCOPE
from llm_client.agent.agent import Agent, Prompt
from llm_client.agent.conversation import Conversation
from llm_client.agent.result import AgentResult
from llm_client.messages import CompletionResult, Message
from llm_client.middleware import Emit, ModelAttempt, ModelMiddleware, ProceedAttempt, observing
from llm_client.spec import RequestContext
from llm_client.turns import aside


class LoggedAgent(Agent):
    """An agent that logs each of its runs as an execution, and each attempt to ask its model as a call that belongs to it.

    It is an `Agent` in everything else, and takes an agent's arguments. What runs as a job needs none of it: the journal tells it all.

    Args:
        db: Where the logs go: a storage, an SQLAlchemy engine, an `AsyncEngine` or an `AsyncSession`.
        scope_id: Whose runs they are.
        principal_id: Who asks for them.
        session_id: What conversation they belong to.
        content: Whether texts are kept.
        arguments: Those of `Agent`.

    Attributes:
        execution_logger: Logs the runs.
        llm_call_logger: Logs the calls.
    """

    def __init__(
        self,
        *,
        db: object,
        scope_id: str = DEFAULT_SCOPE,
        principal_id: str | None = None,
        session_id: str | None = None,
        content: bool = True,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._database = database_of(db)
        self._keeps_content = content
        self.execution_logger = ExecutionLogger(
            self._database,
            scope_id=scope_id,
            principal_id=principal_id,
            session_id=session_id,
            content=content,
        )
        self.llm_call_logger = LLMCallLogger(
            self._database,
            scope_id=scope_id,
            principal_id=principal_id,
            session_id=session_id,
            agent=self.name,
            content=content,
        )

    async def _run(
        self,
        prompt: Prompt | None,
        context: RequestContext | None,
        conversation: Conversation | None,
        messages: Sequence[Message] | None,
        max_turns: int | None,
        timeout: float | None,
        emit: Emit | None,
    ) -> AgentResult:
        asked = prompt.text if isinstance(prompt, Message) else prompt if isinstance(prompt, str) else None
        async with self.execution_logger.log_execution(
            self.name, "run", input_data=None if asked is None else {"prompt": asked}
        ) as log:
            attempts = _LoggedAttempts(
                self.llm_call_logger, is_streaming=emit is not None, content=self._keeps_content
            )
            with observing(attempts):
                result = await super()._run(prompt, context, conversation, messages, max_turns, timeout, emit)
            log.status = "completed" if result.success else "failed"
            log.output_data = {"content": result.content, "status": result.status, "turns": result.turns}
            if result.error is not None:
                log.metadata["error"] = str(result.error)
        return result

    async def aclose(self) -> None:
        """Close the engine if it was made here, and finish what waits to be logged; may be called twice."""
        await super().aclose()
        await asyncio.shield(self._database.aclose())


class _LoggedAttempts(ModelMiddleware):
    """Logs what really goes out to a model."""

    def __init__(self, logger: LLMCallLogger, *, is_streaming: bool, content: bool) -> None:
        self._logger = logger
        self._content = content
        self._is_streaming = is_streaming

    async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
        """Log one attempt, however it ends."""
        messages = tuple(attempt.spec.messages)
        async with self._logger.log_llm_call(
            attempt.provider.name,
            attempt.model,
            await aside(text_of, messages) if self._content else None,  # it may be a long conversation
            call_type="inference_stream" if self._is_streaming else "inference",
            is_streaming=self._is_streaming,
        ) as call:
            result = await proceed(attempt)
            call.response, call.usage = result.content, result.usage
        return result
