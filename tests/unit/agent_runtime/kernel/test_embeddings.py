"""Embeddings inside a job: recorded, recalled, bounded and billed like any other request to a model."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from agent_runtime import (
    Budget,
    BudgetExceededError,
    BudgetSpec,
    ConstraintPolicy,
    ExecutionRequest,
    JobFailed,
    ModelPolicy,
    OperatorContext,
    PolicyDenied,
    PolicyEngine,
)
from agent_runtime.errors import ContentTooLarge
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, Moment, bury, commit_of
from llm_client import Embeddings, ExecutionEngine, FunctionProvider
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import ModelPrices
from llm_client.usage import Usage
from support.kernels import BOUND, DOOMED, journal, kernel, pending, run_key, types, until
from support.operators import asking

pytestmark = pytest.mark.timeout(BOUND * 3)

TEXTS = ["red", "blue", "red"]
PRICES = PriceBook(
    {"function:vectors": ModelPrices.of(input=1_000_000), "function:chat": ModelPrices.of(input=0, output=0)}
)
"""A dollar per token that is embedded."""


class Vectors(FunctionProvider):
    """Answers with vectors of one size, ten tokens for every text, and remembers the texts."""

    embedding_model = "vectors"  # type: ignore[assignment]  # as good as a property

    def __init__(self, size: int = 3) -> None:
        super().__init__(lambda spec: "an answer", model="chat")
        self.texts: list[list[str]] = []
        self._size = size

    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> Embeddings:
        self.texts.append(list(texts))
        usage = Usage(input_tokens=10 * len(texts), requests=1)
        return Embeddings(([0.1 * len(text)] * self._size for text in texts), model="vectors", usage=usage)


def engine(provider: Vectors) -> ExecutionEngine:
    return ExecutionEngine(provider, prices=PRICES)


def embedding(of: ExecutionEngine, texts: Sequence[str] = TEXTS) -> Any:
    async def embed(context: OperatorContext, given: object) -> list[list[float]]:
        vectors = await of.embed(texts)
        return await context.step(as_lists, vectors, effect="read")

    return embed


def as_lists(vectors: Embeddings) -> list[list[float]]:
    return [list(vector) for vector in vectors]


async def test_vectors_are_recorded_billed_and_counted_but_are_no_turn() -> None:
    provider = Vectors()
    asked = engine(provider)
    async with kernel(engine=asked, operators=[embedding(asked)]) as k:
        budgets = BudgetSpec(max_cost=1000, max_turns=1)
        handle = await k.execute(ExecutionRequest(operator="embed", budgets=budgets))
        result = await handle.result(timeout=BOUND)
        entries = await k.ledger.entries(job_id=handle.job_id)
        (counters,) = await k.storage.counters([run_key(handle.job_id)])
        started, completed = [event for event in await journal(handle) if event.type.startswith("model.")]
    assert result.output == [list(vector) for vector in await engine(Vectors()).embed(TEXTS)]
    (entry,) = entries
    assert (entry.type, entry.model, entry.total_tokens) == ("embedding_usage", "vectors", 30)
    assert counters.settled.to_dict() == {"tokens": 30, "cost": 30 * 10**10, "requests": 1}
    assert counters.reserved.to_dict() == {}
    assert (started.data["name"], completed.data["name"]) == ("embedding", "embedding")
    assert [message["content"] for message in started.body()["messages"]] == TEXTS


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_vectors_that_are_on_record_are_not_asked_for_again(moment: Moment) -> None:
    provider, storage = Vectors(), MemoryStorage()
    asked = engine(provider)
    dying = DyingStorage(storage, commit_of("step.completed"), moment=moment)
    doomed = kernel(dying, engine=asked, operators=[embedding(asked)], options=DOOMED)
    handle = await doomed.execute(ExecutionRequest(operator="embed"))
    await dying.died.wait()
    await bury(doomed, dying, storage)
    async with kernel(storage, engine=asked, operators=[embedding(asked)]) as k:
        output = (await k.handle(handle.job_id).result(timeout=BOUND)).output
        assert len(await k.ledger.entries(job_id=handle.job_id)) == 1
    assert output == [list(vector) for vector in await engine(Vectors()).embed(TEXTS)]
    assert provider.texts == [TEXTS]


async def test_a_hard_budget_refuses_what_it_cannot_pay() -> None:
    provider = Vectors()
    asked = engine(provider)
    async with kernel(engine=asked, operators=[embedding(asked)]) as k:
        k.ledger.set_budget(Budget(scope_id="default", max_cost_daily=Decimal(20)))
        with pytest.raises(BudgetExceededError):
            await (await k.execute(ExecutionRequest(operator="embed"))).result(timeout=BOUND)
    assert provider.texts == []


async def test_a_policy_rules_on_the_model_that_embeds() -> None:
    provider = Vectors()
    asked = engine(provider)
    policy = PolicyEngine()
    policy.add_rule(ModelPolicy(model_patterns=["vectors"], decision="deny"))
    async with kernel(engine=asked, operators=[embedding(asked)], policy_engine=policy) as k:
        with pytest.raises(PolicyDenied, match="vectors"):
            await (await k.execute(ExecutionRequest(operator="embed"))).result(timeout=BOUND)
    assert provider.texts == []


@pytest.mark.parametrize(
    ("rule", "embedded"),
    [
        (ConstraintPolicy(max_spend=60), 2),
        (ConstraintPolicy(max_turns=2), 2),
        (ConstraintPolicy(max_context_tokens=100), 3),
    ],
    ids=["spend", "turns", "size"],
)
async def test_each_call_is_ruled_on_and_not_the_first_alone(rule: ConstraintPolicy, embedded: int) -> None:
    provider = Vectors()
    own = engine(provider)

    async def embed(context: OperatorContext, given: object) -> None:
        for texts in (TEXTS, TEXTS, TEXTS, ["x" * 4_000]):
            await own.embed(texts)

    async with kernel(engine=own, operators=[embed], policy_engine=PolicyEngine([rule])) as k:
        with pytest.raises(PolicyDenied):
            await (await k.execute(ExecutionRequest(operator="embed"))).result(timeout=BOUND)
    assert len(provider.texts) == embedded


async def test_a_yes_to_one_call_is_none_to_the_next() -> None:
    provider = Vectors()
    own = engine(provider)

    async def embed(context: OperatorContext, given: object) -> None:
        await own.embed(TEXTS)
        await own.embed(TEXTS)

    asking_first = PolicyEngine([ModelPolicy(model_patterns="vectors", require_approval=True)])
    async with kernel(engine=own, operators=[embed], policy_engine=asking_first) as k:
        handle = await k.execute(ExecutionRequest(operator="embed"))
        first = await pending(handle)
        await handle.resolve_action(first.action_id, {"approved": True})

        async def second() -> Any:
            asked = await handle.get_pending_actions()
            return next((one for one in asked if one.action_id != first.action_id), None)

        question = await until(second)
        assert len(provider.texts) == 1
        await handle.resolve_action(question.action_id, {"approved": True})
        await handle.result(timeout=BOUND)
    assert len(provider.texts) == 2


async def test_a_conversation_goes_on_as_if_nothing_had_been_embedded() -> None:
    provider = Vectors()
    asked = engine(provider)
    question = asking("the first")

    async def operator(context: OperatorContext, given: object) -> None:
        await context.model(question)
        await asked.embed(TEXTS)
        await context.model(question.evolve(messages=[*question.messages, *asking("the second").messages]))

    async with kernel(engine=asked, operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await handle.result(timeout=BOUND)
        started = [event for event in await journal(handle) if event.type == "model.started"]
    assert [event.data["shared_messages"] for event in started] == [0, 0, 1]


async def test_more_vectors_than_an_entry_holds_are_billed_once_and_refused() -> None:
    provider = Vectors(size=1_000_000)
    asked = engine(provider)
    texts = ["text"] * 7
    async with kernel(engine=asked, operators=[embedding(asked, texts)]) as k:
        handle = await k.execute(ExecutionRequest(operator="embed"))
        with pytest.raises(JobFailed, match="bytes of content") as failed:
            await handle.result(timeout=BOUND)
        (entry,) = await k.ledger.entries(job_id=handle.job_id)
        assert [name for name in await types(handle) if name.startswith("model.")] == [
            "model.started",
            "model.attempt_failed",
            "model.failed",
        ]
    assert failed.value.error_code == ContentTooLarge.code
    assert (entry.input_tokens, entry.uncertain, entry.cost) == (70, False, 70)
    assert provider.texts == [texts]
