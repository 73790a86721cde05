"""Names that an operator gives to what it does: those that no storage could hold are refused where they enter."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ActionSpec, ExecutionRequest, JobFailed, OperatorContext
from support.kernels import BOUND, kernel, opened, types

pytestmark = pytest.mark.timeout(BOUND)


BAD = {"surrogate": "\ud800", "zero": "a\x00b", "long": "x" * 600}


async def emits(context: OperatorContext, given: str) -> None:
    await context.emit(f"my.{BAD[given]}")


async def asks(context: OperatorContext, given: str) -> None:
    await context.action(ActionSpec(type="input"), key=BAD[given])


async def steps(context: OperatorContext, given: str) -> None:
    await context.step(asyncio.sleep, 0, effect="read", key=BAD[given])


async def is_patched(context: OperatorContext, given: str) -> None:
    context.patched(BAD[given])
    await context.emit("my.event")


Operator = Callable[[OperatorContext, Any], Awaitable[None]]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("bad", list(BAD))
@pytest.mark.parametrize("operator", [emits, asks, steps, is_patched])
async def test_a_name_that_cannot_be_stored_fails_its_job_and_writes_nothing_of_it(
    operator: Operator, bad: str, kind: str, tmp_path: Path
) -> None:
    async with (
        opened(kind, tmp_path) as storage,
        kernel(storage, operators={"named": operator}) as k,
    ):
        handle = await k.execute(ExecutionRequest(operator="named", input=bad))
        with pytest.raises(JobFailed) as failure:
            await handle.result(timeout=BOUND)
        assert failure.value.error_code == "INVALID_INPUT"
        assert await types(handle) == ["job.created", "job.started", "job.failed"]
