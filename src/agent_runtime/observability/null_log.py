"""A log of model calls that is switched off."""

from __future__ import annotations

from agent_runtime.values.call_record import CallRecord


class NullLLMCallLogger:
    """Takes records of model calls, and keeps none."""

    def record(self, record: CallRecord) -> None:
        """Take a record."""

    async def room(self) -> None:
        """Return at once."""

    def flush(self) -> None:
        """Return at once."""

    async def flush_async(self) -> None:
        """Return at once."""
