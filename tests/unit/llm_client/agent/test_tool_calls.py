"""Answering tool calls: right ones, wrong ones, and the gates around them."""

import asyncio

import pytest

from llm_client import (
    HOST,
    Agent,
    AgentConfig,
    FunctionProvider,
    Host,
    ModelRetry,
    RequestContext,
    RequestSpec,
    RunAborted,
    ScriptedProvider,
    ToolCall,
    ToolError,
    ToolInvocation,
    ToolMiddleware,
    ToolResult,
    tool,
)
from llm_client.middleware import ProceedTool
from support.agents import BOUND, add, broken, call, scripted, texts

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


async def test_who_approves_a_call_is_shown_its_defaults_and_exactly_that_is_done() -> None:
    paid: list[tuple[str, int]] = []

    @tool(requires_approval=True)
    async def pay(to: str, amount: int = 5_000_000) -> str:
        """Pay somebody."""
        paid.append((to, amount))
        return "paid"

    def approve(invocation: ToolInvocation) -> bool:
        return invocation.arguments.get("amount", 0) <= 10

    answers = [ToolCall("1", "pay", {"to": "ann"}), ToolCall("2", "pay", {"to": "ann", "amount": "7"}), "ok"]
    await Agent(provider=ScriptedProvider(answers), tools=[pay], approve=approve).run("pay")
    assert paid == [("ann", 7)]


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
