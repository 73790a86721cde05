"""Logging what models are asked, outside of jobs as well."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypedDict, Unpack

from agent_runtime.observability.sql.database import database_of, is_callers
from agent_runtime.observability.sql.entries import costs
from agent_runtime.observability.sql.executions import CURRENT, STATUSES
from agent_runtime.observability.sql.ids import new_row
from agent_runtime.observability.sql.patience import WAIT_SECONDS, logged
from agent_runtime.observability.sql.pricing import TokenPrices, cost_of, repriced
from agent_runtime.observability.sql.prompts import text_of
from agent_runtime.observability.sql.records import LLMCallLog
from agent_runtime.observability.sql.tables import llm_call_logs
from agent_runtime.observability.sql.texts import kept, stored_id, stored_name
from agent_runtime.observability.sql.writing import Change
from agent_runtime.ports.clock import Clock, SystemClock
from agent_runtime.values.call_record import CallRecord
from agent_runtime.values.context import DEFAULT_SCOPE
from llm_client.background import in_background
from llm_client.blocking import run_blocking
from llm_client.codec import dump_tool_call
from llm_client.logs import logger_of
from llm_client.messages import CompletionResult
from llm_client.pricing.book import PriceBook
from llm_client.public_text import raw_text_of
from llm_client.public_text import text_of as text_of_error
from llm_client.turns import aside
from llm_client.usage import Usage

logger = logger_of(__name__)

MOST_WRITING: Final = 1000
ROOM_SECONDS: Final = 5.0


class CallFacts(TypedDict, total=False):
    """What is known of a call besides who is asked what; see `LLMCallLogger.start_llm_call`."""

    call_type: str
    is_streaming: bool
    execution_log_id: str | None
    report_id: str | None
    completion_id: str | None
    metadata: Mapping[str, object] | None
    agent: str | None


@dataclass(slots=True, kw_only=True)
class CallContext:
    """What the body of `log_llm_call` says of what came of the call."""

    log: LLMCallLog
    response: str | None = None
    usage: Usage | None = None
    """What it has used; its cost counts where it has one."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    chunks_count: int | None = None
    first_token_ms: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class LLMCallLogger:
    """Logs model calls as rows of `llm_call_logs`, with their tokens and what they cost.

    `LLM(…, llm_call_logger=…)` uses it, and so can a runner (`llm_logger`). A call belongs to the execution around it
    (`ExecutionLogger.log_execution`) unless another one is named. What is logged is written when a method returns, or soon after where the
    database is slow; what goes wrong with it is told to Python's `logging`, and never touches the call.

    Args:
        db: Where to: a storage, an SQLAlchemy engine, an `AsyncEngine` or an `AsyncSession`, whose transaction is left alone.
        scope_id: Whose calls they are.
        principal_id: Who asked for them.
        session_id: What conversation they belong to.
        agent: Whose calls they are where no execution around them says so.
        content: Whether texts are kept: prompts, answers and what errors say.
        token_prices: What models cost; see `token_prices`.
        prices: What all others cost.
        clock: What time it is.

    Attributes:
        token_prices: By the model's name, US dollars for 1,000 tokens: `{"input": 0.03, "output": 0.06}`, and `cached` where tokens from a
            cache cost something else. A list of these, each with the time it is `valid_from`, is a history.
    """

    def __init__(
        self,
        db: object,
        *,
        scope_id: str = DEFAULT_SCOPE,
        principal_id: str | None = None,
        session_id: str | None = None,
        agent: str = "",
        content: bool = True,
        token_prices: TokenPrices | None = None,
        prices: PriceBook | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._database = database_of(db)
        self._whose = {
            "scope_id": scope_id,  # compared as it is
            "principal_id": stored_id(principal_id),
            "session_id": stored_id(session_id),
        }
        self._agent = agent
        self._content = content
        self.token_prices: TokenPrices = dict(token_prices or {})
        self._prices = prices or PriceBook()
        self._clock = clock or SystemClock()
        self._writing: set[asyncio.Task[None]] = set()
        self._later: deque[Callable[[], Awaitable[None]]] = deque(maxlen=MOST_WRITING)
        """What is written when it is the caller's turn; of what is never asked for the oldest goes."""

    @asynccontextmanager
    async def log_llm_call(
        self, provider: str, model_id: str, prompt: str | None = None, **more: Unpack[CallFacts]
    ) -> AsyncIterator[CallContext]:
        """Log a call that the body makes: `completed`, `failed` with what was raised, or `cancelled`.

        Args:
            provider: Who is asked, such as `openai`.
            model_id: Which model.
            prompt: What is asked.
            more: Further arguments of `start_llm_call`.
        """
        context = CallContext(
            log=await self.start_llm_call(provider=provider, model_id=model_id, prompt=prompt, **more)
        )
        status, error = "completed", None
        try:
            yield context
        except BaseException as raised:
            status, error = "failed" if isinstance(raised, Exception) else "cancelled", raised
            raise
        finally:
            await self.end_llm_call(
                context.log,
                status=status,
                response=context.response,
                error_message=None if error is None else raw_text_of(error),
                input_tokens=context.input_tokens,
                output_tokens=context.output_tokens,
                chunks_count=context.chunks_count,
                first_token_ms=context.first_token_ms,
                usage=context.usage or getattr(error, "usage", None),
                metadata=context.metadata or None,
            )

    async def log_stream(
        self,
        chunks: AsyncIterable[str],
        *,
        provider: str,
        model_id: str,
        prompt: str | None = None,
        **more: Unpack[CallFacts],
    ) -> AsyncIterator[str]:
        """Pass the pieces of an answer on, and log the call: what came, in how many pieces, and when the first one did.

        A reader who leaves has the call logged as `cancelled` when this is closed. The other arguments are those of `log_llm_call`.
        """
        facts: CallFacts = {"call_type": "inference_stream", "is_streaming": True, **more}
        async with self.log_llm_call(provider, model_id, prompt, **facts) as call:
            heard: list[str] = []
            try:
                async for chunk in chunks:
                    if not heard:
                        call.first_token_ms = self._milliseconds_since(call.log.start_time)
                    heard.append(chunk)
                    yield chunk
            finally:
                call.response, call.chunks_count = "".join(heard), len(heard)

    async def start_llm_call(
        self,
        *,
        provider: str,
        model_id: str,
        call_type: str = "inference",
        prompt: str | None = None,
        is_streaming: bool = False,
        execution_log_id: str | None = None,
        report_id: str | None = None,
        completion_id: str | None = None,
        metadata: Mapping[str, object] | None = None,
        agent: str | None = None,
    ) -> LLMCallLog:
        """Log that a call begins, and return its row, for `end_llm_call`.

        Args:
            provider: Who is asked, such as `openai`.
            model_id: Which model.
            call_type: `inference`, `inference_stream` or `embedding`.
            prompt: What is asked.
            is_streaming: Whether the answer comes in pieces.
            execution_log_id: The row of the execution that it belongs to; by default the one around it.
            report_id: The report that it belongs to.
            completion_id: Likewise.
            metadata: What else is to be known.
            agent: Whose call it is; by default that of the execution.
        """
        around = CURRENT.get()
        values = self._begun(provider, model_id, call_type, is_streaming, self._clock.now()) | {
            "execution_log_id": stored_name(execution_log_id or (None if around is None else around.id)),
            "agent": stored_name(agent or (self._agent if around is None else around.agent_type)),
            "report_id": stored_name(report_id or (None if around is None else around.report_id)),
            "completion_id": stored_name(completion_id or (None if around is None else around.completion_id)),
        }
        if self._content:
            values |= await kept(prompt=prompt, metadata=metadata or None)
        id_ = new_row()
        await logged(self._database, Change(llm_call_logs, id_, values))
        return LLMCallLog.of({**values, "id": id_})

    async def end_llm_call(
        self,
        log: LLMCallLog,
        *,
        status: str = "completed",
        response: str | None = None,
        error_message: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        chunks_count: int | None = None,
        first_token_ms: int | None = None,
        usage: Usage | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Log how a call ended, with what it cost.

        Args:
            log: What `start_llm_call` has returned.
            status: `completed`, `failed` or `cancelled`.
            response: What was answered.
            error_message: What went wrong.
            input_tokens: What was read, where `usage` does not say it.
            output_tokens: What was written, likewise.
            chunks_count: In how many pieces the answer came.
            first_token_ms: Milliseconds until the first one did.
            usage: What was used; a cost in it counts.
            metadata: What else is to be known, in the place of what was said at its beginning.
        """
        values: dict[str, Any] = {
            **self._begun(log.provider, log.model_id, log.call_type, log.is_streaming, log.start_time),
            "execution_log_id": log.execution_log_id,
            "agent": log.agent,
            "status": status if status in STATUSES else "completed",
            "end_time": self._clock.now(),
            "duration_ms": self._milliseconds_since(log.start_time),
            "first_token_ms": first_token_ms,
            "chunks_count": chunks_count,
        }
        if usage is None and (input_tokens is not None or output_tokens is not None):
            usage = Usage(input_tokens=input_tokens or 0, output_tokens=output_tokens or 0, requests=1)
        if usage is not None:
            values |= await self._priced(log.provider, log.model_id, usage, log.start_time)
        if self._content:
            values |= await kept(response=response, error_message=error_message)
            if metadata:
                values |= await kept(metadata=metadata)
        await logged(self._database, Change(llm_call_logs, log.id, values))

    def record(self, record: CallRecord) -> None:
        """Take a runner's record of a call, and write it in the background of the running loop; at once where none runs.

        In the transaction of a session that is bound to a connection nothing is written in the background: before the runner's next call, or
        with `flush_async`.
        """
        around = CURRENT.get()
        if is_callers(self._database):  # whose transaction nobody may touch meanwhile
            self._later.append(partial(self._write, record, None if around is None else around.id))
            return
        work = self._write(record, None if around is None else around.id)
        try:
            task = in_background(work, name="writing a log")
        except RuntimeError:  # there is no loop here: whoever has none can wait
            run_blocking(work, "await flush_async()")
            return
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def room(self) -> None:
        """Return when what was given is written, or after a second; where much waits, after some more."""
        await self._write_later()
        if self._writing:
            seconds = ROOM_SECONDS if len(self._writing) > MOST_WRITING else WAIT_SECONDS
            await asyncio.wait(set(self._writing), timeout=seconds)

    def flush(self) -> None:
        """Return when what `record` was given is written, or has failed to be. Raises `ConfigurationError` in a running loop."""
        run_blocking(self.flush_async(), "await flush_async()")

    async def flush_async(self) -> None:
        """Return when what `record` was given is written, or has failed to be."""
        await self._write_later()
        if self._writing:
            await asyncio.wait(set(self._writing))

    async def _write_later(self) -> None:
        """Write what waits for its turn in the caller's transaction."""
        while self._later:
            await self._later.popleft()()

    async def recompute_costs(
        self,
        *,
        start_date: datetime,
        end_date: datetime,
        model_id: str | None = None,
    ) -> int:
        """Reckon anew what this scope's calls of a period have cost, after a price was corrected; return how many cost something else.

        What comes from journals has the cost of the ledger, which `agent-runtime costs` corrects, and stays.

        Args:
            start_date: From when on.
            end_date: Before when.
            model_id: Only calls of this model.
        """
        scope_id = str(self._whose["scope_id"])
        return await repriced(self._database, scope_id, start_date, end_date, model_id, self._costs)

    async def aclose(self) -> None:
        """Finish what waits to be written, and close what was opened for it."""
        await self.flush_async()
        await asyncio.shield(self._database.aclose())

    def _begun(
        self, provider: str, model_id: str, call_type: str, is_streaming: bool, at: datetime
    ) -> dict[str, Any]:
        return {
            **self._whose,
            "provider": stored_name(provider),
            "model_id": stored_name(model_id),
            "call_type": stored_name(call_type),
            "is_streaming": is_streaming,
            "status": "started",
            "start_time": at,
        }

    def _costs(self, provider: str, model_id: str, usage: Usage, at: datetime) -> dict[str, Any]:
        if usage.cost is None:
            mine = cost_of(self.token_prices, model_id, usage, at)
            if mine is not None:
                return mine
            usage = self._prices.price(provider, model_id, usage)
        return costs(usage, self._prices, provider, model_id)

    async def _priced(self, provider: str, model_id: str, usage: Usage, at: datetime) -> dict[str, Any]:
        """Return the columns of what a call has used and cost; a price that is none costs only the price."""
        try:
            if usage.cost is None and self._prices.needs_loading(provider, model_id):
                await asyncio.to_thread(self._prices.load)
            return self._costs(provider, model_id, usage, at)
        except Exception as error:  # noqa: BLE001 -- logging never touches what it tells of
            logger.warning("a call of %s has no price in its log: %s", model_id, text_of_error(error))
            return costs(usage, self._prices, None, None)

    async def _write(self, record: CallRecord, execution_log_id: str | None) -> None:
        values = await self._recorded(record, execution_log_id)
        await logged(self._database, Change(llm_call_logs, new_row(), values))

    async def _recorded(self, record: CallRecord, execution_log_id: str | None) -> dict[str, Any]:
        result: CompletionResult | None = record.result
        status = "completed" if record.status == "succeeded" else record.status
        milliseconds = round(record.duration_seconds * 1000)
        values = self._begun(record.provider, record.model, "inference", False, record.started_at) | {
            "status": status,
            "agent": stored_name(record.agent_name),
            "end_time": record.started_at + timedelta(milliseconds=milliseconds),
            "duration_ms": milliseconds,
            "attempt": record.attempt,
            "execution_log_id": execution_log_id,
        }
        if record.usage is not None:
            values |= await self._priced(record.provider, record.model, record.usage, record.started_at)
        if self._content and record.has_content:
            called = () if result is None else result.tool_calls
            asked = () if record.spec is None else tuple(record.spec.messages)
            values |= await kept(
                prompt=await aside(text_of, asked),  # it may be a long conversation
                response=None if result is None else result.content,
                error_message=record.error or record.validation_errors,
                metadata={"call_id": record.call_id, "request_id": record.request_id},
                tool_calls=[dump_tool_call(call) for call in called] or None,
            )
        return values

    def _milliseconds_since(self, start: datetime) -> int:
        return max(0, round((self._clock.now() - start).total_seconds() * 1000))
