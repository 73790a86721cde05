"""What children gave, read where it is kept: a parent's journal only names the job whose last entry has it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from agent_runtime.errors import NondeterminismError
from agent_runtime.values.event import RuntimeEvent
from llm_client.background import in_background

if TYPE_CHECKING:
    from agent_runtime.execution.job_run import JobRun

AT_ONCE: Final = 200
"""Results that are asked for together."""


class ChildResults:
    """Reads each result once in a run, when the code asks for it; those that are asked for together in one query.

    Args:
        run: The parent's.
    """

    def __init__(self, run: JobRun) -> None:
        self._run = run
        self._ends: dict[str, asyncio.Future[RuntimeEvent | None]] = {}
        """The last entries of children, by job."""
        self._wanted: list[str] = []

    async def end_of(self, job_id: str) -> RuntimeEvent:
        """Return the terminal event of a child that has ended.

        Raises:
            NondeterminismError: It is not there any more; the job is set aside.
        """
        end = self._ends.get(job_id)
        if end is None:
            loop = asyncio.get_running_loop()
            end = self._ends[job_id] = loop.create_future()
            if not self._wanted:
                loop.call_soon(self._read_wanted)
            self._wanted.append(job_id)
        event = await asyncio.shield(end)
        if event is None or event.content is None:
            raise self._run.lifecycle.refuse(
                NondeterminismError(
                    f"the result of child job {job_id!r}, which this job goes on with, was deleted"
                )
            )
        return event

    def _read_wanted(self) -> None:
        wanted, self._wanted = self._wanted, []
        for first in range(0, len(wanted), AT_ONCE):
            in_background(self._read(wanted[first : first + AT_ONCE]), name="results of children")

    async def _read(self, job_ids: list[str]) -> None:
        run = self._run
        try:
            found = await run.journal.retry(lambda: run.services.storage.last_events(job_ids))
        except BaseException as error:  # noqa: BLE001 -- whoever waits for them learns how the run ends
            for job_id in job_ids:
                end = self._ends.pop(job_id)
                if isinstance(error, asyncio.CancelledError):
                    end.cancel()
                else:
                    end.set_exception(error)
                    end.exception()  # perhaps nobody waits any more
            return
        events = {event.job_id: event for event in found}
        for job_id in job_ids:
            self._ends[job_id].set_result(events.get(job_id))
