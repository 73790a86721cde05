"""temporalio/sdk-python #1890: a chat of 209,000 tokens died at tool call 53 of 100, when its history had reached 50 MB.

Every request carried the whole conversation into the history again. Here a hundred tool calls of such a conversation end,
and the journal holds at most twice what was said, whatever window the conversation is sent through.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from agent_runtime import ExecutionRequest, RuntimeEvent
from llm_client import Agent, AgentConfig, DropOldest, ExecutionEngine, FunctionProvider, ToolCall, tool
from llm_client.spec import RequestSpec
from support.kernels import BOUND, journal, kernel, opened

pytestmark = pytest.mark.timeout(BOUND * 4)

CALLS = 100
CHARACTERS_PER_CALL = 8_360
"""A hundred of them are some 209,000 tokens."""


class NoGaps:
    """A window of somebody's own: the instruction, the question and what fits of the end."""

    async def fit(self, conversation: Any, messages: Any, *, limit: int, measure: Any) -> Any:
        end = list(messages[2:])
        while measure([*messages[:2], *end]) > limit and len(end) > 2:
            end = end[2:]
        return [*messages[:2], *end]


def bytes_of(events: Sequence[RuntimeEvent]) -> int:
    return sum(len(event.content or b"") + len(orjson.dumps(dict(event.data))) for event in events)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("window", [None, DropOldest(), NoGaps()], ids=["all", "oldest", "own"])
async def test_a_long_conversation_ends_and_its_journal_stays_near_its_size(
    window: Any, kind: str, tmp_path: Path
) -> None:
    said: list[str] = []
    chance = random.Random(1890)

    @tool(effect="read")
    async def look_up(number: int) -> str:
        """Look something up."""
        said.append(chance.randbytes(CHARACTERS_PER_CALL // 2).hex())
        return said[-1]

    def answer(_spec: RequestSpec) -> Any:
        return (
            ToolCall(f"call-{len(said)}", "look_up", {"number": len(said)}) if len(said) < CALLS else "done"
        )

    config = AgentConfig(
        max_turns=CALLS + 1, max_tool_calls=CALLS, max_tokens=None if window is None else 32_000
    )
    agent = Agent(
        engine=ExecutionEngine(FunctionProvider(answer)),
        tools=[look_up],
        config=config,
        window=window,
        system_message="You look things up.",
    )
    async with opened(kind, tmp_path) as storage, kernel(storage, agent=agent) as k:
        handle = await k.execute(ExecutionRequest(prompt="Look everything up."))
        assert (await handle.result(timeout=BOUND * 2)).content == "done"
        events = await journal(handle)
    assert len(said) == CALLS
    assert bytes_of(events) < 2 * sum(map(len, said))
