"""Running coroutines side by side, as one: the first that fails ends the others and is raised as itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from llm_client.exits import contained

T = TypeVar("T")


async def together(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results in order.

    Unlike a task group it raises what was raised, not a group of it: a run that is aborted or cancelled in one branch is
    aborted or cancelled as a whole. It returns only when every branch has ended.
    """
    tasks = [asyncio.create_task(contained(coroutine)) for coroutine in coroutines]  # noqa: TID251 -- all awaited below
    pending = set(tasks)
    failed: asyncio.Task[T] | None = None
    try:
        while pending and failed is None:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            failed = next((task for task in tasks if task in done and _has_failed(task)), None)
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if failed is not None:
        failed.result()
    return [task.result() for task in tasks]


def _has_failed(task: asyncio.Task[T]) -> bool:
    return task.cancelled() or task.exception() is not None
