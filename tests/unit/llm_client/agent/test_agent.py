"""The agent's loop: turns, statuses, tools, hosts, streams."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from llm_client import (
    HOST,
    Agent,
    AgentConfig,
    AgentResult,
    AuthenticationError,
    Chunks,
    CompletionResult,
    ConfigurationError,
    Conversation,
    Delay,
    ExecutionEngine,
    FunctionProvider,
    Host,
    Message,
    ModelCall,
    ModelRetry,
    NetworkBlocked,
    OpenAIProvider,
    OutputInvalid,
    ProviderUnavailable,
    ReasoningPart,
    RequestContext,
    RequestSpec,
    RetryConfig,
    RunAborted,
    ScriptedProvider,
    ScriptExhausted,
    StreamEvent,
    Tool,
    ToolCall,
    ToolError,
    ToolInvocation,
    ToolMiddleware,
    ToolResult,
    Usage,
    block_network,
    tool,
)
from llm_client.middleware import ProceedCall, ProceedTool

BOUND = 5.0


@tool(effect="read")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def broken() -> str:
    """Fail."""
    raise ValueError("out of order")


def call(name: str = "add", number: int = 1, /, **arguments: Any) -> ToolCall:
    return ToolCall(f"call_{number}", name, arguments or ({"a": 1, "b": 2} if name == "add" else {}))


def scripted(*replies: Any, **options: Any) -> tuple[Agent, ScriptedProvider]:
    provider = ScriptedProvider(replies)
    return Agent(provider=provider, **options), provider


def texts(result: AgentResult) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in result.messages]


async def collect(stream: AsyncIterator[StreamEvent]) -> list[StreamEvent]:
    return [event async for event in stream]


# the loop


async def test_a_prompt_is_answered() -> None:
    agent, provider = scripted("Hello!", system_message="Be kind.")
    result = await agent.run("Hi")

    assert (result.status, result.content, result.output, result.turns) == ("success", "Hello!", "Hello!", 1)
    assert result.success
    assert result.raise_for_status() is result
    assert texts(result) == [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello!")]
    provider.assert_complete()


async def test_tools_are_called_until_the_model_is_done() -> None:
    agent, provider = scripted([call(a=1, b=2)], [call(a=3, b=4)], "10", tools=[add])
    result = await agent.run("Add up")

    assert (result.content, result.turns) == ("10", 3)
    assert [text for role, text in texts(result) if role == "tool"] == ["3", "7"]
    assert provider.requests[0].tools == (add,)


async def test_messages_are_the_same_objects_from_turn_to_turn_and_only_grow() -> None:
    agent, provider = scripted([call()], [call()], "done", tools=[add], system_message="s")
    result = await agent.run("go")

    for earlier, later in zip(provider.requests, provider.requests[1:], strict=False):
        assert len(later.messages) == len(earlier.messages) + 2
        assert all(one is other for one, other in zip(earlier.messages, later.messages, strict=False))
    assert all(
        one is other for one, other in zip(provider.requests[-1].messages, result.messages, strict=False)
    )


async def test_usage_of_all_turns_is_summed_up() -> None:
    usage = Usage(input_tokens=10, output_tokens=5)
    provider = ScriptedProvider([[call()], "done"], usage=usage)
    result = await Agent(provider=provider, tools=[add]).run("go")

    assert (result.total_usage.total_tokens, result.total_usage.requests) == (30, 2)


async def test_the_context_reaches_models_and_tools() -> None:
    seen: list[RequestContext] = []

    class Notes(Host):
        async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
            seen.append(call.context)
            return await proceed(call)

        async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
            seen.append(invocation.context)
            return await proceed(invocation)

    context = RequestContext(tenant_id="t", job_id="j")
    agent, _ = scripted([call()], "done", tools=[add])
    token = HOST.set(Notes())
    await agent.run("go", context=context)
    HOST.reset(token)

    assert seen == [context] * 3


async def test_concurrent_runs_share_nothing() -> None:
    def echo(spec: RequestSpec) -> Any:
        last = spec.messages[-1]
        if last.role == "tool":
            return last.text
        return [call(a=int(last.text), b=0)]

    agent = Agent(provider=FunctionProvider(echo), tools=[add])
    results = await asyncio.gather(*(agent.run(str(number)) for number in range(100)))

    assert [result.content for result in results] == [str(number) for number in range(100)]
    assert all(len(result.messages) == 4 for result in results)


# ends that are not success


async def test_a_run_that_needs_too_many_turns_says_so_and_keeps_what_it_did() -> None:
    agent, _ = scripted([call()], [call()], "never", tools=[add])
    result = await agent.run("go", max_turns=2)

    assert (result.status, result.turns, result.success) == ("max_turns", 2, False)
    assert texts(result)[-1] == ("tool", "3")
    with pytest.raises(type(result.error), match="2 turns"):  # type: ignore[arg-type]
        result.raise_for_status()


async def test_a_run_out_of_turns_can_be_continued() -> None:
    agent, _ = scripted([call()], "done", tools=[add], system_message="s")
    first = await agent.run("go", max_turns=1)
    second = await agent.run(None, messages=first.messages)

    assert (second.status, second.content) == ("success", "done")
    assert [role for role, _ in texts(second)] == ["system", "user", "assistant", "tool", "assistant"]


async def test_a_provider_failure_is_a_status_with_the_error_and_the_messages() -> None:
    failure = AuthenticationError("no key", usage=Usage(input_tokens=7))
    agent, _ = scripted([call()], failure, tools=[add])
    result = await agent.run("go")

    assert (result.status, result.error, result.turns) == ("error", failure, 2)
    assert result.total_usage.input_tokens >= 7
    assert texts(result)[-1] == ("tool", "3")


async def test_a_cut_answer_is_not_a_success() -> None:
    agent, _ = scripted(CompletionResult(content="half an ans", finish_reason="length"))
    result = await agent.run("go")

    assert (result.status, result.content) == ("truncated", "half an ans")


@pytest.mark.parametrize(
    "answer",
    [CompletionResult(finish_reason="content_filter"), CompletionResult(refusal="I can't help with that.")],
)
async def test_a_refusal_is_not_a_success(answer: CompletionResult) -> None:
    agent, _ = scripted(answer)

    assert (await agent.run("go")).status == "refused"


async def test_a_run_ends_when_its_time_is_up_with_every_call_answered() -> None:
    @tool
    async def hang() -> None:
        await asyncio.Event().wait()

    agent, _ = scripted([call("hang", 1), call("hang", 2)], tools=[hang])
    result = await agent.run("go", timeout=0.05)

    assert result.status == "timeout"
    assert [message.tool_call_id for message in result.messages if message.role == "tool"] == [
        "call_1",
        "call_2",
    ]


async def test_mistakes_of_the_program_are_raised() -> None:
    agent, _ = scripted()
    with pytest.raises(ScriptExhausted):
        await agent.run("go")
    with block_network(), pytest.raises(NetworkBlocked):
        await Agent(provider=OpenAIProvider(model="gpt-5.2", api_key="sk-test")).run("go")
    with pytest.raises(AssertionError):
        await Agent(provider=ScriptedProvider([AssertionError("in a fake")])).run("go")


async def test_a_cancelled_run_is_cancelled() -> None:
    agent, _ = scripted(Delay(60, "never"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await agent.run("go")


# what models get wrong


async def test_every_wrong_call_is_answered_and_the_model_may_mend_it() -> None:
    agent, _ = scripted(
        [
            call("ad", 1, a=1, b=2),
            call("add", 2, a="one", b=2),
            ToolCall("call_3", "add", malformed='{"a": 1,'),
            call("add", 4, a=1, b=2),
        ],
        "done",
        tools=[add],
    )
    result = await agent.run("go")
    answers = [message for message in result.messages if message.role == "tool"]

    assert [message.tool_call_id for message in answers] == ["call_1", "call_2", "call_3", "call_4"]
    assert "no tool named 'ad'; the tools are: add" in answers[0].text
    assert "- a: Input should be a valid integer" in answers[1].text
    assert 'not a JSON object: {"a": 1,' in answers[2].text
    assert answers[3].text == "3"
    assert result.status == "success"


async def test_a_model_that_keeps_calling_wrongly_is_stopped() -> None:
    wrong = [call("nonsense")]
    agent, provider = scripted(*[wrong] * 9, tools=[add], config=AgentConfig(max_tool_corrections=2))
    result = await agent.run("go")

    assert result.status == "error"
    assert isinstance(result.error, ToolError)
    assert "3 turns in a row" in str(result.error)
    assert provider.remaining == 6


async def test_a_good_turn_forgives_the_bad_ones_before() -> None:
    wrong = [call("nonsense")]
    agent, _ = scripted(
        wrong,
        [call()],
        wrong,
        [call()],
        wrong,
        "done",
        tools=[add],
        config=AgentConfig(max_tool_corrections=1),
    )

    assert (await agent.run("go")).status == "success"


async def test_a_tool_may_ask_the_model_again_but_not_for_ever() -> None:
    @tool
    async def find(year: int) -> str:
        raise ModelRetry("years start at 1900")

    agent, _ = scripted(
        *[[call("find", year=5)]] * 9, tools=[find], config=AgentConfig(max_tool_corrections=3)
    )
    result = await agent.run("go")

    assert texts(result)[2] == ("tool", "Error: years start at 1900")
    assert (result.status, result.turns) == ("error", 4)


async def test_calls_beyond_the_bound_are_answered_but_not_made() -> None:
    made: list[int] = []

    @tool
    async def note(number: int) -> str:
        made.append(number)
        return "ok"

    calls = [call("note", number, number=number) for number in range(1, 6)]
    agent, _ = scripted(calls, "done", tools=[note], config=AgentConfig(max_tool_calls_per_turn=3))
    result = await agent.run("go")
    answers = [message.text for message in result.messages if message.role == "tool"]

    assert sorted(made) == [1, 2, 3]
    assert [text[:14] for text in answers] == ["ok", "ok", "ok", "Error: not run", "Error: not run"]


# tools


async def test_the_calls_of_one_answer_run_side_by_side() -> None:
    barrier = asyncio.Barrier(3)

    @tool
    async def meet(number: int) -> int:
        await asyncio.wait_for(barrier.wait(), BOUND)
        return number

    agent, _ = scripted([call("meet", number, number=number) for number in (1, 2, 3)], "done", tools=[meet])
    result = await agent.run("go")

    assert [message.text for message in result.messages if message.role == "tool"] == ["1", "2", "3"]


async def test_or_one_after_the_other() -> None:
    trail: list[str] = []

    @tool
    async def step(number: int) -> None:
        trail.append(f"begin {number}")
        await asyncio.sleep(0)
        trail.append(f"end {number}")

    agent, _ = scripted(
        [call("step", number, number=number) for number in (1, 2)],
        "done",
        tools=[step],
        config=AgentConfig(parallel_tool_execution=False),
    )
    await agent.run("go")

    assert trail == ["begin 1", "end 1", "begin 2", "end 2"]


async def test_a_failed_tool_is_shown_to_the_model() -> None:
    agent, _ = scripted([call("broken")], "I see", tools=[broken])
    result = await agent.run("go")

    assert texts(result)[2] == ("tool", "Error: ValueError: out of order")
    assert result.status == "success"


async def test_why_a_tool_failed_can_be_kept_from_the_model() -> None:
    agent, _ = scripted(
        [call("broken")], "ok", tools=[broken], config=AgentConfig(include_tool_errors_in_context=False)
    )

    assert texts(await agent.run("go"))[2] == ("tool", "Error: the tool failed.")


async def test_a_failed_tool_can_end_the_run_with_every_call_answered() -> None:
    agent, _ = scripted(
        [call("broken", 1), call("add", 2)],
        "never",
        tools=[broken, add],
        config=AgentConfig(stop_on_tool_error=True),
    )
    result = await agent.run("go")

    assert (result.status, str(result.error)) == ("error", "ValueError: out of order")
    assert [message.tool_call_id for message in result.messages if message.role == "tool"] == [
        "call_1",
        "call_2",
    ]


async def test_a_long_result_is_cut_for_the_model() -> None:
    @tool
    async def long() -> str:
        return "x" * 1000

    agent, _ = scripted(
        [call("long")],
        "ok",
        tools=[long],
        use_middleware=False,
        config=AgentConfig(max_tool_output_chars=100),
    )

    assert texts(await agent.run("go"))[2][1] == "x" * 100 + "\n[… 900 characters left out]"


async def test_tools_can_come_and_go_between_runs() -> None:
    agent, provider = scripted("a", "b", "c")
    await agent.run("1")
    agent.add_tool(add)
    await agent.run("2")
    agent.remove_tool("add")
    await agent.run("3")

    assert [len(request.tools) for request in provider.requests] == [0, 1, 0]


async def test_a_forced_tool_is_forced_once() -> None:
    agent, provider = scripted(
        [call()], "done", tools=[add], request=RequestSpec(messages=(), tool_choice="required")
    )
    await agent.run("go")

    assert [request.tool_choice for request in provider.requests] == ["required", None]


@pytest.mark.parametrize(
    ("answer", "shown"), [(None, "nobody approved"), (False, "nobody approved"), (True, "sent")]
)
async def test_a_tool_that_needs_approval_runs_only_with_it(answer: bool | None, shown: str) -> None:
    @tool(requires_approval=True)
    async def send() -> str:
        return "sent"

    asked: list[str] = []

    async def approve(invocation: ToolInvocation) -> bool:
        asked.append(invocation.tool.name)
        return bool(answer)

    agent, _ = scripted([call("send")], "ok", tools=[send], approve=None if answer is None else approve)
    result = await agent.run("go")

    assert shown in texts(result)[2][1]
    assert asked == ([] if answer is None else ["send"])


# gates


class Trail(Host):
    """Notes in which order the gates are passed."""

    def __init__(self, name: str, trail: list[str]) -> None:
        self.name = name
        self.trail = trail

    async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        self.trail.append(f"{self.name} call {invocation.index}")
        return await proceed(invocation)

    async def attempt_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        self.trail.append(f"{self.name} attempt {invocation.attempt}")
        return await proceed(invocation)


@pytest.mark.parametrize("use_middleware", [True, False])
async def test_gates_are_passed_from_the_host_inwards_with_or_without_default_middleware(
    use_middleware: bool,
) -> None:
    trail: list[str] = []
    agent, _ = scripted(
        [call()], "done", tools=[add], use_middleware=use_middleware, middleware=[Trail("mine", trail)]
    )
    token = HOST.set(Trail("host", trail))
    await agent.run("go")
    HOST.reset(token)

    assert trail == ["host call 0", "mine call 0", "host attempt 1", "mine attempt 1"]


async def test_a_host_may_answer_a_tool_call_itself() -> None:
    class Recalls(Host):
        async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
            return ToolResult(content="recorded")

    agent, _ = scripted([call("broken")], "done", tools=[broken])
    token = HOST.set(Recalls())
    result = await agent.run("go")
    HOST.reset(token)

    assert texts(result)[2] == ("tool", "recorded")


async def test_an_aborted_call_aborts_the_run_as_itself_and_cancels_the_others() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    @tool
    async def hang() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    class Suspend(RunAborted):
        """Not now."""

    class Aborts(Host):
        async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
            if invocation.index == 1:
                await started.wait()
                raise Suspend
            return await proceed(invocation)

    agent, _ = scripted([call("hang", 1), call("hang", 2)], tools=[hang])
    token = HOST.set(Aborts())
    with pytest.raises(Suspend):
        await asyncio.wait_for(agent.run("go"), BOUND)
    HOST.reset(token)

    assert cancelled.is_set()


async def test_operation_ids_are_unique_even_for_runs_with_the_same_context() -> None:
    seen: list[str] = []

    class Notes(ToolMiddleware):
        async def call_tool(self, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
            seen.append(invocation.operation_id)
            return await proceed(invocation)

    context = RequestContext()
    provider = FunctionProvider(
        lambda spec: "x" if len(spec.messages) > 3 else [call("add", 1), call("add", 2)]
    )
    agent = Agent(provider=provider, tools=[add], middleware=[Notes()])
    await agent.run("go", context=context)
    await agent.run("go", context=context)

    assert len(set(seen)) == len(seen) == 4


# streams


async def test_a_streamed_run_tells_what_happens_and_ends_with_the_result() -> None:
    agent, _ = scripted([call()], Chunks(["do", "ne"]), tools=[add])
    events = await collect(agent.stream("go"))

    assert [(event.type, event.text) for event in events] == [
        ("meta", "turn_start"),
        ("tool_call_start", ""),
        ("tool_call_delta", '{"a":1,"b":2}'),
        ("tool_call_end", ""),
        ("usage", ""),
        ("meta", "tool_result"),
        ("meta", "turn_start"),
        ("token", "do"),
        ("token", "ne"),
        ("usage", ""),
        ("done", ""),
    ]
    assert events[5].result.content == "3"
    assert events[-1].result.content == "done"


async def test_tool_calls_can_be_left_out_of_a_stream() -> None:
    agent, _ = scripted([call()], "done", tools=[add], config=AgentConfig(stream_tool_calls=False))
    events = await collect(agent.stream("go"))

    assert not [event for event in events if event.type.startswith("tool_call")]
    assert "tool_result" in [event.text for event in events]


async def test_a_streamed_run_that_fails_ends_with_its_status() -> None:
    agent, _ = scripted(AuthenticationError("no key"))
    events = await collect(agent.stream("go"))

    assert events[-1].result.status == "error"


async def test_an_answer_a_host_remembers_is_streamed_too() -> None:
    class Recalls(Host):
        async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
            return CompletionResult(content="recorded")

    agent, _ = scripted()
    token = HOST.set(Recalls())
    events = await collect(agent.stream("go"))
    HOST.reset(token)

    assert "recorded" in [event.text for event in events if event.type == "token"]


async def test_closing_a_streamed_run_cancels_it() -> None:
    cancelled = asyncio.Event()

    @tool
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    agent, _ = scripted([call("hang")], tools=[hang])
    stream = agent.stream("go")
    async for event in stream:
        if event.type == "usage":
            break
    await asyncio.sleep(0)
    await stream.aclose()

    await asyncio.wait_for(cancelled.wait(), BOUND)


# output types


class Person(BaseModel):
    name: str
    age: int


async def test_an_answer_of_a_type_is_asked_for_and_parsed() -> None:
    agent, provider = scripted('{"name": "Ada", "age": 36}', output_type=Person)
    result = await agent.run("Who?")

    assert result.output == Person(name="Ada", age=36)
    schema = provider.requests[0].output_schema
    assert schema is not None
    assert (schema.name, schema.schema["required"]) == ("Person", ["name", "age"])


async def test_a_wrong_answer_is_mended_within_bounds() -> None:
    agent, provider = scripted(
        "Ada, 36", '{"name": "Ada", "age": "old"}', '{"name": "Ada", "age": 36}', output_type=Person
    )
    result = await agent.run("Who?")

    assert (result.output, result.turns) == (Person(name="Ada", age=36), 3)
    assert "- age: Input should be a valid integer" in provider.requests[2].messages[-1].text


async def test_an_answer_that_stays_wrong_is_an_error() -> None:
    agent, _ = scripted(*["nope"] * 9, output_type=Person, config=AgentConfig(max_output_repairs=2))
    result = await agent.run("Who?")

    assert (result.status, result.turns, result.output) == ("error", 3, None)
    assert isinstance(result.error, OutputInvalid)


async def test_a_provider_that_cannot_enforce_a_schema_is_told_it_in_the_prompt() -> None:
    class Simple:
        supports_output_schema = False

    provider = ScriptedProvider(['```json\n{"value": [1, 2]}\n```'])
    provider.capabilities = Simple()
    result = await Agent(provider=provider, output_type=list[int], system_message="Count.").run("go")

    assert result.output == [1, 2]
    assert '"value"' in provider.requests[0].messages[0].text


# conversations


async def test_a_conversation_is_continued() -> None:
    agent, provider = scripted("Hello Ada", "Ada", system_message="s")
    conversation = Conversation()
    await agent.run("I am Ada", conversation=conversation)
    await agent.run("Who am I?", conversation=conversation)

    assert [message.text for message in provider.requests[1].messages] == [
        "s",
        "I am Ada",
        "Hello Ada",
        "Who am I?",
    ]
    assert [message.role for message in conversation] == ["user", "assistant", "user", "assistant"]


async def test_a_failed_run_leaves_a_conversation_as_it_was() -> None:
    agent, _ = scripted(AuthenticationError("no key"), "fine")
    conversation = Conversation()
    await agent.run("first", conversation=conversation)
    await agent.run("second", conversation=conversation)

    assert [message.text for message in conversation] == ["second", "fine"]


async def test_runs_on_one_conversation_take_turns() -> None:
    agent = Agent(provider=FunctionProvider(lambda spec: f"{len(spec.messages)}"))
    conversation = Conversation()
    results = await asyncio.gather(*(agent.run("x", conversation=conversation) for _ in range(3)))

    assert sorted(result.content for result in results) == ["1", "3", "5"]


async def test_reasoning_is_carried_through_the_turns() -> None:
    part = ReasoningPart(provider="anthropic", text="hm", data={"signature": "abc"})
    first = CompletionResult(reasoning=(part,), tool_calls=(call(),), finish_reason="tool_calls")
    agent, provider = scripted(first, "done", tools=[add])
    await agent.run("go")

    assert provider.requests[1].messages[1].content == (part,)


# making one


async def test_an_agent_can_be_made_of_a_model_string_without_a_key() -> None:
    async with Agent(model="openai:gpt-5.2") as agent:
        assert agent.engine.provider.name == "openai"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"engine": ExecutionEngine(ScriptedProvider([])), "provider": ScriptedProvider([])},
        {"model": "gpt-5.2"},
    ],
)
def test_an_agent_needs_one_clear_source_of_answers(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Agent(**options)


async def test_an_agent_may_ask_a_shared_engine_for_another_model() -> None:
    provider = ScriptedProvider(["x"])
    await Agent(engine=ExecutionEngine(provider), model="large").run("go")

    assert provider.requests[0].model == "large"


async def test_an_agent_closes_only_an_engine_of_its_own() -> None:
    own, shared = ScriptedProvider([]), ScriptedProvider([])
    await Agent(provider=own).aclose()
    await Agent(engine=ExecutionEngine(shared)).aclose()

    assert (own.closed, shared.closed) == (True, False)


async def test_a_run_needs_something_to_answer() -> None:
    agent, _ = scripted("x")
    with pytest.raises(ConfigurationError):
        await agent.run(None)
    with pytest.raises(ConfigurationError):
        await agent.run("x", conversation=Conversation(), messages=[Message.user("y")])


def test_a_run_can_be_waited_for_in_ordinary_code() -> None:
    agent, _ = scripted("Hello!", "Again!")

    assert [agent.run_sync("Hi").content, agent.run_sync("Hi").content] == ["Hello!", "Again!"]


async def test_but_not_inside_an_event_loop() -> None:
    agent, _ = scripted("x")
    with pytest.raises(ConfigurationError, match=r"await agent.run"):
        agent.run_sync("Hi")


async def test_a_batch_of_prompts_keeps_its_order() -> None:
    agent = Agent(provider=FunctionProvider(lambda spec: spec.messages[-1].text))

    assert [result.content for result in await agent.batch(["a", "b", "c"])] == ["a", "b", "c"]


@pytest.mark.parametrize("values", [{"max_turns": 0}, {"max_tokens": 100}, {"max_tool_corrections": -1}])
def test_impossible_bounds_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        AgentConfig(**values)  # type: ignore[arg-type]


async def test_the_engines_retries_serve_the_agent() -> None:
    provider = ScriptedProvider([ProviderUnavailable(), "ok"])
    engine = ExecutionEngine(provider, retry=RetryConfig(backoff=0))

    assert (await Agent(engine=engine).run("go")).content == "ok"


def test_a_tool_without_a_schema_check_is_still_a_tool() -> None:
    async def handler(**arguments: Any) -> str:
        return str(sorted(arguments))

    raw = Tool(name="raw", description="", parameters={"type": "object"}, handler=handler)
    agent, _ = scripted([call("raw", b=1, a=2)], "done", tools=[raw])

    assert texts(agent.run_sync("go"))[2] == ("tool", "['a', 'b']")
