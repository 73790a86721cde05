"""Watching over the operator of one run, from its start until the run has ended, one way or another."""

from __future__ import annotations

import asyncio

from agent_runtime.errors import NondeterminismError, RunSuspended, SignalsPending, UnrecordedCancellation
from agent_runtime.execution.branch import Branch
from agent_runtime.execution.completion import Completion, end_of, finish
from agent_runtime.execution.leaving import block, release, suspend, wait_for_room
from agent_runtime.execution.lifecycle import RunState
from agent_runtime.execution.operations.bare_timeouts import has_bare_timeout
from agent_runtime.execution.retrying import block_or_retry
from agent_runtime.ports.commit import NewEvent
from agent_runtime.values.event import RuntimeEventType
from agent_runtime.values.job import JobStatus
from llm_client.logs import logger_of
from llm_client.public_text import text_of

logger = logger_of(__name__)


class Supervisor:
    """Decides when a run suspends, is released, cleans up or ends.

    Args:
        root: All the work of the run.
        task: Executes its operator.
    """

    def __init__(self, root: Branch, task: asyncio.Task[object]) -> None:
        self._root = root
        self._run = root.run
        self._task = task
        self._options = root.run.services.options
        self._gives_up_at: float | None = None
        """When effects in flight are cut off that keep a run from ending whose code does not fit its journal."""

    async def watch(self) -> None:
        """Return when the run is over."""
        run, task = self._run, self._task
        if run.is_asked_to_stop():
            run.lifecycle.advance(
                RunState.STOPPING
            )  # the operator, run again to clean up, meets it on its way
            await self._stop()
            return
        while True:
            await run.lifecycle.attention.wait()
            run.lifecycle.attention.clear()
            if run.lifecycle.lost is not None:
                return
            if task.done() and not run.is_asked_to_stop() and not run.signals.in_doubt:
                if await self._conclude():
                    return
                continue
            if run.signals.wanted:
                await run.signals.drain()
            if run.mail.wanted and run.lifecycle.lost is None:
                await run.mail.take()
            if run.is_asked_to_stop() or run.out_of_time:
                self._interrupt()
                await self._stop()
                return
            if run.lifecycle.control_error is not None:
                if self._has_come_to_rest():
                    await self._end_by_control_error()
                    return
                continue
            if await self._leave():
                return

    async def _conclude(self) -> bool:
        """Write how the operator ended; return whether the run is over, and not asked to stop before it goes on."""
        error = None if self._task.cancelled() else self._task.exception()
        if isinstance(error, NondeterminismError):  # also one that the operator's own code has raised
            self._run.lifecycle.refuse(error)
        if self._run.lifecycle.control_error is not None:
            await self._end_by_control_error()
            return True
        if isinstance(
            error, RunSuspended
        ):  # it stands before something that this process does not begin any more
            return await release(self._root, is_left=True)
        try:
            if not await block_or_retry(self._run, self._task):
                await finish(self._run, end_of(self._run, self._task))
        except SignalsPending:
            await self._run.signals.drain()
            self._run.lifecycle.attention.set()
            return False
        return True

    async def _leave(self) -> bool:
        """Give the job up, to go on later, if nothing of it is in flight here; return whether that is so."""
        run = self._run
        if run.lifecycle.begins_nothing and self._root.is_quiet() and await release(self._root):
            return True
        if run.gate.room_wanted and self._root.is_quiet() and await self._wait_for_room():
            return True
        return run.idleness.is_idle and await self._suspend()

    async def _suspend(self) -> bool:
        if has_bare_timeout(self._root.leaves()):
            self._run.lifecycle.refuse(UnrecordedCancellation())
            return False
        try:
            if await suspend(self._root):
                return True
        except SignalsPending:
            await self._run.signals.drain()
            self._run.mail.want()
            self._run.idleness.check()
        return False

    async def _wait_for_room(self) -> bool:
        try:
            return await wait_for_room(self._root)
        except SignalsPending:
            await self._run.signals.drain()
            self._run.gate.look_for_room()
            return False

    def _interrupt(self) -> None:
        """Raise the job's cancellation where the operator stands.

        An operator that is run again for this is followed through its journal to where that was, or to where the journal ends.
        """
        run = self._run
        if run.history.stop_request is None:
            run.journal.record(NewEvent(RuntimeEventType.JOB_RUNTIME_EXCEEDED))
        run.lifecycle.advance(RunState.STOPPING)
        self._root.interrupt()

    async def _stop(self) -> None:
        """Let the operator clean up for a bounded time, then write the end, whatever has happened."""
        run = self._run
        left = self._options.cancel_timeout - run.history.clean_up_seconds
        await asyncio.wait((self._task,), timeout=max(0.0, left))
        await self._cut_off()
        request = run.history.stop_request
        assert request is not None  # noqa: S101 -- recorded above at the latest
        error = run.lifecycle.control_error
        await finish(
            run, Completion.of_request(request, no_clean_up=None if error is None else text_of(error))
        )

    def _has_come_to_rest(self) -> bool:
        """Whether no effect is in flight any more, or it has had its time."""
        loop = asyncio.get_running_loop()
        if self._gives_up_at is None:
            self._gives_up_at = loop.time() + self._options.drain_timeout
            loop.call_at(self._gives_up_at, self._run.lifecycle.attention.set)
        return self._task.done() or not self._root.is_in_flight() or loop.time() >= self._gives_up_at

    async def _end_by_control_error(self) -> None:
        """Set a job aside whose code does not fit its journal; a mistake that shows at the first run is a failure."""
        error, run = self._run.lifecycle.control_error, self._run
        assert error is not None  # noqa: S101 -- the caller's condition
        await self._cut_off()
        if isinstance(error, NondeterminismError) or run.job.fence > 1:
            await block(run, text_of(error), error.code)
            return
        ending = Completion(
            JobStatus.FAILED,
            error=text_of(error),
            error_code=error.code,
            error_type=type(error).__name__,
        )
        await finish(run, ending)

    async def unwind(self) -> None:
        """Leave the operator: it goes on later, from its journal, perhaps elsewhere."""
        self._run.close()
        await self._cut_off()

    async def _cut_off(self) -> None:
        """End the operator's task, in a bounded time: where it waits it is left, and what it does is cancelled."""
        task, run = self._task, self._run
        if task.done():
            return
        run.unwind()
        for leaf in self._root.leaves():
            if leaf.task is not None and not leaf.waiting:
                leaf.task.cancel()
        _, pending = await asyncio.wait((task,), timeout=self._options.cancel_timeout)
        if pending:
            task.cancel()
            logger.warning("%s does not stop although it was cancelled; it is left behind", task.get_name())
