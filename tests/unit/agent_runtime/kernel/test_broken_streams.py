"""What a stream is billed that breaks after its vendor has said what it cost so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from agent_runtime import BudgetSpec, ExecutionRequest, JobFailed, OperatorContext
from agent_runtime.values.budget import LedgerEntry
from llm_client import AnthropicProvider, ExecutionEngine, Message, RequestSpec, RetryConfig
from support.kernels import BOUND, journal, kernel
from support.loopback import LoopbackServer, sse_reply
from support.wire import anthropic, named_events

pytestmark = pytest.mark.timeout(BOUND * 3)

START = {
    "type": "message_start",
    "message": anthropic.message([], usage={"input_tokens": 20, "output_tokens": 1}),
}
WORDS = [
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a long answer"}},
]
COUNTED = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 40}}
WRONG = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}


async def billed(*events: dict[str, Any]) -> tuple[LedgerEntry, int]:
    """Return the bill of a job whose stream says this and ends in an error, and the output tokens that were set aside."""
    async with LoopbackServer(sse_reply(*named_events([*events, WRONG]))) as server:
        provider = AnthropicProvider("claude-haiku-4-5", api_key="k", base_url=server.url)
        engine = ExecutionEngine(provider, retry=RetryConfig(attempts=1))

        async def ask(context: OperatorContext, given: Any) -> None:
            async for _ in engine.stream(RequestSpec(messages=[Message.user("hi")], max_tokens=500)):
                pass

        async with kernel(engine=engine, operators=[ask]) as k:
            budgets = BudgetSpec(max_cost=1, mode="hard")
            handle = await k.execute(ExecutionRequest(operator="ask", budgets=budgets))
            with pytest.raises(JobFailed):
                await handle.result()
            (entry,) = await k.ledger.entries(job_id=handle.job_id)
            started = next(event for event in await journal(handle) if event.type == "model.started")
        await engine.aclose()
    return entry, started.data["at_most"]["output_tokens"]


@pytest.mark.parametrize("events", [(START,), (START, *WORDS, COUNTED)], ids=["at once", "at the end"])
async def test_a_count_that_nothing_has_followed_is_the_bill(events: Sequence[dict[str, Any]]) -> None:
    entry, _ = await billed(*events)

    assert (entry.uncertain, entry.input_tokens) == (False, 20)
    assert entry.output_tokens == (1 if events == (START,) else 40)


async def test_words_after_the_last_count_may_have_cost_all_that_was_set_aside() -> None:
    entry, most = await billed(START, *WORDS)

    assert (entry.uncertain, entry.price_source) == (True, "reserved maximum")
    assert entry.output_tokens == most == 500
