"""A conversation's messages are written once: what a turn adds to the journal does not grow with the conversation."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest

from agent_runtime import (
    ActionSpec,
    ActionType,
    ExecutionRequest,
    OperatorContext,
    PolicyEngine,
    RedactionPolicy,
    RuntimeEvent,
    model_requests,
)
from agent_runtime.storage.memory import MemoryStorage
from llm_client import (
    Agent,
    AgentConfig,
    Conversation,
    DropOldest,
    ExecutionEngine,
    FunctionProvider,
    Message,
    RequestSpec,
    ScriptedProvider,
    Summarise,
    ToolCall,
    tool,
)
from support.kernels import BOUND, journal, kernel, pending, status_becomes

pytestmark = pytest.mark.timeout(BOUND * 4)

TURNS = 60
WORDS = random.Random(7)


def noise(size: int) -> str:
    return WORDS.randbytes(size // 2).hex()


@tool(effect="read")
async def read_page(number: int) -> str:
    """Read a page."""
    return f"page {number}: {noise(3_000)}"


class Reader:
    """A model that reads page after page, and every request it was sent."""

    def __init__(self, turns: int = TURNS) -> None:
        self.requests: list[Sequence[Message]] = []
        self.turns = turns
        self.engine = ExecutionEngine(FunctionProvider(self._answer))

    def _answer(self, spec: RequestSpec) -> Any:
        self.requests.append(spec.messages)
        if spec.messages[0].text.startswith("Summarise"):
            return f"summary {len(self.requests)}"
        number = len(self.requests)
        return "done" if number >= self.turns else ToolCall(f"call-{number}", "read_page", {"number": number})


class EverySecond:
    """A window of somebody's own: leaves out every second exchange, and copies what it keeps."""

    async def fit(self, conversation: Any, messages: Sequence[Message], *, limit: int, measure: Any) -> Any:
        system, rest = messages[:2], messages[2:]
        kept = [
            pair for number, pair in enumerate(zip(rest[::2], rest[1::2], strict=True)) if number % 2 == 0
        ]
        return [
            Message(message.role, message.content, message.tool_calls, message.tool_call_id, message.name)
            for message in (*system, *(message for pair in kept for message in pair))
        ]


WINDOWS: dict[str, Callable[[Reader], Any]] = {
    "none": lambda reader: None,
    "oldest": lambda reader: DropOldest(),
    "summary": lambda reader: Summarise(reader.engine, max_tokens=50),
    "custom": lambda reader: EverySecond(),
}


def size_of(event: RuntimeEvent) -> int:
    return len(orjson.dumps(dict(event.data))) + len(event.content or b"")


def turns(events: Sequence[RuntimeEvent]) -> list[int]:
    """Return what each turn's request takes; a request for a summary has the text that it summarises, once."""
    requests = model_requests(events)
    return [
        size_of(event)
        for event in events
        if event.type == "model.started"
        and not requests[str(event.operation_id)].messages[0].text.startswith("Summarise")
    ]


def agent_of(reader: Reader, window: str, limit: int = 16_000) -> Agent:
    config = AgentConfig(
        max_turns=1_000,
        max_tool_calls=1_000,
        max_tokens=None if window == "none" else limit,
        reserve_tokens=100,
    )
    return Agent(
        engine=reader.engine,
        tools=[read_page],
        config=config,
        window=WINDOWS[window](reader),
        system_message="Read on.",
    )


def sent(reader: Reader) -> list[tuple[Message, ...]]:
    return [tuple(messages) for messages in reader.requests]


@pytest.mark.parametrize("window", list(WINDOWS))
async def test_the_journal_grows_with_the_conversation_and_not_with_what_is_sent(window: str) -> None:
    reader = Reader()
    async with kernel(MemoryStorage(), agent=agent_of(reader, window)) as k:
        handle = await k.execute(ExecutionRequest(prompt="Read the book."))
        await handle.result(timeout=BOUND)
        events = await journal(handle)
    started = turns(events)
    assert sum(map(len, reader.requests)) > 5 * len(started), "conversations that are sent again and again"
    assert max(started[-10:]) < 500, "a turn writes no message twice"
    pages = sum(len(event.body()["value"]) for event in events if event.type == "tool.completed")
    assert sum(map(size_of, events)) < 2 * pages
    assert [request.messages for request in model_requests(events).values()] == sent(reader)


@pytest.mark.parametrize("window", list(WINDOWS))
async def test_a_resume_goes_on_referring_to_what_is_written(window: str) -> None:
    """Interrupted in the middle: what follows neither writes the conversation again nor refers to the wrong messages."""
    reader = Reader(20)
    agent = agent_of(reader, window)

    async def operator(context: OperatorContext, given: Any) -> str:
        conversation = Conversation()
        reader.turns = 20 if len(reader.requests) < 20 else 40
        await agent.run("Read the book.", conversation=conversation)
        await context.action(ActionSpec(type=ActionType.CONFIRM))
        reader.turns = 40
        return (await agent.run("Read on.", conversation=conversation)).content

    async with kernel(MemoryStorage(), operators={"read": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="read"))
        question = await pending(handle)
        await status_becomes(handle, "waiting_action")
        await k.actions.resolve_by_id(question.action_id, {"confirmed": True})
        assert (await handle.result(timeout=BOUND)).output == "done"
        events = await journal(handle)
    assert len(reader.requests) >= 40
    assert [request.messages for request in model_requests(events).values()] == sent(reader)
    assert max(turns(events)[-18:]) < 500
    assert "job.warning" not in [event.type for event in events]


async def test_branches_and_streams_refer_to_each_others_messages() -> None:
    """A chat whose every turn is a stream, or a branch of its own, writes a message once all the same."""
    reader = Reader(10_000)
    reader.engine = ExecutionEngine(
        FunctionProvider(lambda spec: reader.requests.append(spec.messages) or noise(500))
    )
    agent = Agent(engine=reader.engine)
    conversation = Conversation()

    async def operator(context: OperatorContext, given: Any) -> None:
        for turn in range(15):
            async for _ in agent.stream(f"{turn}: {noise(500)}", conversation=conversation):
                pass
            await context.gather(agent.run(f"{turn}: again {noise(500)}", conversation=conversation))

    async with kernel(MemoryStorage(), operators={"chat": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="chat"))
        await handle.result(timeout=BOUND)
        events = await journal(handle)
    assert max(size_of(event) for event in events if event.type == "model.started") < 1_500
    assert [request.messages for request in model_requests(events).values()] == sent(reader)


async def test_two_conversations_that_take_turns_are_each_written_once() -> None:
    requests: list[Sequence[Message]] = []
    engine = ExecutionEngine(FunctionProvider(lambda spec: requests.append(spec.messages) or noise(500)))
    agent, ann, bob = Agent(engine=engine), Conversation(), Conversation()

    async def operator(context: OperatorContext, given: Any) -> None:
        said = "Begin."
        for _ in range(20):
            for side in (ann, bob):
                said = (await agent.run(said, conversation=side)).content

    async with kernel(MemoryStorage(), operators={"debate": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="debate"))
        await handle.result(timeout=BOUND)
        events = await journal(handle)
    assert max(size_of(event) for event in events if event.type == "model.started") < 1_200
    assert [request.messages for request in model_requests(events).values()] == [
        tuple(one) for one in requests
    ]


async def test_equal_messages_are_told_apart_by_their_places() -> None:
    """People say `yes` again and again."""
    requests: list[Sequence[Message]] = []
    engine = ExecutionEngine(FunctionProvider(lambda spec: requests.append(spec.messages) or "And now?"))
    agent, conversation = Agent(engine=engine), Conversation()

    async def operator(context: OperatorContext, given: Any) -> None:
        for turn in range(40):
            await agent.run("yes" if turn % 3 else f"no {turn}", conversation=conversation)

    async with kernel(MemoryStorage(), operators={"chat": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="chat"))
        await handle.result(timeout=BOUND)
        events = await journal(handle)
    assert [request.messages for request in model_requests(events).values()] == [
        tuple(one) for one in requests
    ]
    assert max(size_of(event) for event in events if event.type == "model.started") < 500


async def test_what_a_policy_redacts_is_written_redacted_and_once() -> None:
    requests: list[Sequence[Message]] = []
    engine = ExecutionEngine(FunctionProvider(lambda spec: requests.append(spec.messages) or noise(400)))
    agent, conversation = Agent(engine=engine), Conversation()

    async def operator(context: OperatorContext, given: Any) -> None:
        for turn in range(10):
            await agent.run(f"{turn}: write to ann{turn}@example.com", conversation=conversation)
        await context.action(ActionSpec(type=ActionType.CONFIRM))
        for turn in range(10, 20):
            await agent.run(f"{turn}: write to ann{turn}@example.com", conversation=conversation)

    policy = PolicyEngine([RedactionPolicy()])
    async with kernel(MemoryStorage(), operators={"chat": operator}, policy_engine=policy) as k:
        handle = await k.execute(ExecutionRequest(operator="chat"))
        question = await pending(handle)
        await status_becomes(handle, "waiting_action")
        conversation.__init__()  # type: ignore[misc] -- the resume begins with an empty one
        await k.actions.resolve_by_id(question.action_id, {"confirmed": True})
        await handle.result(timeout=BOUND)
        events = await journal(handle)
    assert not [event for event in events if event.content and b"@example.com" in event.content]
    assert [request.messages for request in model_requests(events).values()] == [
        tuple(one) for one in requests
    ]
    assert max(size_of(event) for event in events if event.type == "model.started") < 800


async def test_the_tools_that_were_offered_are_written_when_they_change() -> None:
    @tool(effect="read")
    async def other() -> str:
        """Do something else."""
        return "done"

    provider = ScriptedProvider([ToolCall("1", "read_page", {"number": 1}), "one", "two"])
    agent, conversation = Agent(provider=provider, tools=[read_page]), Conversation()

    async def operator(context: OperatorContext, given: Any) -> None:
        await agent.run("go", conversation=conversation)
        agent.add_tool(other)
        await agent.run("on", conversation=conversation)

    async with kernel(MemoryStorage(), operators={"chat": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="chat"))
        await handle.result(timeout=BOUND)
        events = await journal(handle)
    offered = [request.tools for request in model_requests(events).values()]
    assert offered == [("read_page",), ("read_page",), ("read_page", "other")]


async def test_parallel_branches_with_one_beginning_can_each_be_read() -> None:
    requests: list[Sequence[Message]] = []

    async def answer(spec: RequestSpec) -> str:
        requests.append(spec.messages)
        return f"{spec.messages[-1].text}!"

    agent = Agent(engine=ExecutionEngine(FunctionProvider(answer)))

    async def talk(start: Conversation, name: str) -> None:
        own = start.fork()
        for turn in range(5):
            await agent.run(f"{name} {turn}", conversation=own)

    async def operator(context: OperatorContext, given: Any) -> None:
        start = Conversation()
        await agent.run(f"the same beginning {noise(300)}", conversation=start)
        await context.gather(*(talk(start, name) for name in "abcd"))

    async with kernel(MemoryStorage(), operators={"talk": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="talk"))
        await handle.result(timeout=BOUND)
        events = await journal(handle)
    written = [request.messages for request in model_requests(events).values()]
    assert sorted(map(repr, written)) == sorted(map(repr, map(tuple, requests)))


def test_requests_that_double_are_refused() -> None:
    """Whoever can write rows could have a few of them fill the memory of who reads a journal."""
    first = {"messages": [{"role": "user", "content": "hello"}]}
    bodies = [first] + [
        {"messages": [], "request": [[str(number), 0, 10**9], [str(number), 0, 10**9]]}
        for number in range(60)
    ]
    events = [
        RuntimeEvent(
            type="model.started",
            job_id="j",
            seq=number + 1,
            operation_id=f"j:{number}",
            content=orjson.dumps(body),
        )
        for number, body in enumerate(bodies)
    ]
    with pytest.raises(ValueError, match="more than"):
        model_requests(events)
