"""Nothing that a stranger writes makes room in a budget or a rate: neither numbers that no request has, nor what hides its size."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from agent_runtime import (
    Budget,
    BudgetExceededError,
    BudgetSpec,
    ExecutionRequest,
    InvalidInput,
    JobFailed,
    OperatorContext,
    RetryPolicy,
)
from agent_runtime.operators.operator import MAX_PIECES
from llm_client import (
    Agent,
    CompletionResult,
    ExecutionEngine,
    FunctionProvider,
    Message,
    OpenAIProvider,
    RateLimits,
    RequestSpec,
    RetryConfig,
    ScriptedProvider,
)
from llm_client.errors import ConfigurationError, InvalidRequest, OutputInvalid, ProviderTimeout, RunAborted
from llm_client.messages import StreamEvent
from llm_client.middleware import ModelAttempt, ModelMiddleware, ProceedAttempt
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import ModelPrices
from llm_client.providers.anthropic.request import MessagesFormat
from llm_client.usage import Usage
from support.kernels import BOUND, kernel
from support.loopback import LoopbackServer, Reply, sse_reply

pytestmark = pytest.mark.timeout(BOUND * 3)

PRICES = PriceBook({"function:m": ModelPrices.of(input=1000, output=1000)})
ONCE = RetryPolicy(max_attempts=1)
NO_BOUNDS = [-1, -(10**9), 0.5, float("nan"), True, "100"]


async def lost(_: RequestSpec) -> Any:
    """Give an answer that nobody sees, so that everything counts that was set aside."""
    raise ProviderTimeout("lost")


async def ask(context: OperatorContext, given: Any) -> str:
    """Ask with a bound that somebody else has chosen."""
    return (await context.model(RequestSpec(messages=[Message.user("hi")], **given))).content


@pytest.mark.parametrize("bound", NO_BOUNDS)
def test_a_bound_that_is_no_number_of_tokens_is_refused(bound: Any) -> None:
    with pytest.raises(InvalidRequest, match="max_tokens"):
        RequestSpec(messages=(), max_tokens=bound)


@pytest.mark.parametrize("mode", ["hard", "estimate"])
@pytest.mark.parametrize(
    "given",
    [{"max_tokens": -(10**6)}, {"width": -(10**9), "height": 1}, {"width": -(10**5), "height": 10**5}],
)
async def test_less_than_nothing_is_never_set_aside(mode: Any, given: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"operator": "ask", "input": given}
    if "width" in given:
        image = {"type": "media", "media_type": "image/png", "url": "https://x/y.png", **given}
        asked = {"operator": "agent", "input": {"messages": [{"role": "user", "content": [image]}]}}
    engine = ExecutionEngine(FunctionProvider(lost, model="m"), prices=PRICES, retry=RetryConfig(attempts=1))
    budget = Budget(scope_id="a", max_cost_total=Decimal(10), max_tokens_total=10_000, mode=mode)
    async with kernel(engine=engine, operators={"ask": ask}) as k:
        k.ledger.set_budget(budget)
        request = ExecutionRequest(scope_id="a", budgets=BudgetSpec(max_cost=10), retry=ONCE, **asked)
        with pytest.raises((JobFailed, BudgetExceededError)):
            await (await k.execute(request)).result()

        lines = (await k.ledger.status(budget)).lines
        assert [line.settled >= 0 and line.reserved == 0 for line in lines] == [True, True]
        assert all(entry.total_tokens >= 0 for entry in await k.ledger.entries())


async def test_a_request_of_any_length_keeps_nobody_else_waiting_for_ever() -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def answer(spec: RequestSpec) -> CompletionResult:
        if spec.max_tokens == 10**9:
            begun.set()
            await gate.wait()
        return CompletionResult(content="ok", usage=Usage(input_tokens=5, output_tokens=5, requests=1))

    engine = ExecutionEngine(
        FunctionProvider(answer, model="m"), rate_limits=RateLimits(tokens_per_minute=100_000)
    )

    async def complete(most: int) -> str:
        return (await engine.complete(RequestSpec(messages=[Message.user("hi")], max_tokens=most))).content

    endless = asyncio.create_task(complete(10**9))
    await begun.wait()
    other = asyncio.create_task(complete(100))
    await asyncio.sleep(0)
    gate.set()

    assert (await endless, await other) == ("ok", "ok")


def test_a_bound_of_nothing_is_sent_as_it_is() -> None:
    spec = RequestSpec(messages=[Message.user("hi")], max_tokens=0)

    assert MessagesFormat().encode(spec, "claude-x", stream=False)["max_tokens"] == 0


@pytest.mark.parametrize(
    "pattern", ["gemini-2.5-pro", "gemini-*", "models/gemini-2.5-pro", "google:gemini-2.5-*"]
)
@pytest.mark.parametrize(
    "name",
    [
        "gemini-2.5-pro",
        "models/gemini-2.5-pro",
        "google/gemini-2.5-pro",
        "Gemini-2.5-PRO",
        "tunedModels/gemini-2.5-pro",
    ],
)
async def test_a_model_is_counted_however_its_name_is_written(pattern: str, name: str) -> None:
    asked: list[RequestSpec] = []

    async def answer(spec: RequestSpec) -> str:
        asked.append(spec)
        return "ok"

    engine = ExecutionEngine(FunctionProvider(answer, name="google", model="other"))
    async with kernel(engine=engine, operators={"ask": ask}) as k:
        k.ledger.set_budget(Budget(model=pattern, max_requests_total=0))
        refused = await k.execute(ExecutionRequest(operator="ask", input={"model": name}))
        with pytest.raises(BudgetExceededError):
            await refused.result(timeout=BOUND)
        other = await k.execute(ExecutionRequest(operator="ask", input={"model": "gpt-5.2"}))
        assert (await other.result(timeout=BOUND)).content == "ok"
    assert len(asked) == 1


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "x"}] * (MAX_PIECES + 1),
        [{"role": "assistant", "tool_calls": [{"id": "a", "name": "b", "arguments": {}}] * MAX_PIECES}],
        [{"role": "user", "content": [{"type": "text", "text": "x"}] * MAX_PIECES}],
    ],
    ids=["messages", "calls", "parts"],
)
async def test_no_conversation_of_countless_pieces_is_begun(messages: list[dict[str, Any]]) -> None:
    """Each piece is looked at some dozen times: a hundred thousand hold everybody else up for seconds."""
    agent = Agent(provider=ScriptedProvider(["done"]))
    async with kernel(agent=agent) as k:
        handle = await k.execute(ExecutionRequest(input={"messages": messages}))
        with pytest.raises(JobFailed, match="10,000 pieces"):
            await handle.result(timeout=BOUND)
        allowed = [{"role": "user", "content": "x"}] * 500
        assert (
            await (await k.execute(ExecutionRequest(input={"messages": allowed}))).result()
        ).content == "done"


@pytest.mark.parametrize(
    "given",
    [
        "a text",
        ["a text"],
        {"messages": 5},
        {"messages": {"role": "user"}},
        {"messages": [5]},
        {"messages": [{}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user", "content": [5]}]},
        {"messages": [{"role": "assistant", "tool_calls": [5]}]},
        {"messages": [{"role": "root", "content": "x"}]},
        {"messages": [{"role": ["user"], "content": "x"}]},
        {"messages": [{"role": "user", "content": "x", "name": 5}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": None}]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "x", "provider": "anthropic", "data": 5}],
                }
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "media", "media_type": 5, "url": 5}]}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "media", "media_type": "text/plain", "data": 5}]}
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "reasoning", "provider": 5, "data": {}}]}]},
        {"messages": [{"role": "tool", "content": "x", "tool_call_id": 5}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": 5, "name": "t", "arguments": {}}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "name": "t", "arguments": [1]}]}]},
    ],
)
async def test_what_is_no_conversation_is_refused_as_input(given: Any) -> None:
    async with kernel(agent=Agent(provider=ScriptedProvider([]))) as k:
        handle = await k.execute(ExecutionRequest(input=given))
        with pytest.raises(JobFailed) as failed:
            await handle.result(timeout=BOUND)
    assert failed.value.error_code == InvalidInput.code


async def test_what_is_no_message_is_refused_where_a_job_is_asked_for() -> None:
    nobodys: Any = [5]
    async with kernel(agent=Agent(provider=ScriptedProvider([]))) as k:
        with pytest.raises(InvalidInput, match="Message"):
            await k.execute(ExecutionRequest(messages=nobodys))


@pytest.mark.parametrize("mode", ["hard", "estimate"])
async def test_an_answer_that_says_nothing_of_its_use_counts_at_the_most_it_can_have_been(mode: Any) -> None:
    """It counted so in dollars and not in tokens: of a server that states no usage, any number of answers passed a ceiling."""
    asked: list[RequestSpec] = []

    def answer(spec: RequestSpec) -> CompletionResult:
        asked.append(spec)
        return CompletionResult(content="hello " * 400, usage=Usage(requests=1))

    async def spender(context: OperatorContext, given: Any) -> None:
        for number in range(20):
            await context.model(RequestSpec(messages=[Message.user(str(number))], max_tokens=500))

    engine = ExecutionEngine(FunctionProvider(answer, "m"), prices=PRICES)
    async with kernel(engine=engine, operators={"spender": spender}) as k:
        budgets = BudgetSpec(max_tokens=2_000, mode=mode)
        with pytest.raises(BudgetExceededError, match="tokens are left"):
            await (await k.execute(ExecutionRequest(operator="spender", budgets=budgets))).result(
                timeout=BOUND
            )
    assert 2 <= len(asked) <= 4


@pytest.mark.parametrize("cut", [("close",), ("reset",), (b"HTTP/1.1 200 OK\r\n", "close")], ids=str)
async def test_an_answer_whose_connection_is_lost_counts_at_the_most_it_can_have_been(cut: Any) -> None:
    """The vendor has the request, writes an answer and bills it: it counted as nothing, and was asked for again."""
    async with LoopbackServer(*(Reply(pieces=cut, head=False) for _ in range(9))) as vendor:
        provider = OpenAIProvider("m", base_url=f"{vendor.url}/v1", key_required=False, name="compatible")
        prices = PriceBook({"compatible:m": ModelPrices.of(input=10_000, output=10_000)})
        engine = ExecutionEngine(provider, prices=prices, retry=RetryConfig(attempts=9, backoff=0, jitter=0))

        async def ask(context: OperatorContext, given: Any) -> None:
            await context.model(RequestSpec(messages=[Message.user("?")], max_tokens=100))

        async with kernel(engine=engine, operators={"ask": ask}, retry=RetryPolicy.none()) as k:
            budgets = BudgetSpec(max_cost=5, mode="hard")
            with pytest.raises(BudgetExceededError):
                await (await k.execute(ExecutionRequest(operator="ask", budgets=budgets))).result(
                    timeout=BOUND
                )
            entries = await k.ledger.entries()
        assert len(vendor.requests) == len(entries) == 2
        assert all(entry.uncertain and entry.cost for entry in entries)
        await engine.aclose()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_answer_that_ends_in_an_error_counts_at_the_most_it_can_have_been(status: int) -> None:
    """What has come is paid for, whatever status the vendor names afterwards; an error that nothing came before costs nothing."""
    piece = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": "hello"}}]}
    failure = {"error": {"message": "no more", "code": status}}
    said, failed = (f"data: {json.dumps(one)}\n\n" for one in (piece, failure))
    async with LoopbackServer(sse_reply(said, failed), sse_reply(failed)) as vendor:
        provider = OpenAIProvider("m", base_url=f"{vendor.url}/v1", key_required=False, name="compatible")
        prices = PriceBook({"compatible:m": ModelPrices.of(input=10_000, output=10_000)})
        engine = ExecutionEngine(provider, prices=prices, retry=RetryConfig(attempts=1))

        async def read(context: OperatorContext, given: Any) -> None:
            async for _ in engine.stream(RequestSpec(messages=[Message.user("?")], max_tokens=100)):
                pass

        async with kernel(engine=engine, operators={"read": read}, retry=RetryPolicy.none()) as k:
            for _ in range(2):
                with pytest.raises(JobFailed, match="no more"):
                    await (await k.execute(ExecutionRequest(operator="read"))).result(timeout=BOUND)
            first, second = await k.ledger.entries()
        assert first.uncertain
        assert first.cost
        assert (second.uncertain, second.cost) == (False, 0)
        await engine.aclose()


class Refusing(ModelMiddleware):
    """Asks, and wants nothing of the answer."""

    def __init__(self, refusal: Exception) -> None:
        self._refusal = refusal

    async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
        await proceed(attempt)
        raise self._refusal


class Doubtful(ModelMiddleware):
    """Asks twice, to be sure."""

    async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
        await proceed(attempt)
        return await proceed(attempt)


SCRIPTED = PriceBook({"scripted:scripted": ModelPrices.of(input=1000, output=1000)})


async def refused(engine: ExecutionEngine, error: type[Exception], **how: Any) -> Any:
    """Ask once in a job, have the answer refused, and return the line in the ledger."""

    async def asks(context: OperatorContext, given: Any) -> None:
        with pytest.raises(error):
            await engine.complete(RequestSpec(messages=[Message.user("?")], max_tokens=100), **how)

    async with kernel(engine=engine, operators={"asks": asks}, retry=ONCE) as k:
        budgets = BudgetSpec(max_cost=10, mode="hard")
        await (await k.execute(ExecutionRequest(operator="asks", budgets=budgets))).result(timeout=BOUND)
        (entry,) = await k.ledger.entries()
    return entry


@pytest.mark.parametrize(
    "refusal",
    [RunAborted("no"), OutputInvalid("no"), ConfigurationError("no"), InvalidRequest("no", status=400)],
    ids=lambda one: type(one).__name__,
)
async def test_an_answer_that_a_middleware_refuses_is_billed(refusal: Exception) -> None:
    """It counted as nothing, since what is no failure of the vendor's costs nothing: paid calls without end in a hard budget."""
    provider = ScriptedProvider(["hello"])
    engine = ExecutionEngine(provider, prices=SCRIPTED, middleware=[Refusing(refusal)])
    entry = await refused(engine, type(refusal))
    assert (entry.status, entry.uncertain, entry.output_tokens) == ("failed", False, 2)
    assert entry.cost == Decimal(entry.input_tokens + entry.output_tokens) / 1000


async def test_so_is_one_that_its_reader_refuses_while_it_comes() -> None:
    """Nobody knows what the vendor has written by then."""

    def read(event: StreamEvent) -> None:
        if event.type == "token":
            raise RunAborted("no")

    entry = await refused(
        ExecutionEngine(ScriptedProvider(["hello"]), prices=SCRIPTED), RunAborted, emit=read
    )
    assert entry.uncertain
    assert entry.output_tokens == 100


async def test_a_middleware_asks_once_for_what_was_set_aside_for_one() -> None:
    """The second answer was billed, and the first was nobody's."""
    provider = ScriptedProvider(["one", "two"])
    engine = ExecutionEngine(provider, prices=SCRIPTED, middleware=[Doubtful()])
    entry = await refused(engine, ConfigurationError)
    assert len(provider.requests) == 1
    assert entry.cost
