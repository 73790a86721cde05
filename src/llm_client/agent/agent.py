"""The agent: a model, its tools and its bounds, ready for any number of concurrent runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, TypedDict, Unpack

from llm_client.agent.calls import Approve, ToolCalls
from llm_client.agent.config import AgentConfig
from llm_client.agent.conversation import Conversation
from llm_client.agent.middleware.defaults import default_middleware
from llm_client.agent.result import AgentResult
from llm_client.agent.run import Run, RunDependencies
from llm_client.agent.structured import OutputType
from llm_client.agent.window import ContextWindow, DropOldest
from llm_client.blocking import run_blocking
from llm_client.engine.batch import run_batch
from llm_client.engine.engine import ExecutionEngine
from llm_client.engine.event_stream import EventStream, OpenStream
from llm_client.errors import ConfigurationError
from llm_client.messages import Message, Part, StreamEvent
from llm_client.middleware import Emit, ToolMiddleware
from llm_client.providers.base import Provider
from llm_client.spec import RequestContext, RequestSpec
from llm_client.tools.registry import ToolRegistry
from llm_client.tools.server import ServerTool
from llm_client.tools.tool import Tool

Prompt = str | Message | Sequence[Part]


class RunOptions(TypedDict, total=False):
    """The arguments of `Agent.run` besides the prompt."""

    context: RequestContext | None
    conversation: Conversation | None
    messages: Sequence[Message] | None
    max_turns: int | None
    timeout: float | None


class Agent:
    """A model that may call tools until it has an answer.

    Runs share no conversation unless the caller passes one, so one agent serves many runs at the same time.

    Args:
        engine: Sends the requests. Without it the agent makes one of `provider` or `model`, and closes it.
        provider: A provider, or a string such as `openai:gpt-5.2`.
        model: `vendor:model` when it is all there is, else the model to ask the engine for.
        tools: Tools, or functions to make tools of.
        server_tools: What runs at the vendor beside them, such as `WebSearch()`; by default those of `request`.
        system_message: The instruction every run begins with.
        use_middleware: Whether tools run through the default middleware; by default as `config` says, which is yes.
        middleware: Further steps around tool calls, outside the default ones, the first one outermost.
        output_type: What answers must be: a pydantic model, a dataclass, a typed dictionary, `list[int]`, ….
        config: The bounds of a run.
        window: What to leave out when a conversation exceeds `config.max_tokens`; by default the oldest.
        request: Template of every request: temperature, reasoning effort, tool choice, vendor options.
        approve: Says whether a tool that requires approval may run, where no runtime does. Without it, it may not.
        name: Name for logs and runtimes.

    Raises:
        ConfigurationError: There is no model, a tool cannot be described, or two have the same name.
    """

    def __init__(
        self,
        engine: ExecutionEngine | None = None,
        *,
        provider: Provider | str | None = None,
        model: str | None = None,
        tools: Iterable[Tool | Callable[..., object]] = (),
        server_tools: Sequence[ServerTool] = (),
        system_message: str | None = None,
        use_middleware: bool | None = None,
        middleware: Sequence[ToolMiddleware] = (),
        output_type: object = None,
        config: AgentConfig | None = None,
        window: ContextWindow | None = None,
        request: RequestSpec | None = None,
        approve: Approve | None = None,
        name: str = "agent",
    ) -> None:
        self.name = name
        self.config = config or AgentConfig()
        self.tools = ToolRegistry(tools)
        self._owns_engine = engine is None
        self.engine, asked = _engine(engine, provider, model)
        template = request or RequestSpec(messages=())
        template = template if asked is None else template.evolve(model=asked)
        template = template.evolve(server_tools=tuple(server_tools)) if server_tools else template
        template = _fitted(template, self.tools)
        self.system_message = system_message
        """The instruction every run begins with, as it was given."""
        self._approve = approve
        self.middleware = [*middleware, *_inner_middleware(self.config, use_middleware)]
        self._dependencies = RunDependencies(
            engine=self.engine,
            calls=ToolCalls(self.tools, self.middleware, self.config, approve),
            config=self.config,
            template=template,
            window=window or DropOldest(),
            output=None if output_type is None or output_type is str else OutputType(output_type),
            schema_with_tools=_can(self.engine, template.model, "supports_tools_with_output_schema"),
            unseen=not middleware and isinstance(self.engine, ExecutionEngine),
        )
        self._system = _system_messages(system_message, self._dependencies)

    @property
    def output_type(self) -> OutputType | None:
        """The type its answers have; `None` when they are text."""
        return self._dependencies.output

    @property
    def request(self) -> RequestSpec:
        """The template of its requests."""
        return self._dependencies.template

    def variant(
        self,
        *,
        system_message: str | None,
        tools: Iterable[Tool],
        request: RequestSpec,
        engine: ExecutionEngine | None = None,
    ) -> Agent:
        """Return an agent that differs from this one in what is given, and shares all else. Closing it closes nothing.

        Args:
            system_message: The instruction its runs begin with.
            tools: Its tools.
            request: Template of its requests.
            engine: Sends them; by default that of this agent.

        Raises:
            ConfigurationError: Two tools have the same name.
        """
        registry, chosen = ToolRegistry(tools), engine or self.engine
        template = _fitted(request, registry)
        dependencies = replace(
            self._dependencies,
            engine=chosen,
            calls=ToolCalls(registry, self.middleware, self.config, self._approve),
            template=template,
            schema_with_tools=_can(chosen, template.model, "supports_tools_with_output_schema"),
        )
        other = copy.copy(self)
        vars(other).update(
            engine=chosen,
            tools=registry,
            system_message=system_message,
            _owns_engine=False,
            _dependencies=dependencies,
            _system=_system_messages(system_message, dependencies),
        )
        return other

    def add_tool(self, tool: Tool | Callable[..., object]) -> Tool:
        """Add a tool for the runs that start from now on."""
        return self.tools.add(tool)

    def remove_tool(self, name: str) -> None:
        """Remove a tool; unknown names are ignored."""
        self.tools.remove(name)

    async def run(
        self,
        prompt: Prompt | None,
        *,
        context: RequestContext | None = None,
        conversation: Conversation | None = None,
        messages: Sequence[Message] | None = None,
        max_turns: int | None = None,
        timeout: float | None = None,
    ) -> AgentResult:
        """Answer a prompt.

        Failures of the model and exhausted bounds are a status of the result; only mistakes of the program and the
        abortion of the run by a host are raised.

        Args:
            prompt: What the person says; `None` goes on with `messages` or `conversation` as they are.
            context: On whose behalf; ids are generated when omitted.
            conversation: Is continued and extended, unless the run fails.
            messages: Messages before the prompt, such as those of an earlier result, instead of a conversation.
            max_turns: Model calls, instead of the configured bound.
            timeout: Seconds, instead of the configured bound.

        Raises:
            ConfigurationError: Something is wrong that no retry can mend.
            RunAborted: A host or a middleware ended the run.
        """
        return await self._run(prompt, context, conversation, messages, max_turns, timeout, None)

    def stream(
        self,
        prompt: Prompt | None,
        *,
        context: RequestContext | None = None,
        conversation: Conversation | None = None,
        messages: Sequence[Message] | None = None,
        max_turns: int | None = None,
        timeout: float | None = None,
    ) -> EventStream[StreamEvent]:
        """Answer a prompt and yield what happens; the last event is `done` with the `AgentResult`.

        Arguments are those of `run`. `meta` events tell of turns and tool results. Leaving the stream – closing it, or
        leaving the loop over it – cancels the run.
        """

        async def answer(stream: OpenStream[StreamEvent]) -> None:
            result = await self._run(prompt, context, conversation, messages, max_turns, timeout, stream.tell)
            stream.tell(StreamEvent(type="done", usage=result.total_usage, result=result))

        return EventStream(answer)

    def run_sync(self, prompt: Prompt | None, **options: Unpack[RunOptions]) -> AgentResult:
        """Answer a prompt in ordinary code; the arguments are those of `run`.

        Raises:
            ConfigurationError: The calling thread runs an event loop; use `await agent.run(…)` there.
        """
        return run_blocking(self.run(prompt, **options), "await agent.run(...)")

    async def batch(
        self,
        prompts: Sequence[Prompt],
        *,
        context: RequestContext | None = None,
        timeout: float | None = None,
    ) -> list[AgentResult]:
        """Answer many prompts, `config.batch_concurrency` at a time, and return the results in their order."""
        parent = context or RequestContext()

        async def answer(prompt: Prompt) -> AgentResult:
            return await self.run(prompt, context=parent.child(), timeout=timeout)

        results = await run_batch(prompts, answer, workers=self.config.batch_concurrency, keep_failures=False)
        return [result for result in results if isinstance(result, AgentResult)]

    async def aclose(self) -> None:
        """Close the engine if the agent made it; may be called twice."""
        if self._owns_engine:
            await self.engine.aclose()

    async def __aenter__(self) -> Agent:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

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
        if conversation is None:
            run = self._start(prompt, context, Conversation(messages or ()), max_turns, emit)
            return await run.finish(self.config.timeout if timeout is None else timeout)
        if messages is not None:
            raise ConfigurationError("a run continues a conversation or messages, not both")
        async with conversation.lock:
            run = self._start(prompt, context, conversation, max_turns, emit)
            return await run.finish(self.config.timeout if timeout is None else timeout)

    def _start(
        self,
        prompt: Prompt | None,
        context: RequestContext | None,
        conversation: Conversation,
        max_turns: int | None,
        emit: Emit | None,
    ) -> Run:
        earlier = conversation.messages
        begun = bool(earlier) and earlier[0].role == "system"
        history = [*(() if begun else self._system), *earlier]
        if prompt is None and not earlier:
            raise ConfigurationError("there is nothing to answer: give a prompt, messages or a conversation")
        return Run(
            dependencies=self._dependencies,
            tools=tuple(self.tools),
            messages=history if prompt is None else [*history, _as_message(prompt)],
            conversation=conversation,
            context=context or RequestContext(),
            max_turns=self.config.max_turns if max_turns is None else max_turns,
            known=len(history),
            emit=emit,
        )


def _system_messages(text: str | None, dependencies: RunDependencies) -> tuple[Message, ...]:
    """Return the system message as one object that all runs share, or none."""
    output = dependencies.output
    if output is not None and not _can(
        dependencies.engine, dependencies.template.model, "supports_output_schema"
    ):
        text = f"{text}\n\n{output.instruction}" if text else output.instruction
    return (Message.system(text),) if text else ()


def _fitted(template: RequestSpec, tools: ToolRegistry) -> RequestSpec:
    """Return a template with the name that a tool it asks for has here. Raises `ConfigurationError` for two tools of one name."""
    if twice := [tool.name for tool in template.server_tools if tool.name in tools]:
        raise ConfigurationError(f"there are two tools named {twice[0]!r}, one of which runs at the vendor")
    if template.tool_choice is None:
        return template
    return template.evolve(tool_choice=tools.name_of(template.tool_choice))


def _as_message(prompt: Prompt) -> Message:
    return prompt if isinstance(prompt, Message) else Message.user(prompt)


def _engine(
    engine: ExecutionEngine | None, provider: Provider | str | None, model: str | None
) -> tuple[ExecutionEngine, str | None]:
    """Return the engine, and the model to ask it for when that is not its own."""
    if engine is not None:
        if provider is not None:
            raise ConfigurationError("an agent has an engine or a provider, not both")
        return engine, model
    if provider is not None:
        return ExecutionEngine(provider), model
    if model is None:
        raise ConfigurationError("an agent needs an engine, a provider, or a model such as 'openai:gpt-5.2'")
    return ExecutionEngine(model), None


def _inner_middleware(config: AgentConfig, use_middleware: bool | None) -> Sequence[ToolMiddleware]:
    if config.middleware_chain is not None:
        return config.middleware_chain
    wanted = config.use_default_middleware if use_middleware is None else use_middleware
    return default_middleware(config) if wanted else ()


def _can(engine: Any, model: str | None, ability: str) -> bool:
    """Whether an engine's provider can do something with the model that is asked for; one that does not say so can."""
    provider = getattr(engine, "provider", engine)
    of_model = getattr(provider, "capabilities_of", None)
    known = of_model(model) if model and of_model else getattr(provider, "capabilities", None)
    return bool(getattr(known, ability, True))
