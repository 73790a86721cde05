"""One run of an agent: the loop of model and tools, from a prompt to a result."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from llm_client.agent.calls import ToolCalls, Turn
from llm_client.agent.config import AgentConfig
from llm_client.agent.conversation import Conversation
from llm_client.agent.middleware.failures import MODEL_MISTAKES
from llm_client.agent.middleware.result_size import truncate
from llm_client.agent.result import AgentResult, RunStatus
from llm_client.agent.structured import OutputType
from llm_client.agent.window import ContextWindow
from llm_client.engine.engine import ExecutionEngine
from llm_client.engine.streams import events_of
from llm_client.errors import (
    ConfigurationError,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidResponse,
    LLMClientError,
    MalformedToolCall,
    NetworkBlocked,
    OutputInvalid,
    ProviderError,
    RunAborted,
    ScriptExhausted,
    ToolError,
)
from llm_client.messages import CompletionResult, Message, Part, StreamEvent, ToolCall
from llm_client.middleware import HOST, Emit
from llm_client.spec import OutputSchema, RequestContext, RequestSpec, new_id
from llm_client.tokens import TokenEstimator
from llm_client.tools.tool import Tool, ToolResult
from llm_client.turns import read_aside
from llm_client.usage import Usage

HIDDEN_ERROR = "Error: the tool failed."
UNANSWERED = "Error: the run ended before this call was answered."
REPAIR = "Your answer does not have the form that was asked for:\n{problems}\nAnswer again, with JSON alone."
EMPTY = "Your answer was empty. Answer, or call a tool."
FORM = "Now give this answer once more as JSON alone, in the form that is asked for."
MALFORMED = "Your tool call could not be read. Call the tool again, with arguments that are one JSON object."
_FINISHED = frozenset({"stop", "tool_calls", "other"})
"""Stop reasons of answers whose tool calls are whole."""
PROGRAM_MISTAKES = (ConfigurationError, NetworkBlocked, ScriptExhausted)
"""Failures that no model and no retry can mend; they are raised instead of ending a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDependencies:
    """What all runs of an agent share."""

    engine: ExecutionEngine
    calls: ToolCalls
    config: AgentConfig
    template: RequestSpec
    """Model and sampling of every request."""
    window: ContextWindow
    output: OutputType | None = None
    schema_with_tools: bool = True
    """Whether tools and an output schema go together in one request."""
    unseen: bool = False
    """Whether nobody but tools sees what a model asks of them: no step around them is the application's."""


_KEPT: Final = 0.6
"""Share of a request that was too long which is kept: how long it may be is not said in a form that can be trusted."""


@dataclass(slots=True, kw_only=True)
class Run:
    """The state of one run.

    The messages only grow, and a message is the same object from turn to turn, so that a host can tell what is new.
    """

    dependencies: RunDependencies
    tools: Sequence[Tool]
    messages: list[Message]
    conversation: Conversation
    context: RequestContext
    max_turns: int
    known: int
    """How many of the messages were there before the run: the system's and the conversation's."""
    emit: Emit | None = None
    run_id: str = field(default_factory=lambda: new_id("run"))
    turns: int = 0
    tool_calls: int = 0
    """Tool calls made so far."""
    usage: Usage = field(default_factory=Usage)
    answer: CompletionResult | None = None
    """The model's last one."""
    sent: Sequence[Message] = ()
    """What the last request held."""
    mistakes: int = 0
    repairs: int = 0
    empty: int = 0
    """Answers that said nothing."""
    room: int | None = None
    """Tokens that a request may have, where a model has said that one was too long."""
    too_long: ContextLengthExceeded | None = None
    """What the model has said then."""
    refused: Sequence[Message] = ()
    """What the request held that was too long."""
    has_called_tools: bool = False
    is_forming: bool = False
    """Whether the tools have done their part, and the answer is asked for in its form."""

    async def finish(self, timeout: float | None) -> AgentResult:
        """Run until the model is done or a bound is reached.

        Raises:
            RunAborted: A host or middleware ended the run.
        """
        result = await (self._answered() if timeout is None else self._in_time(timeout))
        await HOST.get().settled()
        return result

    async def _in_time(self, timeout: float) -> AgentResult:
        limit = HOST.get().time_limit(timeout)
        try:
            async with limit:
                return await self._answered()
        except TimeoutError:
            if not limit.expired:
                raise
        return self._end("timeout", error=LLMClientError(f"the run did not end within {timeout:g} seconds"))

    async def _answered(self) -> AgentResult:
        """Run the loop; a failure of the model is a result, a mistake of the program is raised."""
        try:
            return await self._loop()
        except (RunAborted, *PROGRAM_MISTAKES):
            raise
        except LLMClientError as error:
            if isinstance(error, ProviderError) and error.usage is not None:
                self.usage += error.usage
            return self._end("error", error=error)

    async def _loop(self) -> AgentResult:
        while self.turns < self.max_turns:
            try:
                answer = await self._ask()
            except MalformedToolCall as error:
                ended = self._correct(error)
            except ContextLengthExceeded as error:
                ended = self._shorten(error)
            else:
                ended = await self._take(answer)
            if ended is not None:
                return ended
        return self._end("max_turns", error=LLMClientError(f"the run needs more than {self.max_turns} turns"))

    async def _take(self, answer: CompletionResult) -> AgentResult | None:
        """Add an answer to the conversation and do what it asks; `None` when the model goes on.

        A stop reason counts, whatever else is there: no tool of an answer runs that was cut or refused.
        """
        if answer.finish_reason == "malformed_call":
            return self._correct(MalformedToolCall(answer.finish_message), answer.finish_message)
        if answer.is_empty and answer.finish_reason in _FINISHED:
            return self._ask_again()
        if self._is_cut_at_its_bound(answer):
            answer = replace(answer, finish_reason="length")
        self.messages.append(answer.message())
        self.answer = answer
        paused = answer.finish_reason == "pause"
        if paused and not answer.tool_calls:
            return None
        if answer.tool_calls and (paused or answer.finish_reason in _FINISHED) and answer.refusal is None:
            if answer.finish_reason == "other" and any(map(self._may_be_cut, answer.tool_calls)):
                return self._correct(MalformedToolCall(answer.finish_message), answer.finish_message)
            return await self._call_tools(answer)
        return await self._conclude(answer)

    def _is_cut_at_its_bound(self, answer: CompletionResult) -> bool:
        """Whether an answer is as long as it may be and its last call is not whole: vLLM calls such a one finished.

        (github.com/vllm-project/vllm/issues/53269)
        """
        most = self._most()
        if (
            most is None
            or not answer.tool_calls
            or answer.usage.iterations
            or answer.usage.output_tokens < most
        ):
            return False
        last = answer.tool_calls[-1]
        return answer.finish_reason in _FINISHED and (last.malformed is not None or self._may_be_cut(last))

    def _most(self) -> int | None:
        """Return how many tokens an answer may have, if anybody has said so."""
        dependencies = self.dependencies
        return dependencies.config.max_output_tokens or dependencies.template.max_tokens

    def _may_be_cut(self, call: ToolCall) -> bool:
        """Whether a call lacks all its arguments, and may so mean something else than the tool's defaults."""
        tool = next((tool for tool in self.tools if tool.name == call.name), None)
        return (
            not call.arguments and call.malformed is None and bool(tool and tool.parameters.get("properties"))
        )

    def _correct(self, error: MalformedToolCall, words: str | None = None) -> AgentResult | None:
        """Tell the model that its tool call could not be read, in the vendor's words where there are any."""
        if error.usage is not None:
            self.usage += error.usage
        self.mistakes += 1
        if self.mistakes > self.dependencies.config.max_tool_corrections:
            return self._end("error", error=error)
        if error.failed_generation:
            words = f"You wrote: {error.failed_generation}"
        self.messages.append(Message.user(f"{MALFORMED}\n{words}" if words else MALFORMED))
        return None

    def _shorten(self, error: ContextLengthExceeded) -> AgentResult | None:
        """Send less from now on, once, where a model says that it was too much."""
        if self.too_long is not None:
            return self._end("error", error=error)
        if error.usage is not None:
            self.usage += error.usage
        self.turns -= 1  # nothing was answered
        self.too_long = error
        self.room = int(self._size(self.sent) * _KEPT)
        self.refused = self.sent
        return None

    def _ask_again(self) -> AgentResult | None:
        """Ask a model once more that has answered nothing."""
        self.empty += 1
        if self.empty > 1:
            return self._end("error", error=InvalidResponse("the model answered with nothing at all, twice"))
        self.messages.append(Message.user(EMPTY))
        return None

    async def _ask(self) -> CompletionResult:
        """Make one model call."""
        self.turns += 1
        dependencies = self.dependencies
        self.sent = await self._fitting()
        spec = self._spec(self.sent)
        self._tell(StreamEvent(type="meta", text="turn_start"))
        if self.emit is None:
            complete = dependencies.engine.complete
            if dependencies.unseen:
                complete = partial(complete, unseen=True)
            answer = await complete(spec, context=self.context)
        else:
            answer = await self._ask_aloud(spec)
        self.usage += answer.usage
        is_bounded, counted = dependencies.config.max_tokens is not None, answer.usage.input_tokens
        if is_bounded and counted and not answer.usage.iterations:
            estimator = self._estimator()
            estimator.learn(spec.messages, spec.tools, model="", input_tokens=counted)
            self.conversation.letters_per_token = estimator.ratio("")
        return answer

    def _estimator(self) -> TokenEstimator:
        """Return what the conversation has taught so far: a run that is replayed learns the same, and so cuts the same."""
        known = self.conversation.letters_per_token
        return TokenEstimator({} if known is None else {"": known})

    def _size(self, messages: Sequence[Message]) -> int:
        return self._estimator().estimate(messages)

    async def _ask_aloud(self, spec: RequestSpec) -> CompletionResult:
        """Make one model call and pass its events on; an answer that was only remembered gets events here."""
        spoken = False

        def emit(event: StreamEvent) -> None:
            nonlocal spoken
            spoken = True
            self._tell(event)

        answer = await self.dependencies.engine.complete(spec, context=self.context, emit=emit)
        for event in () if spoken else events_of(answer):
            self._tell(event)
        return answer

    def _spec(self, messages: Sequence[Message]) -> RequestSpec:
        dependencies = self.dependencies
        template = dependencies.template
        choice = template.tool_choice
        is_plain = self.has_called_tools and choice not in {"auto", "none"}
        return template.evolve(
            messages=tuple(messages),
            tools=() if self.is_forming else self.tools,
            server_tools=() if self.is_forming else template.server_tools,
            tool_choice=None if is_plain or self.is_forming else choice,
            output_schema=None if self._forms_later() else self._schema(),
            max_tokens=self._most(),
        )

    def _schema(self) -> OutputSchema | None:
        output = self.dependencies.output
        return output.schema if output else self.dependencies.template.output_schema

    def _forms_later(self) -> bool:
        """Whether the answer's form is asked for in a turn of its own, when the model calls no tool any more."""
        return bool(
            (self.tools or self.dependencies.template.server_tools)
            and self._schema() is not None
            and not self.dependencies.schema_with_tools
            and not self.is_forming
        )

    async def _fitting(self) -> Sequence[Message]:
        """Return the messages that fit the context window."""
        limit = self._limit()
        if limit is None or self._size(self.messages) <= limit:
            return self.messages
        await HOST.get().settled()  # a window may be anybody's code
        fitting = await self.dependencies.window.fit(
            self.conversation, self.messages, limit=limit, measure=self._size
        )
        if self.too_long is not None and self._size(fitting) >= self._size(self.refused):
            raise self.too_long
        return fitting

    def _limit(self) -> int | None:
        """Return how many tokens the messages may have, as far as anybody has said."""
        config = self.dependencies.config
        if config.max_tokens is None:
            return self.room
        limit = config.max_tokens - config.reserve_tokens - self._estimator().estimate((), self.tools)
        return limit if self.room is None else min(limit, self.room)

    async def _call_tools(self, answer: CompletionResult) -> AgentResult | None:
        """Answer the model's tool calls, all of them that the run may still make."""
        self.has_called_tools = True
        config = self.dependencies.config
        calls = answer.tool_calls[: config.max_tool_calls - self.tool_calls]
        turn = Turn(
            run_id=self.run_id,
            number=self.turns,
            context=self.context,
            is_watched=self.emit is not None,
            calls_before=self.tool_calls,
        )
        results = await self.dependencies.calls.answer(calls, turn)
        self.tool_calls += min(len(calls), config.max_tool_calls_per_turn)
        for call, result in zip(calls, results, strict=True):
            self.messages.append(Message.tool(self._shown(result), call.id, call.name))
            self._tell(StreamEvent(type="meta", text="tool_result", tool_call=call, result=result))
        if len(calls) < len(answer.tool_calls):
            problem = f"the run needs more than {config.max_tool_calls} tool calls"
            return self._end("max_tool_calls", error=LLMClientError(problem))
        return self._judge(results)

    def _judge(self, results: Sequence[ToolResult]) -> AgentResult | None:
        """End the run for failures of its tools, where they are too many; `None` when the model goes on."""
        failed = [result for result in results if result.error is not None]
        if failed and self.dependencies.config.stop_on_tool_error:
            return self._end("error", error=ToolError(failed[0].error))
        mistaken = [result for result in failed if result.error_type in MODEL_MISTAKES]
        self.mistakes = self.mistakes + 1 if mistaken else 0
        if self.mistakes > self.dependencies.config.max_tool_corrections:
            problem = f"the model called tools wrongly in {self.mistakes} turns in a row: {mistaken[0].error}"
            return self._end("error", error=ToolError(problem))
        return None

    def _shown(self, result: ToolResult) -> str | Sequence[Part]:
        """Return what the model reads of a result."""
        config = self.dependencies.config
        if result.error is not None and not config.include_tool_errors_in_context:
            return HIDDEN_ERROR
        if config.max_tool_output_chars is not None:
            result = truncate(result, config.max_tool_output_chars)
        return result.said

    async def _conclude(self, answer: CompletionResult) -> AgentResult | None:
        """Judge an answer that runs no tools; `None` when the model has to mend it."""
        if answer.finish_reason == "content_filter" or answer.refusal is not None:
            return self._end("refused", error=ContentFiltered(answer.refusal or answer.finish_message))
        if answer.finish_reason == "length":
            return self._end("truncated", error=LLMClientError("the answer was cut at its token limit"))
        if answer.finish_reason == "error":
            why = f": {answer.finish_message}" if answer.finish_message else ""
            return self._end(
                "error", error=InvalidResponse(f"the provider ended the answer with an error{why}")
            )
        if self._forms_later():
            return await self._form(answer)
        output = self.dependencies.output
        if output is None:
            return self._end("success", output=answer.content)
        try:
            parsed = await read_aside(answer.content, partial(output.parse, answer.content))
            return self._end("success", output=parsed)
        except OutputInvalid as error:
            self.repairs += 1
            if self.repairs > self.dependencies.config.max_output_repairs:
                return self._end("error", error=error)
            self.messages.append(Message.user(REPAIR.format(problems=error)))
            return None

    async def _form(self, answer: CompletionResult) -> AgentResult | None:
        """Take an answer that has its form already, else ask for it in that form."""
        output = self.dependencies.output
        if output is not None:
            with suppress(OutputInvalid):
                parsed = await read_aside(answer.content, partial(output.parse, answer.content))
                return self._end("success", output=parsed)
        self.is_forming = True
        self.messages.append(Message.user(FORM))
        return None

    def _end(
        self, status: RunStatus, *, error: LLMClientError | None = None, output: Any = None
    ) -> AgentResult:
        """Close the run: no tool call stays unanswered, and the conversation grows unless the run failed."""
        answered: set[str | None] = set()  # of the last turn alone: an id may come again in another
        last = None
        for message in reversed(self.messages):
            if message.role == "assistant":
                last = message
                break
            if message.role == "tool":
                answered.add(message.tool_call_id)
        for call in last.tool_calls if last is not None else ():
            if call.id not in answered:
                self.messages.append(Message.tool(UNANSWERED, call.id, call.name))
        if status not in {"error", "timeout"}:
            self.conversation.extend(self.messages[self.known :])
        return AgentResult(
            status=status,
            content=last.text if last is not None and self.turns else "",
            output=output,
            answer=self.answer,
            turns=self.turns,
            total_usage=self.usage,
            messages=tuple(self.messages),
            error=error,
        )

    def _tell(self, event: StreamEvent) -> None:
        if self.emit is None:
            return
        if event.type.startswith("tool_call") and not self.dependencies.config.stream_tool_calls:
            return
        self.emit(event)
