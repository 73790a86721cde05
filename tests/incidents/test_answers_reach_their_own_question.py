"""langgraph #8579 and #6533: one answer resolved two approvals; the answers of parallel questions were swapped.

Here every answer names its question, and reaches that one only: whoever answers in whatever order, by id or by token, and
whether the job is in memory or comes back for each answer.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import (
    ActionAlreadyResolved,
    ActionManager,
    ActionSpec,
    ExecutionHandle,
    ExecutionRequest,
    OperatorContext,
)
from agent_runtime.operators.operator import Operator
from agent_runtime.ports.storage import Storage
from llm_client import Agent, ScriptedProvider, tool
from llm_client.messages import ToolCall
from support.kernels import BOUND, kernel, opened, status_becomes, until

pytestmark = pytest.mark.timeout(BOUND * 3)
PEOPLE = ("ann", "bob", "eve", "kim", "lee")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


@pytest.fixture
async def storage(place: str, tmp_path: Path) -> AsyncIterator[Storage]:
    async with opened(place, tmp_path) as storage:
        yield storage


class Asking(Operator):
    """An operator of a name, made of a function."""

    def __init__(self, function: Callable[[OperatorContext], Awaitable[Any]]) -> None:
        super().__init__()
        self._function = function

    @property
    def name(self) -> str:
        return "run"

    async def execute(self, input_data: Any, context: OperatorContext) -> Any:
        return await self._function(context)


async def all_asked(handle: ExecutionHandle) -> dict[str, str]:
    """Wait until everybody is asked; return the action of each."""

    async def asked() -> dict[str, str]:
        found = {one.payload["who"]: one.action_id for one in await handle.get_pending_actions()}
        return found if len(found) == len(PEOPLE) else {}

    return dict(await until(asked))


@pytest.mark.parametrize("order", [PEOPLE, PEOPLE[::-1]])
@pytest.mark.parametrize("resident", [True, False])
async def test_answers_of_parallel_questions_reach_their_own(
    storage: Storage, order: tuple[str, ...], resident: bool
) -> None:
    async def ask(context: OperatorContext, who: str) -> str:
        answered = await context.action(ActionSpec(type="input", payload={"who": who}, approvers=[who]))
        return f"{who}: {(answered.resolution or {})['value']}"

    async def run(context: OperatorContext) -> list[str]:
        return await context.gather(*(ask(context, who) for who in PEOPLE))

    async with kernel(storage, operators=[Asking(run)]) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))
        asked = await all_asked(handle)
        for who in order:
            if not resident:
                await status_becomes(handle, "waiting_action")
            await handle.resolve_action(asked[who], {"value": f"for {who}"}, resolved_by=who)
        assert (await handle.result(timeout=BOUND)).output == [f"{who}: for {who}" for who in PEOPLE]


async def test_one_yes_approves_one_of_two_equal_calls(storage: Storage) -> None:
    """Two calls of one tool with the same arguments in one answer of the model: two questions, two answers."""
    paid: list[int] = []

    @tool(requires_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return "paid"

    def agent() -> Agent:
        both = [ToolCall("1", "pay", {"amount": 10}), ToolCall("2", "pay", {"amount": 10})]
        return Agent(provider=ScriptedProvider([both, "done"]), tools=[pay])

    async with kernel(storage, agent=agent()) as k:
        handle = await k.execute(ExecutionRequest(prompt="pay twice"))

        async def two() -> Any:
            found = await handle.get_pending_actions()
            return found if len(found) == 2 else None

        first, second = await until(two)
        await handle.resolve_action(first.action_id, {"approved": True}, resolved_by="ann")
        await handle.resolve_action(second.action_id, {"approved": False}, resolved_by="ann")
        with pytest.raises(ActionAlreadyResolved):
            await handle.resolve_action(first.action_id, {"approved": True}, resolved_by="bob")
        assert (await handle.result(timeout=BOUND)).content == "done"
    assert paid == [10]


async def test_a_token_of_one_question_answers_no_other(storage: Storage) -> None:
    tokens: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def run(context: OperatorContext) -> list[str]:
        asked = [
            await managers[0].require_action(ActionSpec(type="input", payload={"who": who})) for who in PEOPLE
        ]
        await tokens.put({one.payload["who"]: one.resume_token or "" for one in asked})
        answers = [await managers[0].wait_for_resolution(one.action_id) for one in asked]
        return [(one.resolution or {})["value"] for one in answers]

    managers: list[ActionManager] = []
    async with kernel(storage, operators=[Asking(run)]) as k:
        managers.append(k.actions)
        handle = await k.execute(ExecutionRequest(operator="run"))
        drawn = await asyncio.wait_for(tokens.get(), BOUND)
        for who in reversed(PEOPLE):
            await k.actions.resolve(drawn[who], {"value": who})
        assert (await handle.result(timeout=BOUND)).output == list(PEOPLE)
