"""What bounds a run counts what is in its journal: a resume neither begins to count anew nor pays for turns beyond a bound."""

from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    ActionType,
    ExecutionHandle,
    ExecutionRequest,
    OperatorContext,
    current_context,
)
from agent_runtime.storage.memory import MemoryStorage
from llm_client import (
    Agent,
    AgentConfig,
    ContextLengthExceeded,
    Conversation,
    FunctionProvider,
    Message,
    RequestSpec,
    ScriptedProvider,
    ToolCall,
    minimal_middleware,
    tool,
)
from llm_client.agent.middleware.budget import BudgetMiddleware
from support.kernels import BOUND, journal, kernel, pending, status_becomes

pytestmark = pytest.mark.timeout(BOUND * 3)


class Insatiable:
    """A model that calls a tool twice in every answer, whatever it reads."""

    def __init__(self) -> None:
        self.asked = 0
        self.provider = FunctionProvider(self._answer)

    def _answer(self, spec: RequestSpec) -> list[ToolCall]:
        self.asked += 1
        return [ToolCall(f"{self.asked}-{number}", "look", {"number": number}) for number in range(2)]


async def resume(k: Any, handle: ExecutionHandle) -> None:
    question = await pending(handle)
    await status_becomes(handle, "waiting_action")
    await k.actions.resolve_by_id(question.action_id, {"confirmed": True})


async def test_a_resumed_run_counts_the_tool_calls_before_the_interruption() -> None:
    """Three answers with two calls each fill a bound of five; the person is asked inside the second call."""
    seen: list[int] = []

    @tool(effect="idempotent")
    async def look(number: int) -> str:
        """Look."""
        if len(seen) == 1:
            await current_context().action(ActionSpec(type=ActionType.CONFIRM))
        seen.append(number)
        return "seen"

    model = Insatiable()
    config = AgentConfig(max_turns=20, max_tool_calls=5, parallel_tool_execution=False)
    agent = Agent(provider=model.provider, tools=[look], config=config)

    async def operator(context: OperatorContext, given: Any) -> dict[str, Any]:
        result = await agent.run("go")
        return {"status": result.status, "turns": result.turns, "last": result.messages[-1].text}

    async with kernel(MemoryStorage(), operators={"look": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="look"))
        await resume(k, handle)
        output: Any = (await handle.result(timeout=BOUND)).output
        calls = [event for event in await journal(handle) if event.type == "tool.completed"]
    assert (output["status"], output["turns"]) == ("max_tool_calls", 3)
    assert "the run ended before this call was answered" in output["last"]
    assert (len(seen), len(calls), model.asked) == (5, 5, 3)


async def test_a_run_at_its_bound_of_tool_calls_pays_for_no_further_turn() -> None:
    @tool(effect="read")
    async def look(number: int) -> str:
        """Look."""
        return "seen"

    model = Insatiable()
    agent = Agent(provider=model.provider, tools=[look], config=AgentConfig(max_turns=100))
    result = await agent.run("go")
    assert (result.status, model.asked) == ("max_tool_calls", 26)
    assert result.error is not None
    assert "more than 50 tool calls" in str(result.error)


async def test_a_run_may_use_its_last_tool_call_and_still_answer() -> None:
    @tool(effect="read")
    async def look() -> str:
        """Look."""
        return "seen"

    provider = ScriptedProvider([ToolCall("1", "look", {}), ToolCall("2", "look", {}), "done"])
    result = await Agent(provider=provider, tools=[look], config=AgentConfig(max_tool_calls=2)).run("go")
    assert (result.status, result.content) == ("success", "done")


async def test_a_middleware_that_bounds_calls_counts_those_before_a_resume() -> None:
    seen: list[int] = []

    @tool(effect="idempotent")
    async def look(number: int) -> str:
        """Look."""
        if len(seen) == 1:
            await current_context().action(ActionSpec(type=ActionType.CONFIRM))
        seen.append(number)
        return "seen"

    model = Insatiable()
    config = AgentConfig(
        max_turns=4,
        parallel_tool_execution=False,
        middleware_chain=[BudgetMiddleware(3), *minimal_middleware()],
    )
    agent = Agent(provider=model.provider, tools=[look], config=config)

    async def operator(context: OperatorContext, given: Any) -> str:
        return (await agent.run("go")).status

    async with kernel(MemoryStorage(), operators={"look": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="look"))
        await resume(k, handle)
        assert (await handle.result(timeout=BOUND)).output == "max_turns"
    assert len(seen) == 3


async def test_repairs_of_an_answer_are_counted_over_a_resume() -> None:
    """Two repairs are allowed in all, not two before and two after the interruption."""
    asked: list[Message] = []

    @tool(effect="idempotent")
    async def look() -> str:
        """Look."""
        await current_context().action(ActionSpec(type=ActionType.CONFIRM))
        return "seen"

    def answer(spec: RequestSpec) -> Any:
        asked.append(spec.messages[-1])
        return ToolCall("1", "look", {}) if len(asked) == 2 else "no number"

    agent = Agent(provider=FunctionProvider(answer), tools=[look], output_type=int)

    async def operator(context: OperatorContext, given: Any) -> str:
        return (await agent.run("go")).status

    async with kernel(MemoryStorage(), operators={"look": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="look"))
        await resume(k, handle)
        assert (await handle.result(timeout=BOUND)).output == "error"
    assert len(asked) == 4


async def test_a_tool_goes_on_in_the_attempt_in_which_it_stood_still() -> None:
    """Its second attempt asks a person: the resume asks nobody again, and has no third attempt more than allowed."""
    attempts: list[int] = []

    @tool(effect="idempotent", retries=1)
    async def send() -> str:
        """Send."""
        attempts.append(len(attempts))
        if len(attempts) == 1:
            raise OSError("out of order")
        await current_context().action(ActionSpec(type=ActionType.CONFIRM))
        raise OSError("still out of order")

    agent = Agent(provider=ScriptedProvider([ToolCall("1", "send", {}), "done"]), tools=[send])

    async def operator(context: OperatorContext, given: Any) -> str:
        return (await agent.run("go")).messages[-2].text

    async with kernel(MemoryStorage(), operators={"send": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="send"))
        await resume(k, handle)
        output = (await handle.result(timeout=BOUND)).output
        questions = [event for event in await journal(handle) if event.type == "action.required"]
    assert "still out of order" in str(output)
    assert len(questions) == 1
    assert len(attempts) == 3, "the first, the second, and the second again after its wait"


async def test_a_resumed_run_cuts_a_conversation_where_it_had_cut_it() -> None:
    requests: list[int] = []

    def answer(spec: RequestSpec) -> str | ToolCall:
        requests.append(len(spec.messages))
        if sum(len(message.text) for message in spec.messages) > 6_000:
            raise ContextLengthExceeded("too long", status=400)
        return "done" if spec.messages[-1].role == "tool" else ToolCall("1", "look", {})

    @tool(effect="read")
    async def look() -> str:
        """Look."""
        await current_context().action(ActionSpec(type=ActionType.CONFIRM))
        return "seen"

    agent = Agent(provider=FunctionProvider(answer), tools=[look])

    async def operator(context: OperatorContext, given: Any) -> str:
        said = [Message.user("x" * 1_500), Message.assistant("yes")] * 5
        return (await agent.run("go", conversation=Conversation(said))).content

    async with kernel(MemoryStorage(), operators={"look": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="look"))
        await resume(k, handle)
        assert (await handle.result(timeout=BOUND)).output == "done"
    assert len(requests) == 3
    assert requests[0] > requests[1]
