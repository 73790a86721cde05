"""What the world says while a job runs, and may say otherwise when it goes on: read once, recalled from then on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from agent_runtime.errors import StepFailed
from agent_runtime.operators.context import current_context
from llm_client.errors import ToolError


async def recorded_reading(name: str, ask: Callable[[], Awaitable[object]]) -> object:
    """Return what is on record of a reading at this place, or read and record it: a step of the effect class `read`.

    A list of tools that changes between two starts of a job would let the model's recorded answers call tools that are gone, and the
    job ask for what it has been answered. A failure is on record as well.

    Args:
        name: Of the step.
        ask: Reads; gives JSON values.

    Raises:
        ToolError: It has failed, now or when it was asked first.
    """
    try:
        return await current_context().step(ask, name=name, effect="read")
    except StepFailed as failed:
        raise ToolError(str(failed).removeprefix(f"{failed.error_type}: ")) from failed
