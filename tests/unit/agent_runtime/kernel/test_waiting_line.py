"""Calls that wait for what others have reserved: in line, first come first served, and at the price of one."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from agent_runtime import Budget, ExecutionContext, ExecutionHandle, ExecutionRequest, OperatorContext
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.values.budget import Counters
from llm_client import ExecutionEngine, FunctionProvider, Message, RequestSpec
from llm_client.messages import CompletionResult
from llm_client.usage import Usage
from support.kernels import BOUND, QUICK, kernel, until

pytestmark = pytest.mark.timeout(BOUND * 3)
PATIENT = replace(QUICK, reservation_wait=BOUND, max_concurrency=200)
CALL = 200
"""Tokens that a call reserves for its output."""
BUDGET = Budget(scope_id="default", max_tokens_total=10_000, mode="estimate")


class Counting:
    """A storage that counts how often counters are asked for."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def counters(self, keys: Sequence[tuple[str, str]]) -> Sequence[Counters]:
        self.asked += 1
        return await self._inner.counters(keys)


class Model:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.may_answer = asyncio.Semaphore(0)
        self.engine = ExecutionEngine(FunctionProvider(self._answer), max_concurrency=200)

    async def _answer(self, spec: RequestSpec) -> CompletionResult:
        self.order.append(str(spec.messages[0].content))
        await self.may_answer.acquire()
        return CompletionResult(content="ok", usage=Usage(requests=1, input_tokens=1))


async def ask(context: OperatorContext, name: str) -> str:
    return (await context.model(RequestSpec(messages=[Message.user(name)], max_tokens=CALL))).content


async def test_a_hundred_waiting_calls_ask_as_often_as_one_and_get_their_turn_in_order() -> None:
    storage, model = Counting(MemoryStorage()), Model()
    async with kernel(storage, engine=model.engine, operators=[ask], options=PATIENT) as k:
        k.ledger.set_budget(BUDGET)
        held = await k.ledger.reserve(ExecutionContext(), tokens=10_000 - CALL - 20)
        handles: list[ExecutionHandle] = []

        async def begin(name: str) -> None:
            handles.append(await k.execute(ExecutionRequest(operator="ask", input=name)))

        async def asked() -> bool:
            return bool(model.order)

        await begin("first")
        await until(asked)
        names = [f"w{number:03}" for number in range(100)]
        for number, name in enumerate(names, 1):
            await begin(name)

            async def waits(number: int = number) -> bool:
                return len(k.ledger.accounts.line) == number

            await until(waits)
        before, began = storage.asked, asyncio.get_running_loop().time()

        async def looked() -> bool:
            return storage.asked >= before + 6

        await until(looked)  # of others' releases there is no other sign
        assert (
            asyncio.get_running_loop().time() - began > 0.5
        )  # a hundred that look would take no time for this
        for _ in range(len(handles)):
            model.may_answer.release()
        for handle in handles:
            await handle.result(timeout=BOUND)
        await k.ledger.release(held)
        assert model.order == ["first", *names]
        assert len(k.ledger.accounts.line) == 0
        assert (await k.ledger.status(BUDGET)).reserved == 0


async def test_a_small_call_does_not_overtake_and_one_that_gives_up_makes_way() -> None:
    async def small(context: OperatorContext, name: str) -> str:
        return (await context.model(RequestSpec(messages=[Message.user(name)], max_tokens=10))).content

    model = Model()
    async with kernel(MemoryStorage(), engine=model.engine, operators=[ask, small], options=PATIENT) as k:
        k.ledger.set_budget(BUDGET)
        held = await k.ledger.reserve(
            ExecutionContext(), tokens=10_000 - 17
        )  # of 4 + 16 that it needs at least
        large = await k.execute(ExecutionRequest(operator="ask", input="large"))

        async def waiting(number: int) -> bool:
            return len(k.ledger.accounts.line) == number

        await until(lambda: waiting(1))
        little = await k.execute(ExecutionRequest(operator="small", input="small"))
        await until(lambda: waiting(2))
        assert model.order == []  # there is room for it, but it came later
        await large.cancel()
        model.may_answer.release()
        assert (await little.result(timeout=BOUND)).content == "ok"
        assert model.order == ["small"]
        await k.ledger.release(held)


async def test_a_raised_limit_lets_those_in_who_wait() -> None:
    model = Model()
    async with kernel(MemoryStorage(), engine=model.engine, operators=[ask], options=PATIENT) as k:
        k.ledger.set_budget(BUDGET)
        await k.ledger.reserve(ExecutionContext(), tokens=10_000)
        handle = await k.execute(ExecutionRequest(operator="ask", input="x"))

        async def waits() -> bool:
            return len(k.ledger.accounts.line) == 1

        await until(waits)
        k.ledger.set_budget(Budget(scope_id="default", max_tokens_total=20_000, mode="estimate"))
        model.may_answer.release()
        assert (await handle.result(timeout=BOUND)).content == "ok"


async def test_what_another_process_gives_back_is_found() -> None:
    storage, model = MemoryStorage(), Model()
    async with (
        kernel(storage, engine=model.engine, operators=[ask], options=PATIENT) as k,
        kernel(storage, worker=False) as other,
    ):
        for each in (k, other):
            each.ledger.set_budget(BUDGET)
        held = await other.ledger.reserve(ExecutionContext(), tokens=10_000)
        handle = await k.execute(ExecutionRequest(operator="ask", input="x"))

        async def waits() -> bool:
            return len(k.ledger.accounts.line) == 1

        await until(waits)
        await other.ledger.release(held)
        model.may_answer.release()
        assert (await handle.result(timeout=BOUND)).content == "ok"
