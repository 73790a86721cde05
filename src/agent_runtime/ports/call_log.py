"""Where model calls are written down, one by one."""

from __future__ import annotations

from typing import Protocol

from agent_runtime.values.call_record import CallRecord


class CallLogSink(Protocol):
    """Takes records of model calls.

    A sink never fails whoever hands something over, and never holds him up: `record` takes a reference and returns. What it cannot
    keep or write it counts, and says so.

    One with a true attribute `wants_payloads` is given, in each record, what went over the wire (`CallRecord.exchange`).
    """

    def record(self, record: CallRecord) -> None:
        """Take a record; from any thread, at any time."""
        ...

    async def room(self) -> None:
        """Return when there is room for further records, or after a bounded wait."""
        ...

    def flush(self) -> None:
        """Return when everything that was handed over before is written, or has failed to be.

        Raises:
            ConfigurationError: The calling thread runs an event loop; use `await flush_async()` there.
        """
        ...

    async def flush_async(self) -> None:
        """Return when everything that was handed over before is written, or has failed to be."""
        ...
