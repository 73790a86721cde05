"""Runs agents that are data: prompts from a folder, an answer of a type, and a record of every attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agent_runtime.errors import AgentRuntimeError, ConfigurationError, PromptInvalid, RunError
from agent_runtime.ports.call_log import CallLogSink
from agent_runtime.ports.clock import Clock, SystemClock
from agent_runtime.runner.attempts import RunAttempts, RunFacts
from agent_runtime.runner.conversations import Conversations, RunnerConversation
from agent_runtime.runner.json_provider import JsonProvider
from agent_runtime.runner.operator import SpecOperator
from agent_runtime.runner.prompts import RESPONSE_SCHEMA, PromptPacks
from agent_runtime.runner.spec import AgentMode, AgentResult, AgentSpec, AgentState
from agent_runtime.values.call_record import CallPrompts
from llm_client.agent.structured import OutputType
from llm_client.blocking import run_blocking
from llm_client.engine.engine import ExecutionEngine
from llm_client.errors import LLMClientError, OutputInvalid, ProviderError, RunAborted
from llm_client.json_text import dumps
from llm_client.messages import CompletionResult, Message
from llm_client.middleware import observing
from llm_client.providers.base import Provider
from llm_client.public_text import text_of
from llm_client.spec import RequestContext, RequestSpec
from llm_client.turns import read_aside


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What a run asks: the messages before its own, its own, and as what they are recorded."""

    before: tuple[Message, ...]
    asked: Message
    facts: RunFacts


class AsyncAgentRunner:
    """Runs specs: renders their prompts, asks, checks the answer, and has it repaired if need be.

    Any number of runs go on at the same time; what each has used is told by its own responses.

    Args:
        provider: Whom to ask: a provider of `llm_client`, a string such as `openai:gpt-5.2`, an engine, or anything with
            `generate_json_async` or `generate_json`. An engine's own rules for retries hold; else those of a new one.
        prompt_base_path: The folder of the prompt packs.
        llm_logger: Where every attempt is recorded.
        clock: Tells the time.

    Raises:
        ConfigurationError: The provider is none of these.
    """

    def __init__(
        self,
        provider: object,
        prompt_base_path: str | Path = "prompts",
        llm_logger: CallLogSink | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._given = provider
        self._engine = _engine_of(provider)
        self._packs = PromptPacks(prompt_base_path)
        self._sink = llm_logger
        self._clock = clock or SystemClock()
        self._conversations = Conversations()
        self._outputs: dict[object, OutputType] = {}

    @property
    def provider(self) -> object:
        """Whom it asks, as it was given."""
        return self._given

    @property
    def engine(self) -> ExecutionEngine:
        """What sends its requests."""
        return self._engine

    @property
    def llm_logger(self) -> CallLogSink | None:
        """Where every attempt is recorded."""
        return self._sink

    async def run(
        self,
        spec: AgentSpec,
        variables: Mapping[str, object] | None = None,
        state: AgentState | None = None,
        *,
        context: RequestContext | None = None,
    ) -> AgentResult:
        """Run an agent once.

        What a model, a prompt or a bound has made fail is a result without success; raised is what aborts the caller as well.

        Args:
            spec: The agent.
            variables: For its prompts, on top of the spec's own.
            state: What lasts between runs; counts the run when it has succeeded. A conversational agent needs one.
            context: On whose behalf; ids are generated when omitted.

        Raises:
            RunAborted: A host or a middleware has ended everything, such as a policy or a budget of the job.
            ConfigurationError: Something is wrong that no model can mend.
        """
        began = self._clock.monotonic()
        context = context or RequestContext()
        try:
            if spec.mode is AgentMode.CONVERSATIONAL:
                return await self._converse(spec, variables or {}, state, context, began)
            given = {**spec.default_variables, **(variables or {})}
            prompts = await self.render(spec, given)
            facts = _facts(spec, prompts, given, context, state)
            question = _Question(
                before=self._beginning(spec, prompts), asked=Message.user(prompts.user), facts=facts
            )
            result, _ = await self._ask(question, context, began)
        except (RunError, PromptInvalid) as error:
            return _failed(error, self._clock.monotonic() - began, state)
        if result.success and state is not None:
            state.attempt_count += 1
        return result

    def as_operator(self, spec: AgentSpec) -> SpecOperator:
        """Return the agent as an operator of durable jobs: what it has asked and heard is journaled, and recalled on a resume.

        The job's input is `{"variables": {…}}`, or the variables themselves; its output is the answer. What a job recalls is no
        attempt, so a resume records nothing twice.

        Raises:
            ConfigurationError: The agent is conversational: what it remembers is this process's, and no job's.
        """
        return SpecOperator(self, spec)

    async def aclose(self) -> None:
        """Write what is to be written, and close the engine if it was made here; may be called twice."""
        if self._sink is not None:
            await self._sink.flush_async()
        if self._engine is not self._given:
            await self._engine.aclose()

    async def render(self, spec: AgentSpec, variables: Mapping[str, object]) -> CallPrompts:
        """Return the prompts of a run. Raises `PromptInvalid`."""
        schema = dumps(self._output(spec).schema.schema).decode()
        return await self._packs.render(
            spec.prompt_pack, {RESPONSE_SCHEMA: schema, **spec.default_variables, **variables}
        )

    async def run_rendered(
        self, spec: AgentSpec, prompts: CallPrompts, variables: Mapping[str, object], context: RequestContext
    ) -> tuple[AgentResult, CompletionResult | None]:
        """Run an agent once whose prompts are rendered; returns the model's last answer as well."""
        began = self._clock.monotonic()
        facts = _facts(spec, prompts, variables, context, None)
        question = _Question(
            before=self._beginning(spec, prompts), asked=Message.user(prompts.user), facts=facts
        )
        return await self._ask(question, context, began)

    async def _converse(
        self,
        spec: AgentSpec,
        variables: Mapping[str, object],
        state: AgentState | None,
        context: RequestContext,
        began: float,
    ) -> AgentResult:
        if state is None:
            raise RunError(
                "a conversational agent needs a state: run(spec=…, variables=…, state=AgentState(name=…))"
            )
        if state.conversation_id is None:
            state.conversation_id, conversation = self._conversations.open(
                spec.name, state.attempt_count, context.tenant_id
            )
        else:
            conversation = self._conversations.get(state.conversation_id, spec.name, context.tenant_id)
        async with conversation.lock:
            return await self._continue(conversation, spec, variables, state, context, began)

    async def _continue(
        self,
        conversation: RunnerConversation,
        spec: AgentSpec,
        variables: Mapping[str, object],
        state: AgentState,
        context: RequestContext,
        began: float,
    ) -> AgentResult:
        given = {**spec.default_variables, **variables}
        prompts = await self.render(spec, given)
        if conversation.beginning is None:
            conversation.beginning = self._beginning(spec, prompts)
        facts = _facts(spec, prompts, given, context, state)
        question = _Question(before=conversation.messages, asked=Message.user(prompts.user), facts=facts)
        result, answer = await self._ask(question, context, began)
        if result.success and answer is not None:
            conversation.add(question.asked, answer.message())
            state.attempt_count += 1
        return result

    def _beginning(self, spec: AgentSpec, prompts: CallPrompts) -> tuple[Message, ...]:
        texts = [prompts.system, prompts.developer]
        if not _enforces_schemas(self._engine.provider, spec.model):
            texts.append(self._output(spec).instruction)
        system = "\n\n".join(text for text in texts if text)
        return (*((Message.system(system),) if system else ()), *prompts.examples)

    def _output(self, spec: AgentSpec) -> OutputType:
        kind = dict[str, Any] if spec.response_model is dict else spec.response_model
        key: object = kind if isinstance(kind, type) else repr(kind)
        if key not in self._outputs:
            self._outputs[key] = OutputType(kind)
        return self._outputs[key]

    async def _ask(
        self, question: _Question, context: RequestContext, began: float
    ) -> tuple[AgentResult, CompletionResult | None]:
        """Ask until the answer matches, or may not be repaired any more."""
        spec, output = question.facts.spec, self._output(question.facts.spec)
        attempts = RunAttempts(question.facts, self._sink, self._clock)
        try:
            answer, value = await self._answered(question, output, attempts, context)
        except (RunAborted, ConfigurationError):
            raise
        except Exception as error:  # noqa: BLE001 -- whatever failed is the run's outcome, and told in it
            attempts.gave_up(error)
            ended, answer = _ended(question, attempts, self._clock.monotonic() - began, error=error), None
        else:
            data = dict(value) if spec.response_model is dict else value
            ended = _ended(question, attempts, self._clock.monotonic() - began, data=data)
        finally:
            attempts.close()
        await attempts.room()  # the program may end with this run, and with it whatever still writes
        return ended, answer

    async def _answered(
        self, question: _Question, output: OutputType, attempts: RunAttempts, context: RequestContext
    ) -> tuple[CompletionResult, Any]:
        spec = question.facts.spec
        messages = (*question.before, question.asked)
        template = spec.request or RequestSpec(messages=())
        changes: dict[str, Any] = {"output_schema": output.schema}
        if spec.model is not None:
            changes["model"] = spec.model
        if spec.temperature is not None:
            changes["temperature"] = spec.temperature
        template = template.evolve(**changes)
        for left in range(spec.max_schema_repair_attempts, -1, -1):
            await attempts.room()
            asked = template.evolve(messages=messages)
            attempts.ask(asked)
            with observing(attempts):
                answer = await self._engine.complete(asked, context=context)
            await attempts.count(answer)
            try:
                value = await read_aside(answer.content, partial(output.parse, answer.content))
            except OutputInvalid as error:
                problems = _problems(answer, error)
                attempts.unmatched(problems)
                if not left:
                    raise RunError(
                        f"schema validation failed after {attempts.repairs} attempts: {problems}"
                    ) from error
                messages = (*messages, answer.message(), Message.user(_REPAIR.format(problems=problems)))
            else:
                await attempts.matched(answer.content, partial(output.dump, value))
                return answer, value
        raise AssertionError("unreachable: the last round returns or raises")


_REPAIR = "Your answer does not match what was asked for:\n{problems}\nAnswer again, with the whole JSON and nothing else."


class AgentRunner:
    """Runs specs in ordinary code, as `AsyncAgentRunner` does in asynchronous code.

    Its runs share one event loop in a thread of the process, and with it connections, limits and circuits.

    Args:
        provider: Whom to ask, as for `AsyncAgentRunner`.
        prompt_base_path: The folder of the prompt packs.
        llm_logger: Where every attempt is recorded.
    """

    def __init__(
        self,
        provider: object,
        prompt_base_path: str | Path = "prompts",
        llm_logger: CallLogSink | None = None,
    ) -> None:
        self._runner = AsyncAgentRunner(provider, prompt_base_path, llm_logger)

    @property
    def provider(self) -> object:
        """Whom it asks, as it was given."""
        return self._runner.provider

    @property
    def llm_logger(self) -> CallLogSink | None:
        """Where every attempt is recorded."""
        return self._runner.llm_logger

    def run(
        self,
        spec: AgentSpec,
        variables: Mapping[str, object] | None = None,
        state: AgentState | None = None,
        *,
        context: RequestContext | None = None,
    ) -> AgentResult:
        """Run an agent once, as `AsyncAgentRunner.run` does.

        Raises:
            ConfigurationError: The calling thread runs an event loop; use `await AsyncAgentRunner(…).run(…)` there.
        """
        return run_blocking(
            self._runner.run(spec, variables, state, context=context), "await AsyncAgentRunner(...).run(...)"
        )

    def close(self) -> None:
        """Write what is to be written, and close the engine if it was made here; may be called twice."""
        run_blocking(self._runner.aclose(), "await AsyncAgentRunner(...).aclose()")


def _engine_of(provider: object) -> ExecutionEngine:
    if isinstance(provider, ExecutionEngine):
        return provider
    if isinstance(provider, str | Provider):
        return ExecutionEngine(provider)
    return ExecutionEngine(JsonProvider(provider))


def _enforces_schemas(provider: object, model: str | None) -> bool:
    of_model = getattr(provider, "capabilities_of", None)
    known = of_model(model) if model and of_model else getattr(provider, "capabilities", None)
    return bool(getattr(known, "supports_output_schema", True))


def _facts(
    spec: AgentSpec,
    prompts: CallPrompts,
    variables: Mapping[str, object],
    context: RequestContext,
    state: AgentState | None,
) -> RunFacts:
    return RunFacts(
        spec=spec,
        prompts=prompts,
        context=dict(variables),
        iteration=0 if state is None else state.attempt_count,
        conversation_id=None if state is None else state.conversation_id,
        job_id=context.job_id,
        trace_id=context.trace_id,
    )


def _problems(answer: CompletionResult, error: OutputInvalid) -> str:
    if answer.finish_reason == "length":
        return f"the answer was cut at its token limit\n{error}"
    return str(answer.refusal or error)


def _message(error: Exception) -> str:
    if isinstance(error, ProviderError):
        return f"Provider error: {text_of(error)}"
    if isinstance(error, AgentRuntimeError):
        return text_of(error)
    return f"{'Provider' if isinstance(error, LLMClientError) else 'Execution'} error: {text_of(error)}"


def _ended(
    question: _Question,
    attempts: RunAttempts,
    seconds: float,
    *,
    data: object = None,
    error: Exception | None = None,
) -> AgentResult:
    conversation_id = question.facts.conversation_id
    metadata: dict[str, Any] = {
        "schema_repair_attempts": min(attempts.repairs, question.facts.spec.max_schema_repair_attempts)
    }
    if conversation_id is not None:
        metadata["conversation_id"] = conversation_id
    return AgentResult(
        success=error is None,
        data=data,
        error_message=None if error is None else _message(error),
        error=error,
        duration_seconds=seconds,
        tokens_used=attempts.usage.total_tokens,
        usage=attempts.usage,
        conversation_id=conversation_id,
        metadata=metadata,
    )


def _failed(error: Exception, seconds: float, state: AgentState | None) -> AgentResult:
    """Return the result of a run that has asked nobody."""
    return AgentResult(
        success=False,
        error_message=_message(error),
        error=error,
        duration_seconds=seconds,
        conversation_id=None if state is None else state.conversation_id,
        metadata={"schema_repair_attempts": 0},
    )
