"""What the tests of agents share: two tools, scripted agents, and looking at results."""

from collections.abc import AsyncIterator
from typing import Any

from llm_client import Agent, AgentResult, ScriptedProvider, StreamEvent, ToolCall, tool

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
