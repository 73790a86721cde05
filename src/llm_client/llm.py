"""The smallest way to ask a model: text in, text out, each call told to a logger."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any, Protocol, Unpack

from llm_client.blocking import run_blocking
from llm_client.engine.engine import ExecutionEngine
from llm_client.engine.event_stream import EventStream, OpenStream
from llm_client.logs import logger_of
from llm_client.messages import CompletionResult, Message, StreamEvent
from llm_client.providers.base import Provider
from llm_client.spec import AskedFields, RequestContext, RequestSpec
from llm_client.usage import Usage

logger = logger_of(__name__)


class CallLogger(Protocol):
    """Records model calls. What it raises is logged and never touches the call."""

    async def start_llm_call(
        self,
        *,
        provider: str,
        model_id: str,
        call_type: str,
        prompt: str,
        is_streaming: bool,
        execution_log_id: str | None,
        report_id: str | None,
        completion_id: str | None,
        metadata: Mapping[str, object] | None,
    ) -> object:
        """Open a record and return it."""
        ...

    async def end_llm_call(
        self,
        log: Any,
        *,
        status: str,
        response: str | None,
        error_message: str | None,
        input_tokens: int | None,
        output_tokens: int | None,
        chunks_count: int | None,
        first_token_ms: int | None,
        usage: Usage | None,
        metadata: Mapping[str, object] | None,
    ) -> None:
        """Close a record with status `completed`, `failed` or `cancelled`."""
        ...


class InferenceOptions(AskedFields, total=False):
    """The arguments of `LLM.inference_async` besides the prompt."""

    execution_log_id: str | None
    report_id: str | None
    completion_id: str | None
    metadata: Mapping[str, object] | None
    context: RequestContext | None


class LLM:
    """One model, asked with text.

    Args:
        model: A string such as `openai:gpt-5.2`, a provider, or an engine.
        llm_call_logger: Records every call.
        system: Instruction every call begins with.
    """

    def __init__(
        self,
        model: str | Provider | ExecutionEngine,
        *,
        llm_call_logger: CallLogger | None = None,
        system: str | None = None,
    ) -> None:
        self._owns_engine = not isinstance(model, ExecutionEngine)
        self.engine = model if isinstance(model, ExecutionEngine) else ExecutionEngine(model)
        self._logger = llm_call_logger
        self._system = (Message.system(system),) if system else ()

    def inference(self, prompt: str, **options: Unpack[InferenceOptions]) -> str:
        """Ask and return the answer, in ordinary code; the arguments are those of `inference_async`.

        Raises:
            ConfigurationError: The calling thread runs an event loop; use `await llm.inference_async(…)` there.
        """
        return run_blocking(self.inference_async(prompt, **options), "await llm.inference_async(...)")

    async def inference_async(
        self,
        prompt: str,
        *,
        execution_log_id: str | None = None,
        report_id: str | None = None,
        completion_id: str | None = None,
        metadata: Mapping[str, object] | None = None,
        context: RequestContext | None = None,
        **options: Unpack[AskedFields],
    ) -> str:
        """Ask and return the answer.

        Args:
            prompt: What to ask.
            execution_log_id: For the logger: the execution the call belongs to.
            report_id: For the logger.
            completion_id: For the logger.
            metadata: For the logger.
            context: On whose behalf.
            options: Further fields of `RequestSpec`, such as `temperature`.

        Raises:
            ProviderError: The model did not answer.
        """
        record = _Record(self._logger, self.engine, prompt, "inference")
        await record.open(execution_log_id, report_id, completion_id, metadata)
        try:
            result = await self.engine.complete(self._spec(prompt, options), context=context)
            record.result = result
        except BaseException as error:
            record.error = error
            raise
        finally:
            await record.close()
        return result.content

    def inference_stream(
        self,
        prompt: str,
        *,
        execution_log_id: str | None = None,
        report_id: str | None = None,
        completion_id: str | None = None,
        metadata: Mapping[str, object] | None = None,
        context: RequestContext | None = None,
        **options: Unpack[AskedFields],
    ) -> EventStream[str]:
        """Ask and yield the answer's text as it comes; the arguments are those of `inference_async`.

        Leaving the stream – closing it, or leaving the loop over it – cancels the call.
        """
        record = _Record(self._logger, self.engine, prompt, "inference_stream")

        async def ask(stream: OpenStream[str]) -> None:
            spoken = False

            def emit(event: StreamEvent) -> None:
                nonlocal spoken
                if event.type == "token":
                    spoken = True
                    stream.tell(event.text)

            await record.open(execution_log_id, report_id, completion_id, metadata)
            try:
                result = await self.engine.complete(self._spec(prompt, options), context=context, emit=emit)
                if result.content and not spoken:  # it was remembered, not given
                    stream.tell(result.content)
                await stream.emptied()
                record.result = result
            except BaseException as error:
                record.error = error
                raise
            finally:
                await record.close()

        async def heard(text: str | Exception) -> None:
            if isinstance(text, str):
                record.hear(text)

        return EventStream(ask, heard)

    async def aclose(self) -> None:
        """Close the engine if it was made here; may be called twice."""
        if self._owns_engine:
            await self.engine.aclose()

    def _spec(self, prompt: str, options: AskedFields) -> RequestSpec:
        return RequestSpec(messages=(*self._system, Message.user(prompt)), **options)


class _Record:
    """The log of one call: opened before it, closed after it however it ended."""

    def __init__(
        self, call_logger: CallLogger | None, engine: ExecutionEngine, prompt: str, call_type: str
    ) -> None:
        self._logger = call_logger
        self._engine = engine
        self._prompt = prompt
        self._call_type = call_type
        self._log: object = None
        self.result: CompletionResult | None = None
        self.error: BaseException | None = None
        self.chunks: list[str] = []
        self.first_token_ms: int | None = None
        self._asked_at = 0.0

    def hear(self, text: str) -> None:
        """Take a piece of the answer."""
        if not self.chunks:
            self.first_token_ms = round((monotonic() - self._asked_at) * 1000)
        self.chunks.append(text)

    async def open(
        self,
        execution_log_id: str | None,
        report_id: str | None,
        completion_id: str | None,
        metadata: Mapping[str, object] | None,
    ) -> None:
        self._asked_at = monotonic()
        if self._logger is None:
            return
        provider = self._engine.provider
        try:
            self._log = await self._logger.start_llm_call(
                provider=provider.name,
                model_id=provider.model,
                call_type=self._call_type,
                prompt=self._prompt,
                is_streaming=self._call_type == "inference_stream",
                execution_log_id=execution_log_id,
                report_id=report_id,
                completion_id=completion_id,
                metadata=metadata,
            )
        except Exception:
            logger.exception("a model call could not be logged")
            self._logger = None
        self._asked_at = monotonic()

    async def close(self) -> None:
        if self._logger is None:
            return
        usage = self.result.usage if self.result is not None else getattr(self.error, "usage", None)
        partial = "".join(self.chunks) or None
        try:
            await self._logger.end_llm_call(
                self._log,
                status=self._status(),
                response=self.result.content if self.result is not None else partial,
                error_message=None if self.error is None else str(self.error),
                input_tokens=usage.input_tokens if usage is not None else None,
                output_tokens=usage.output_tokens if usage is not None else None,
                chunks_count=len(self.chunks) if self._call_type == "inference_stream" else None,
                first_token_ms=self.first_token_ms,
                usage=usage,
                metadata=None,
            )
        except Exception:
            logger.exception("the end of a model call could not be logged")

    def _status(self) -> str:
        if self.result is not None:
            return "completed"
        return "failed" if isinstance(self.error, Exception) else "cancelled"
