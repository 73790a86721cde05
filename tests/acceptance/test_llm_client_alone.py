"""An engineer uses llm_client alone: one import, a model on the wire, tools, failures, money; and the documented calls."""

import asyncio
from decimal import Decimal

import pytest

from llm_client import (
    Agent,
    AnthropicProvider,
    ExecutionEngine,
    IdempotencyTracker,
    ModelPrices,
    OpenAIProvider,
    PriceBook,
    RequestContext,
    RequestSpec,
    RetryConfig,
    ScriptedProvider,
    WebSearch,
    create_provider,
    tool,
)
from llm_client.messages import Message
from support.loopback import LoopbackServer, json_reply, sse_reply
from support.wire import anthropic_answers, data_events, named_events
from support.wire import openai_chat as wire

KEY = "sk-test-000"


@tool(effect="read")
async def lookup(order_id: str) -> dict[str, str]:
    """Look an order up.

    Args:
        order_id: Its number.
    """
    return {"order": order_id, "state": "sent"}


def wants_lookup() -> dict[str, object]:
    function = {"name": "lookup", "arguments": '{"order_id": "17"}'}
    call = {"id": "call_1", "type": "function", "function": function}
    return wire.completion({"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls")


async def test_an_agent_on_the_wire_survives_a_rate_limit_and_says_what_it_cost() -> None:
    limited = json_reply({"error": {"message": "slow down"}}, 429, retry_after="0.01")
    answer = json_reply(wire.completion({"role": "assistant", "content": "Order 17 was sent."}))
    prices = PriceBook({"openai:*": ModelPrices.of(input=1, output=1, cache_read=1, source="contract")})
    async with LoopbackServer(limited, json_reply(wants_lookup()), answer) as server:
        provider = OpenAIProvider("gpt-5.2", api_key=KEY, base_url=f"{server.url}/v1")
        engine = ExecutionEngine(provider, retry=RetryConfig(backoff=0), prices=prices)
        async with engine:
            result = await Agent(engine=engine, tools=[lookup], system_message="Be brief.").run(
                "Where is order 17?"
            )

    assert (result.status, result.content, result.turns) == ("success", "Order 17 was sent.", 2)
    assert len(server.requests) == 3
    sent = server.requests[-1].json["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool"]
    assert sent[-1]["content"] == '{"order":"17","state":"sent"}'
    assert result.total_usage.requests == 2
    assert result.total_usage.cost == Decimal(result.total_usage.total_tokens) / 1_000_000
    assert result.total_usage.price_source == "contract"


async def test_a_streamed_agent_on_the_wire_yields_its_words_as_they_come() -> None:
    chunks = [wire.chunk({"role": "assistant", "content": text}) for text in ("Hel", "lo")]
    stream = data_events([*chunks, wire.chunk({}, "stop")], done=True)
    async with LoopbackServer(sse_reply(*stream)) as server:
        provider = create_provider("vllm:llama-4", base_url=f"{server.url}/v1")
        async with Agent(provider=provider) as agent:
            events = [event async for event in agent.stream("Hi")]

    assert [event.text for event in events if event.type == "token"] == ["Hel", "lo"]
    assert events[-1].result.content == "Hello"
    assert server.requests[0].json["stream"] is True


async def test_two_hundred_agents_share_one_engine_and_one_server() -> None:
    async with LoopbackServer(json_reply(wire.completion({"role": "assistant", "content": "ok"}))) as server:
        provider = OpenAIProvider("gpt-5.2", api_key=KEY, base_url=f"{server.url}/v1")
        async with ExecutionEngine(provider, max_concurrency=20) as engine:
            agents = [Agent(engine=engine) for _ in range(200)]
            results = await asyncio.gather(*(agent.run("Hi") for agent in agents))

    assert {result.content for result in results} == {"ok"}
    assert len(server.requests) == 200
    assert server.connections <= 20


# the calls of the documents, as they are written there


async def test_the_documented_idempotency_tracker() -> None:
    provider = ScriptedProvider(["once"])
    spec = RequestSpec(messages=[Message.user("Hi")])

    tracker = IdempotencyTracker(request_timeout=60.0)
    engine = ExecutionEngine(
        provider=provider,
        idempotency_tracker=tracker,
    )

    # Requests with same idempotency key return cached result
    result = await engine.complete(
        spec,
        idempotency_key="unique-request-123",
    )

    assert await engine.complete(spec, idempotency_key="unique-request-123") == result


def test_the_documented_request_context() -> None:
    ctx = RequestContext(
        request_id="req-123",
        trace_id="trace-456",
        tenant_id="tenant-789",
        user_id="user-abc",
        session_id="session-def",
        job_id="job-ghi",
    )

    # Create child context for nested operations
    child_ctx = ctx.child()

    # Add job correlation
    job_ctx = ctx.with_job("job-xyz")

    assert (child_ctx.trace_id, child_ctx.parent_span_id) == ("trace-456", ctx.span_id)
    assert (job_ctx.job_id, job_ctx.session_id) == ("job-xyz", "session-def")


async def test_the_documented_agent() -> None:
    engine = ExecutionEngine(provider=ScriptedProvider(["Hello to you."]))
    request_context = RequestContext(tenant_id="tenant-789")

    agent = Agent(
        engine=engine,
        tools=[lookup],
        use_middleware=True,  # Enable default middleware chain
    )

    # Run with context
    result = await agent.run(
        "Hello!",
        context=request_context,
    )

    assert result.content == "Hello to you."


def test_the_documented_provider_needs_no_key_to_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    provider = OpenAIProvider(model="gpt-4")
    engine = ExecutionEngine(provider=provider)
    agent = Agent(engine=engine, use_middleware=True)

    assert agent.engine.provider is provider


async def test_an_agent_searches_at_its_vendor_beside_its_own_tools_and_says_what_its_answer_rests_on() -> (
    None
):
    searched = [anthropic_answers.SEARCH, anthropic_answers.FOUND, anthropic_answers.CITED]
    wants = [*searched, anthropic_answers.use("t1", "lookup", order_id="17")]
    first = anthropic_answers.streamed(wants, "tool_use")
    last = anthropic_answers.streamed(
        [anthropic_answers.text("It was sent. "), anthropic_answers.CITED], "end_turn"
    )
    async with LoopbackServer(sse_reply(*named_events(first)), sse_reply(*named_events(last))) as server:
        provider = AnthropicProvider("claude-sonnet-4-6", api_key=KEY, base_url=server.url)
        async with Agent(provider=provider, tools=[lookup], server_tools=[WebSearch(max_uses=2)]) as agent:
            events = [event async for event in agent.stream("Where is Köln, and order 17?")]

    result = events[-1].result
    assert result.status == "success"
    (citation,) = result.answer.citations
    assert result.content[citation.start : citation.end] == "Köln lies on the Rhine."
    assert (citation.url, citation.quote) == ("https://k.example", "Rhine")
    told, sent = (request.json for request in server.requests)
    assert [entry["name"] for entry in told["tools"]] == ["lookup", "web_search"]
    assert sent["messages"][1] == {"role": "assistant", "content": wants}
