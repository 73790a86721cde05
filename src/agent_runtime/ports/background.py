"""Ending tasks in the background."""

from __future__ import annotations

import asyncio
from typing import Any, Final

AGAIN_SECONDS: Final = 0.1


async def ended(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task and wait for its end, whatever it ends with.

    A driver may swallow a cancellation that arrives together with an answer, as `asyncio.wait_for` does before Python
    3.12; so it is repeated.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=AGAIN_SECONDS)
    if task is not None and not task.cancelled():
        task.exception()  # it has been logged, or nobody needs it
