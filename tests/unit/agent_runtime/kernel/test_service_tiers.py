"""What is set aside and what is billed, where a vendor serves requests in tiers of their own price."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from agent_runtime import BudgetExceededError, BudgetSpec, ExecutionRequest, OperatorContext
from agent_runtime.values.money import to_dollars
from llm_client import ExecutionEngine, Message, OpenAIProvider, RequestSpec, RetryConfig
from llm_client.pricing.book import PriceBook
from support.kernels import BOUND, journal, kernel
from support.loopback import LoopbackServer, Reply, json_reply, sse_reply
from support.wire import data_events, openai_chat

pytestmark = pytest.mark.timeout(BOUND * 3)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
USAGE = {"prompt_tokens": 40, "completion_tokens": 50, "total_tokens": 90}
STANDARD, PRIORITY = Decimal("0.00077"), Decimal("0.00154")
"""What the usage costs of gpt-5.2, whose priority tier costs twice as much (genai-prices 0.2.3)."""


def asking(extra: dict[str, Any]) -> RequestSpec:
    return RequestSpec(messages=[Message.user("hi")], max_tokens=50, extra=extra)


def answer(**fields: Any) -> Reply:
    return json_reply(openai_chat.completion({"content": "ok"}, usage=USAGE, model="gpt-5.2", **fields))


class Jobs:
    """Jobs that ask one server once."""

    def __init__(self, reply: Reply, extra: dict[str, Any] | None = None, *, stream: bool = False) -> None:
        self._server = LoopbackServer(reply)
        self._spec = asking(extra or {})
        self._stream = stream

    async def run(self, budgets: BudgetSpec) -> tuple[Any, list[Any], list[Any]]:
        """Return a job's ending, its journal and its ledger."""
        async with self._server as server:
            provider = OpenAIProvider("gpt-5.2", api_key="k", base_url=server.url + "/v1", api="chat")
            engine = ExecutionEngine(provider, retry=RetryConfig(attempts=1))

            async def ask(context: OperatorContext, given: Any) -> None:
                if not self._stream:
                    await context.model(self._spec)
                    return
                async for _ in engine.stream(self._spec):
                    pass

            prices = PriceBook(clock=lambda: NOW)
            async with kernel(engine=engine, operators=[ask], prices=prices) as k:
                handle = await k.execute(ExecutionRequest(operator="ask", budgets=budgets))
                ending: Any = None
                try:
                    await handle.result()
                except Exception as error:
                    ending = error
                events = await journal(handle)
                entries = await k.ledger.entries(job_id=handle.job_id)
            await engine.aclose()
        return ending, events, entries


@pytest.mark.parametrize(
    ("asked", "served", "billed"),
    [
        (None, "priority", PRIORITY),  # the account's own setting
        ("auto", "priority", PRIORITY),
        ("priority", "priority", PRIORITY),
        ("fast", "priority", PRIORITY),
        ("priority", "default", STANDARD),
        ("default", "default", STANDARD),
        ("flex", "default", STANDARD),
        ("flex", "flex", STANDARD / 2),
    ],
)
async def test_what_was_set_aside_is_enough_for_the_tier_that_serves(
    asked: str | None, served: str, billed: Decimal
) -> None:
    extra = {} if asked is None else {"service_tier": asked}

    ending, events, (entry,) = await Jobs(answer(service_tier=served), extra).run(
        BudgetSpec(max_cost=1, mode="hard")
    )

    (started,) = [event for event in events if event.type == "model.started"]
    assert ending is None
    assert (entry.cost, entry.service_tier) == (billed, served.replace("default", "standard"))
    assert billed <= to_dollars(started.data["at_most"]["cost_units"])
    assert not [event for event in events if event.type == "budget.overrun"]


async def test_a_request_for_the_standard_tier_needs_no_room_for_a_dearer_one() -> None:
    async def reserved(extra: dict[str, Any]) -> int:
        _, events, _ = await Jobs(answer(), extra).run(BudgetSpec(max_cost=1, mode="hard"))
        return next(e.data["at_most"]["cost_units"] for e in events if e.type == "model.started")

    assert await reserved({"service_tier": "default"}) * 2 == await reserved({})


async def test_a_tier_whose_price_nobody_knows_is_refused_like_a_model_without_one() -> None:
    ending, _, entries = await Jobs(answer(), {"service_tier": "ultrafast"}).run(
        BudgetSpec(max_cost=1, mode="hard")
    )

    assert isinstance(ending, BudgetExceededError)
    assert [entry for entry in entries if entry.type == "model_usage"] == []


FAILED = {"error": {"message": "no", "code": "content_filter"}, "usage": USAGE, "service_tier": "priority"}


@pytest.mark.parametrize(
    ("reply", "stream"),
    [
        (sse_reply(*data_events([openai_chat.chunk({"content": "h"}), FAILED])), True),
        (json_reply(FAILED), False),
        (json_reply(FAILED, status=400), False),
    ],
    ids=["streamed", "in a 200", "with a status"],
)
async def test_usage_beside_a_failure_is_billed(reply: Reply, stream: bool) -> None:
    ending, _, (entry,) = await Jobs(reply, stream=stream).run(BudgetSpec(max_cost=1, mode="hard"))

    assert ending is not None
    assert (entry.status, entry.uncertain, entry.service_tier) == ("failed", False, "priority")
    assert (entry.cost, entry.total_tokens) == (PRIORITY, 90)
