"""Streams inside jobs whose readers leave before the end: the call ends at once, is billed, and a resume tells the same."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    ActionType,
    BudgetSpec,
    ConcurrentSteps,
    ExecutionHandle,
    ExecutionRequest,
    JobFailed,
    OperatorContext,
)
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.values.budget import run_budget_id
from llm_client import (
    LLM,
    Agent,
    Chunks,
    CompletionResult,
    Conversation,
    ExecutionEngine,
    FunctionProvider,
    Message,
    RequestContext,
    RequestSpec,
    ScriptedProvider,
    StreamEvent,
    ToolCall,
    Usage,
    tool,
)
from support.kernels import BOUND, journal, kernel, pending, status_becomes, types, until

pytestmark = pytest.mark.timeout(BOUND * 3)

SPEC = RequestSpec(messages=[Message.user("Tell me a story.")])


class Endless:
    """A model that says two words and never ends, and remembers how often it was asked and cut off."""

    def __init__(self) -> None:
        self.asked = 0
        self.running = 0
        self.engine = ExecutionEngine(FunctionProvider(self._speak))
        self.agent = Agent(engine=self.engine)
        self.llm = LLM(self.engine)

    async def _speak(self, spec: RequestSpec) -> AsyncIterator[str]:
        self.asked += 1
        self.running += 1
        try:
            yield "once "
            yield "upon "
            await asyncio.Event().wait()
        finally:
            self.running -= 1


class Stop(Exception):
    """What a loop's body raises."""


async def break_off(model: Endless) -> str:
    async for event in model.agent.stream("go"):
        if event.type == "token":
            return event.text
    raise AssertionError


async def break_off_a_kept_stream(model: Endless) -> str:
    stream, heard = model.agent.stream("go"), ""
    async for event in stream:
        heard += event.text if event.type == "token" else ""
        if heard:
            break
    KEPT.append(stream)
    return heard


async def break_off_an_engines_stream(model: Endless) -> str:
    heard = ""
    async for event in model.engine.stream(SPEC):
        heard = event.text
        break
    return heard


async def break_off_text(model: Endless) -> str:
    async for text in model.llm.inference_stream("go"):
        return text
    raise AssertionError


async def raise_in_the_body(model: Endless) -> str:
    heard = ""
    try:
        async for event in model.engine.stream(SPEC):
            heard += event.text
            if heard == "once upon ":
                raise Stop
    except Stop:
        return heard
    raise AssertionError


async def take_one(model: Endless) -> str:
    stream = model.engine.stream(SPEC)
    KEPT.append(stream)
    return (await anext(stream)).text


async def break_off_a_generator_around_it(model: Endless) -> str:
    async def words() -> AsyncIterator[str]:
        async for event in model.engine.stream(SPEC):
            yield event.text

    generator = words()
    KEPT.append(generator)
    async for word in generator:
        return word
    raise AssertionError


async def close(model: Endless) -> str:
    async with model.engine.stream(SPEC) as stream:
        return (await anext(stream)).text


KEPT: list[Any] = []
WAYS: list[Callable[[Endless], Awaitable[str]]] = [
    break_off,
    break_off_a_kept_stream,
    break_off_an_engines_stream,
    break_off_text,
    raise_in_the_body,
    take_one,
    break_off_a_generator_around_it,
    close,
]


@pytest.mark.parametrize("leave", WAYS)
async def test_a_stream_that_is_left_ends_before_the_next_step(
    leave: Callable[[Endless], Awaitable[str]],
) -> None:
    """A resume hears what was heard, asks nobody, and the answer that was cut off is billed at its maximum."""
    model, running, heard = Endless(), list[int](), list[str]()

    async def note(text: str) -> str:
        running.append(model.running)
        return text

    async def operator(context: OperatorContext, given: Any) -> str:
        heard.append(await leave(model))
        noted = await context.step(note, heard[-1], effect="unsafe")
        await context.action(ActionSpec(type=ActionType.CONFIRM))
        return f"{noted}and {await context.step(note, 'on', effect='unsafe')}"

    async with kernel(MemoryStorage(), operators={"tell": operator}, engine=model.engine) as k:
        handle = await k.execute(ExecutionRequest(operator="tell", budgets=BudgetSpec(max_tokens=100_000)))
        question = await pending(handle)
        await status_becomes(handle, "waiting_action")
        await k.actions.resolve_by_id(question.action_id, {"confirmed": True})
        result = await handle.result(timeout=BOUND)
        KEPT.clear()
        entries = list(await k.ledger.entries(job_id=handle.job_id, type="model_usage"))
        (counters,) = await k.storage.counters([(run_budget_id("default", handle.job_id), "")])
        events = await journal(handle)
    assert running == [0, 0]
    assert model.asked == 1
    assert len(heard) == 2
    assert heard[0] == heard[1]
    assert result.output == f"{heard[0]}and on"
    (entry,) = entries
    assert entry.uncertain
    assert counters.settled.tokens == entry.input_tokens + entry.output_tokens
    assert counters.reserved.tokens == 0
    (left,) = [event for event in events if event.type == "model.left"]
    assert left.body()["content"].startswith(heard[0])
    assert "job.warning" not in [event.type for event in events]


async def answered(k: Any, handle: ExecutionHandle) -> Any:
    """Let the job leave the memory, answer its question, and return its result."""
    question = await pending(handle)
    await status_becomes(handle, "waiting_action")
    await k.actions.resolve_by_id(question.action_id, {"confirmed": True})
    return (await handle.result(timeout=BOUND)).output


async def ask(context: OperatorContext) -> None:
    await context.action(ActionSpec(type=ActionType.CONFIRM))


async def test_what_the_vendor_said_last_is_what_a_left_stream_costs() -> None:
    class Counting(FunctionProvider):
        async def stream(self, spec: RequestSpec, context: RequestContext) -> AsyncIterator[StreamEvent]:
            yield StreamEvent(type="usage", usage=Usage(input_tokens=5, output_tokens=1, requests=1))
            await thought.wait()
            yield StreamEvent(type="token", text="all of it")
            yield StreamEvent(type="usage", usage=Usage(input_tokens=5, output_tokens=3, requests=1))
            await asyncio.Event().wait()

    engine, thought = ExecutionEngine(Counting(lambda _: "")), asyncio.Event()

    async def operator(context: OperatorContext, given: Any) -> None:
        seen = 0
        async for event in engine.stream(SPEC):
            seen += event.type == "usage"
            if seen == given:
                return

    async with kernel(MemoryStorage(), operators={"tell": operator}) as k:
        early = await k.execute(ExecutionRequest(operator="tell", input=1))
        await early.result(timeout=BOUND)
        (entry,) = await k.ledger.entries(job_id=early.job_id, type="model_usage")
        assert entry.uncertain  # before the first piece nobody knows what the model has thought meanwhile
        assert entry.output_tokens > 3
        thought.set()
        handle = await k.execute(ExecutionRequest(operator="tell", input=2))
        await handle.result(timeout=BOUND)
        (entry,) = await k.ledger.entries(job_id=handle.job_id, type="model_usage")
        order = await types(handle)
    assert (entry.uncertain, entry.input_tokens, entry.output_tokens) == (False, 5, 3)
    assert "model.left" in order
    assert order[-1] == "job.succeeded"


async def test_an_effect_in_flight_is_finished_when_the_reader_leaves_and_nothing_follows_it() -> None:
    begun, go_on, sent = asyncio.Event(), asyncio.Event(), list[str]()

    @tool(effect="unsafe")
    async def send(to: str) -> str:
        """Send a letter."""
        begun.set()
        await go_on.wait()
        sent.append(to)
        return "sent"

    provider = ScriptedProvider([ToolCall("1", "send", {"to": "ann"}), "never asked for"])
    agent = Agent(provider=provider, tools=[send])

    async def count() -> int:
        return len(sent)

    async def operator(context: OperatorContext, given: Any) -> int:
        async for event in agent.stream("go"):
            if event.type == "tool_call_end":
                await begun.wait()
                break
        asyncio.get_running_loop().call_soon(go_on.set)
        counted: int = await context.step(count, effect="read")
        await ask(context)
        return counted

    async with kernel(MemoryStorage(), operators={"tell": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="tell"))
        assert await answered(k, handle) == 1
        order = await types(handle)
    assert sent == ["ann"]
    assert provider.remaining == 1
    assert "tool.completed" in order
    assert "tool.unknown" not in order


async def test_a_stream_that_waits_for_a_person_when_it_is_left_asks_nobody_else() -> None:
    @tool(effect="unsafe", requires_approval=True)
    async def send(to: str) -> str:
        """Send a letter."""
        return f"sent to {to}"

    agent = Agent(provider=ScriptedProvider([ToolCall("1", "send", {"to": "ann"})]), tools=[send])

    async def operator(context: OperatorContext, given: Any) -> str:
        async for event in agent.stream("go"):
            if event.type == "tool_call_end":
                break
        return str(await context.step(str, "went on", name="go on", effect="read"))

    async with kernel(MemoryStorage(), operators={"tell": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="tell"))
        assert (await handle.result(timeout=BOUND)).output == "went on"


async def test_a_reader_who_comes_back_after_a_step_is_told_that_he_had_left() -> None:
    model = Endless()

    async def operator(context: OperatorContext, given: Any) -> None:
        async for event in model.agent.stream("go"):
            await context.step(str, event.type, name="note", effect="read")

    async with kernel(MemoryStorage(), operators={"tell": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="tell"))
        with pytest.raises(JobFailed, match="a step was begun while a stream"):
            await handle.result(timeout=BOUND)
    assert model.running == 0
    assert issubclass(ConcurrentSteps, Exception)


async def test_a_stream_that_had_been_answered_when_it_was_left_tells_a_resume_the_same_pieces() -> None:
    provider = ScriptedProvider([Chunks(["one ", "two ", "three"])])
    conversation, agent = Conversation(), Agent(provider=provider)
    heard: list[str] = []
    lengths: list[int] = []

    async def operator(context: OperatorContext, given: Any) -> int:
        conversation.__init__()  # type: ignore[misc] -- each run of the job begins with an empty one
        async for event in agent.stream("go", conversation=conversation):
            if event.type == "token":
                await until(lambda: has_ended(context))
                heard.append(event.text)
                break
        await context.step(str, "note", name="note", effect="read")
        lengths.append(len(conversation))
        await ask(context)
        return len(conversation)

    async def has_ended(context: OperatorContext) -> bool:
        events = await k.storage.events(str(context.job_id))
        return any(event.type == "model.completed" for event in events)

    async with kernel(MemoryStorage(), operators={"tell": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="tell"))
        assert await answered(k, handle) == 2
    assert heard == ["one ", "one "]
    assert lengths == [2, 2]
    assert provider.remaining == 0


async def test_a_run_that_was_left_between_two_turns_does_not_ask_when_it_is_followed_again() -> None:
    """The stream's call runs ahead of its reader: how far it had come when he left must not decide what a resume pays."""

    @tool(effect="read")
    async def look() -> str:
        """Look."""
        return "seen"

    asked: list[int] = []

    def model(spec: RequestSpec) -> Any:
        asked.append(len(spec.messages))
        return ToolCall(str(len(asked)), "look", {})

    agent = Agent(provider=FunctionProvider(model), tools=[look])

    async def operator(context: OperatorContext, given: Any) -> str:
        async for event in agent.stream("go"):
            if event.text == "tool_result":
                break
        await context.step(str, "note", name="note", effect="read")
        await ask(context)
        return "done"

    async with kernel(MemoryStorage(), operators={"tell": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="tell"))
        question = await pending(handle)
        await status_becomes(handle, "waiting_action")
        before = len(asked)
        await k.actions.resolve_by_id(question.action_id, {"confirmed": True})
        await handle.result(timeout=BOUND)
    assert len(asked) == before


async def test_code_that_reads_on_where_it_had_left_is_parked() -> None:
    model, patience = Endless(), iter([1, 3])

    async def operator(context: OperatorContext, given: Any) -> None:
        words, enough = 0, next(patience)
        async for _ in model.engine.stream(SPEC):
            words += 1
            if words == enough:
                break
        await ask(context)

    async with kernel(MemoryStorage(), operators={"tell": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="tell"))
        question = await pending(handle)
        await status_becomes(handle, "waiting_action")
        await k.actions.resolve_by_id(question.action_id, {"confirmed": True})
        await status_becomes(handle, "blocked")
    assert model.asked == 1


async def test_branches_read_streams_of_their_own_at_the_same_time() -> None:
    model = Endless()

    async def read(context: OperatorContext) -> str:
        heard = await break_off(model)
        return str(await context.step(str, heard, name="note", effect="read"))

    async def operator(context: OperatorContext, given: Any) -> list[str]:
        heard = await context.gather(read(context), read(context))
        await ask(context)
        return heard

    async with kernel(MemoryStorage(), operators={"tell": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="tell"))
        assert await answered(k, handle) == ["once ", "once "]
    assert (model.asked, model.running) == (2, 0)


async def test_a_stream_inside_a_step_ends_with_the_step() -> None:
    model = Endless()

    async def first_word() -> str:
        stream = model.engine.stream(SPEC)
        KEPT.append(stream)
        return (await anext(stream)).text

    async def operator(context: OperatorContext, given: Any) -> str:
        return str(await context.step(first_word, effect="unsafe"))

    async with kernel(MemoryStorage(), operators={"tell": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="tell"))
        assert (await handle.result(timeout=BOUND)).output == "once "
        order = await types(handle)
    KEPT.clear()
    assert order.index("model.left") < order.index("step.completed")


async def test_recorded_pieces_do_not_change_what_an_answer_is() -> None:
    """Reasoning and tool calls come back in the order in which they came."""
    whole = CompletionResult(
        content="ab", tool_calls=(ToolCall("1", "f", {"x": 1}),), usage=Usage(requests=1)
    )
    engine = ExecutionEngine(ScriptedProvider([whole]))
    told: list[list[tuple[str, str]]] = []

    async def operator(context: OperatorContext, given: Any) -> None:
        told.append([(event.type, event.text) async for event in engine.stream(SPEC)])
        await ask(context)

    async with kernel(MemoryStorage(), operators={"tell": operator}) as k:
        await answered(k, await k.execute(ExecutionRequest(operator="tell")))
    assert told[0] == told[1]
