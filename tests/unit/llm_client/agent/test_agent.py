"""The agent's loop: turns, conversations, and how runs end."""

import asyncio
from typing import Any

import pytest

from llm_client import (
    HOST,
    Agent,
    AgentConfig,
    AuthenticationError,
    Citation,
    CompletionResult,
    ConfigurationError,
    Conversation,
    Delay,
    ExecutionEngine,
    FunctionProvider,
    Host,
    Message,
    ModelCall,
    NetworkBlocked,
    OpenAIProvider,
    ProviderUnavailable,
    ReasoningPart,
    RequestContext,
    RequestSpec,
    RetryConfig,
    ScriptedProvider,
    ScriptExhausted,
    Tool,
    ToolInvocation,
    ToolResult,
    Usage,
    WebSearch,
    block_network,
    tool,
)
from llm_client.middleware import ProceedCall, ProceedTool
from support.agents import add, call, scripted, texts

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


def test_a_tool_of_ours_and_one_of_the_vendors_have_different_names() -> None:
    @tool
    async def web_search(query: str) -> str:
        """Search."""
        return query

    with pytest.raises(
        ConfigurationError, match="two tools named 'web_search', one of which runs at the vendor"
    ):
        Agent(provider=ScriptedProvider([]), tools=[web_search], server_tools=[WebSearch()])


async def test_a_result_holds_the_last_answer_with_all_there_is_to_it() -> None:
    cited = CompletionResult(content="Yes.", citations=(Citation(url="https://k.example"),))
    request = RequestSpec(messages=(), server_tools=[WebSearch()])
    provider = ScriptedProvider([call(), cited])
    result = await Agent(provider=provider, tools=[add], request=request).run("?")

    assert result.answer is not None
    assert result.answer.citations == cited.citations
    assert [spec.server_tools for spec in provider.requests] == [request.server_tools] * 2


async def test_a_variant_differs_in_what_is_given_and_shares_the_engine() -> None:
    agent, provider = scripted("First.", "Second.", system_message="Be brief.", tools=[add])
    other = agent.variant(system_message="Be long.", tools=[], request=agent.request.evolve(temperature=0.5))

    await agent.run("Hello")
    await other.run("Hello")
    await other.aclose()

    first, second = provider.requests
    assert [first.messages[0].text, second.messages[0].text] == ["Be brief.", "Be long."]
    assert [[one.name for one in spec.tools] for spec in (first, second)] == [["add"], []]
    assert [first.temperature, second.temperature] == [None, 0.5]
    assert other.engine is agent.engine
    assert agent.system_message == "Be brief."
