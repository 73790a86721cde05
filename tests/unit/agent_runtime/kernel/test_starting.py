"""A start that fails leaves nothing behind, and the next one begins anew."""

import asyncio
from typing import Any

import pytest

from agent_runtime import ExecutionRequest, OperatorContext
from agent_runtime.errors import StorageError
from agent_runtime.storage.memory import MemoryStorage
from support.kernels import BOUND, kernel
from support.operators import identity

pytestmark = pytest.mark.timeout(BOUND * 3)


class Unreachable(MemoryStorage):
    """Fails when it is asked one thing, until it is back."""

    def __init__(self, asked: str) -> None:
        super().__init__()
        self.is_back = False
        inner = getattr(self, asked)

        async def answer(*args: Any, **options: Any) -> Any:
            if not self.is_back:
                raise StorageError("the server is away")
            return await inner(*args, **options)

        setattr(self, asked, answer)


async def operator(context: OperatorContext, given: str) -> str:
    return str(await context.step(identity, given, effect="read"))


@pytest.mark.parametrize("asked", ["open", "register_worker", "blocked_jobs", "due_jobs"])
async def test_a_start_that_fails_leaves_no_task_and_can_be_repeated(asked: str) -> None:
    storage = Unreachable(asked)
    k = kernel(storage, operators=[operator])
    before = asyncio.all_tasks()
    for _ in range(2):
        with pytest.raises(StorageError, match="the server is away"):
            await k.start()
        assert asyncio.all_tasks() == before
    storage.is_back = True
    async with k:
        handle = await k.execute(ExecutionRequest(operator="operator", input="done"))
        assert (await handle.result(timeout=BOUND)).output == "done"
