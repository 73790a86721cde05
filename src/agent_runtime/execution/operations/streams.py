"""Streams that are read inside a job: each is a line of work of its own, and its reader may leave it at any moment.

The call of a stream runs ahead of its reader, so where it stands when he leaves is chance. A line of its own keeps that
chance out of the places of the reader's line. Once the reader's line has gone on, the journal says that the stream was
left there; a run that follows it again recalls what is recorded of the stream and begins nothing more in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.errors import ConcurrentSteps, NondeterminismError
from agent_runtime.execution.branch import CURRENT_BRANCH, Branch
from agent_runtime.ports.commit import NewEvent
from agent_runtime.values.event import RuntimeEventType
from llm_client.engine.event_stream import StreamHost
from llm_client.json_text import JsonObject

if TYPE_CHECKING:
    from llm_client.engine.event_stream import OpenStream

_NAME: Final = "stream"


class StreamLine(StreamHost):
    """The line of work of one stream, seen from its reader's.

    Args:
        parent: The branch that reads.
        stream: What it reads.

    Raises:
        ConcurrentSteps: The branch is inside a step.
        NondeterminismError: The journal records something else at this place.
    """

    def __init__(self, parent: Branch, stream: OpenStream[object]) -> None:
        run = parent.run
        parent.check_free(_NAME)
        operation = parent.reach("branches", _NAME)
        if operation.step is None:
            run.journal.record(
                NewEvent(RuntimeEventType.BRANCH_OPENED, operation.id, {"name": _NAME, "branches": 1})
            )
        self._operation_id = operation.id
        self._recorded: Mapping[str, Any] | None = run.history.left.get(operation.id)
        """How the reader left in the run before, if he did."""
        self._stream = stream
        self._waited = False
        self._waits_for_release = False
        """What goes on inside waits for the reader to leave where he had left."""
        self.branch = Branch(run, operation.place, parent)
        self.branch.line = self
        parent.children.add(self.branch)
        parent.streams.append(self)
        self.context = copy_context()
        self.context.run(CURRENT_BRANCH.set, self.branch)

    @property
    def was_left(self) -> bool:
        """Whether the journal says that the reader left before the end."""
        return self._recorded is not None and not self._recorded["ended"]

    @property
    def left(self) -> bool:
        """Whether nobody reads any more."""
        return self._stream.left

    @property
    def waits_for_the_line(self) -> bool:
        """Whether the reader's line goes on only when this one does, or when it has ended."""
        return self._stream.reader_waits or self._stream.left

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The stream's task, while it runs."""
        return self._stream.task if self._stream.is_running else None

    def reader_waits(self) -> None:
        """Learn that the reader has seen everything there is."""
        self.branch.run.idleness.check()

    def reader_left(self, stream: OpenStream[object], *, waiting: bool) -> None:
        """Cut off a model's answer, or a wait; an effect in flight is let finish, and nothing new begins after it."""
        del stream
        self._waited = waiting
        run = self.branch.run
        if not run.lifecycle.is_running:
            self._cancel()
        elif self._recorded is None or self.was_left:
            self.branch.abandoned = True
            if self._waits_for_release or not self.branch.children:
                self._cancel()
            else:
                run.idleness.left_streams.add(self)
                self.cancel_if_blocked()

    def cancel_if_blocked(self) -> None:
        """End a stream that was left, once nothing but durable waits is going on in it."""
        if self.branch.children and self.branch.is_blocked():
            self._cancel()

    def _cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def ended(self) -> None:
        """Take the line out of its parent's, when its task is done."""
        parent = self.branch.parent
        if parent is not None:
            parent.children.discard(self.branch)
        self.branch.run.idleness.left_streams.discard(self)
        self.branch.run.idleness.check()

    def passed(self) -> None:
        """Learn that the reader's line goes on: what he has not read by now he never will."""
        running = self._stream.is_running
        if running and not self._stream.left:
            self._stream.refuse(
                ConcurrentSteps(  # told to whoever still reads; one that was only dropped has no reader
                    "a step was begun while a stream of the same branch was being read, which ended the stream; read it to "
                    "its end before, or run the step in a branch of its own with context.gather"
                )
            )
        run = self.branch.run
        unread = running or self._stream.left or self._stream.has_unread
        if unread and self._recorded is None and run.lifecycle.is_running:
            data: JsonObject = {
                "name": _NAME,
                "ended": not running and not self._stream.left,
                "waiting": self._waited,
            }
            run.journal.record(NewEvent(RuntimeEventType.BRANCH_LEFT, self._operation_id, data))
            self._recorded = data

    async def admit(self) -> None:
        """Let a step begin of which the journal holds no end, unless the reader had left by then: then none does."""
        if self.branch.abandoned:  # left in this very run, while the step was on its way
            raise asyncio.CancelledError("the reader of the stream has left")
        if self.was_left:
            await self.wait_for_release()

    async def wait_for_release(self) -> None:
        """Wait until the reader leaves where he had left. One who was cancelled while he waited for more waits again.

        Raises:
            NondeterminismError: He reads on.
        """
        self._waits_for_release = True
        if self._recorded is not None and self._recorded["waiting"]:
            await asyncio.get_running_loop().create_future()
        await self._stream.emptied()
        raise self.branch.run.lifecycle.refuse(
            NondeterminismError(
                f"the stream at {self._operation_id!r} was left here, but the code reads on; let the version that began "
                "this job finish it"
            )
        )
