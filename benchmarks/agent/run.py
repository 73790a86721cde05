"""What the engine and the agent add to a model that answers at once. Run: `python benchmarks/agent/run.py`.

Prints medians of several rounds in microseconds; other work on the machine shows up in them, so compare rounds.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from llm_client import (
    Agent,
    AgentConfig,
    Chunks,
    CompletionResult,
    ExecutionEngine,
    FunctionProvider,
    Message,
    RequestContext,
    RequestSpec,
    ToolCall,
    Usage,
    tool,
)

ROUNDS = 7
SPEC = RequestSpec(messages=[Message.user("hi")])
CONTEXT = RequestContext()
ANSWER = CompletionResult(content="x", usage=Usage(input_tokens=1, requests=1))
CALL = [ToolCall("call_1", "add", {"a": 1, "b": 2})]


@tool(effect="read")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Instant(FunctionProvider):
    """Answers without doing anything, so that only our own cost is left."""

    async def complete(self, spec: RequestSpec, context: RequestContext) -> CompletionResult:
        return ANSWER


async def measure(work: Callable[[], Awaitable[object]], repeat: int) -> float:
    rounds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for _ in range(repeat):
            await work()
        rounds.append((time.perf_counter() - begin) / repeat * 1e6)
    return statistics.median(rounds)


async def main() -> None:
    engine = ExecutionEngine(Instant(lambda _: "x"))
    plain = Agent(provider=FunctionProvider(lambda _: "x"))
    once = FunctionProvider(lambda spec: "x" if spec.messages[-1].role == "tool" else CALL)
    guarded, bare = (Agent(provider=once, tools=[add], use_middleware=wanted) for wanted in (True, False))
    often = FunctionProvider(lambda spec: CALL if len(spec.messages) < 48 else "x")
    long = Agent(provider=often, tools=[add], config=AgentConfig(max_turns=30))
    streaming = ExecutionEngine(FunctionProvider(lambda _: Chunks(["x"] * 1000)))
    crowd = ExecutionEngine(Instant(lambda _: "x"), max_concurrency=100)

    async def stream() -> None:
        async for _ in streaming.stream(SPEC):
            pass

    async def thousand() -> None:
        await asyncio.gather(*(crowd.complete(SPEC, context=CONTEXT) for _ in range(1000)))

    cases: list[tuple[str, Callable[[], Awaitable[object]], int]] = [
        ("engine: one call", lambda: engine.complete(SPEC, context=CONTEXT), 5000),
        ("engine: 1,000 calls at once", thousand, 5),
        ("engine: a stream of 1,000 chunks", stream, 10),
        ("agent: one turn", lambda: plain.run("hi"), 1000),
        ("agent: a tool run, default middleware", lambda: guarded.run("hi"), 500),
        ("agent: a tool run, no middleware", lambda: bare.run("hi"), 500),
        ("agent: 25 turns", lambda: long.run("hi"), 20),
        (
            "agent: construction with a tool",
            lambda: asyncio.sleep(0, Agent(engine=engine, tools=[add])),
            1000,
        ),
    ]
    print("| case | µs |\n|---|--:|")
    for name, work, repeat in cases:
        await measure(work, max(1, repeat // 10))
        print(f"| {name} | {await measure(work, repeat):,.1f} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
