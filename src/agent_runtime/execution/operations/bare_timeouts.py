"""Bounds on time that nothing records, `asyncio.timeout` and `asyncio.wait_for`, around a wait of a job.

Such a bound dies with the memory of its process: the job that waits leaves it, and whoever goes on begins to count anew. So a
job does not leave while there is one; its code is told of `context.timeout` instead. Python keeps no list of these
bounds, but the frames of a task that stands still hold what they will leave.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable, Iterator
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.operators.context import call
from llm_client.tools.execution import execute

if TYPE_CHECKING:
    from agent_runtime.execution.branch import Branch

_EFFECTS: Final = frozenset({call.__code__, execute.__code__})
"""Whatever stands below these belongs to a step or a tool, whose end is recorded as a whole."""
_WAIT_FOR: Final = asyncio.wait_for.__code__


def has_bare_timeout(leaves: Iterable[Branch]) -> bool:
    """Whether a bound that nothing records is around what one of these branches waits for; their tasks must be standing still."""
    tasks = {
        branch.task
        for leaf in leaves
        for branch in leaf.upwards()
        if branch.task is not None and branch.wait_set is None  # a member of a set runs nobody's code
    }
    return any(_is_bound(coroutine) for task in tasks for coroutine in _awaited(task))


def _awaited(task: asyncio.Task[Any]) -> Iterator[Any]:
    """Yield the coroutines that a task is in, from the outermost to the first function of a tool or a step."""
    coroutine: Any = task.get_coro()
    while coroutine is not None and getattr(coroutine, "cr_code", None) not in _EFFECTS:
        yield coroutine
        coroutine = getattr(coroutine, "cr_await", None)


def _is_bound(coroutine: Any) -> bool:
    frame = getattr(coroutine, "cr_frame", None)
    if frame is not None and frame.f_code is _WAIT_FOR and frame.f_locals.get("timeout") is not None:
        return True
    return any(
        isinstance(held, MethodType)
        and held.__name__ == "__aexit__"
        and isinstance(held.__self__, asyncio.Timeout)
        and held.__self__.when() is not None
        for held in gc.get_referents(coroutine)
    )
