"""Runs that are watched."""

import asyncio

from llm_client import (
    HOST,
    AgentConfig,
    AuthenticationError,
    Chunks,
    CompletionResult,
    Host,
    ModelCall,
    tool,
)
from llm_client.middleware import ProceedCall
from support.agents import BOUND, add, call, collect, scripted


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
