"""Branches: the lines of work inside one run, and the places their steps take in the journal.

Every step's place is a path such as `3.0.1`: step 1 of branch 0 below step 3. Concurrent branches number their own
steps below their own place, so how they interleave can never change the name of an operation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from agent_runtime.errors import ConcurrentSteps, ConfigurationError, InvalidInput
from agent_runtime.values.checks import check_text
from llm_client.messages import Message

if TYPE_CHECKING:
    from agent_runtime.kernel.history import Step
    from agent_runtime.kernel.run import JobRun
    from agent_runtime.kernel.streams import StreamLine


class Branch:
    """One line of work. It has at most one step in flight; more need branches of their own.

    Args:
        run: The run it belongs to.
        place: Where it stands in the journal; empty for the root.
        parent: The branch that opened it.
    """

    __slots__ = (
        "_next",
        "_used_keys",
        "abandoned",
        "attempt",
        "batch",
        "children",
        "conversation",
        "dropped_tools",
        "effect",
        "in_step",
        "line",
        "parent",
        "place",
        "run",
        "streams",
        "waiting",
    )

    def __init__(self, run: JobRun, place: str = "", parent: Branch | None = None) -> None:
        self.run = run
        self.place = place
        self.parent = parent
        self.children: set[Branch] = set()
        self.in_step: str | None = None
        """Name of the step in flight."""
        self.waiting: str | None = None
        """Kind of the durable wait this branch is in: `action`, `timer` or `child`."""
        self.effect: Step | None = None
        """The tool call or step whose function runs in this branch."""
        self.attempt = 1
        """Which attempt of `effect` this is."""
        self.abandoned = False
        """A sibling has failed: no further step may begin here."""
        self.conversation: Sequence[Message] = ()
        """Messages of the last model call, to tell which are new in the next."""
        self.dropped_tools: Sequence[str] = ()
        """Patterns of tools that the model of the last call was not offered."""
        self.batch = ""
        """Place of the last model step, below which its tool calls stand."""
        self.line: StreamLine | None = None
        """The stream whose call runs in this branch."""
        self.streams: list[StreamLine] = []
        """Streams that were opened here since the last step, and those that were left and have not ended."""
        self._next = 1
        self._used_keys: set[str] = set()

    def take_place(self, key: str | None = None) -> str:
        """Return the place of the next step, or the one a key names. The streams that were read before are left."""
        self.leave_streams()
        if key is not None:
            check_text("key", key)
            if key in self._used_keys:
                raise InvalidInput(f"two steps of one branch have the key {key!r}")
            self._used_keys.add(key)
            return self._below(f"[{key}]")
        number, self._next = self._next, self._next + 1
        return self._below(str(number))

    def upcoming_place(self) -> str:
        """Return the place the next step without a key will take."""
        return self._below(str(self._next))

    def _below(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Mark a step as in flight."""
        if self.abandoned:
            raise asyncio.CancelledError("a sibling branch has failed")
        self.check_free(name)
        self.in_step = name
        try:
            yield
        finally:
            self.in_step = None

    def check_free(self, name: str) -> None:
        """Refuse a step while another is in flight. Raises `ConcurrentSteps`."""
        if self.in_step is not None or self.waiting is not None:
            raise ConcurrentSteps(
                f"step {name!r} was started while {self.in_step or 'a wait'!r} runs in the same branch; "
                "run steps that belong together with context.gather, so that their order can be recorded"
            )

    def leave_streams(self) -> None:
        """Leave the streams that were opened here and not read to their end."""
        for line in self.streams:
            line.passed()
        if self.streams:
            self.streams = [line for line in self.streams if line.task is not None]

    async def streams_ended(self) -> None:
        """Wait until the streams that were left have ended, so that what follows is recorded after them."""
        while tasks := [line.task for line in self.streams if line.left and line.task is not None]:
            await asyncio.wait(tasks)

    @contextmanager
    def child(self, place: str) -> Iterator[Branch]:
        """Open a branch at `place` and make it the current one."""
        branch = Branch(self.run, place, self)
        self.children.add(branch)
        token = CURRENT_BRANCH.set(branch)
        try:
            yield branch
        finally:
            CURRENT_BRANCH.reset(token)
            self.children.discard(branch)
            self.run.check_idle()

    @asynccontextmanager
    async def nested(self, place: str) -> AsyncIterator[Branch]:
        """Open a branch for somebody's code, like `child`, and end the streams that the code leaves behind."""
        with self.child(place) as branch:
            async with branch.settling_streams():
                yield branch

    @asynccontextmanager
    async def settling_streams(self) -> AsyncIterator[None]:
        """Run somebody's code; the streams that it leaves behind have ended, and are on record, when this returns."""
        try:
            yield
        finally:
            self.leave_streams()
            await self.streams_ended()

    def is_blocked(self) -> bool:
        """Whether nothing in this branch or below can go on without a signal."""
        if self.line is not None and not self.line.waits_for_the_line:
            return False
        if self.children:
            return all(child.is_blocked() for child in self.children)
        return self.waiting is not None

    def leaves(self) -> list[Branch]:
        """Return the branches at the ends, where work is done."""
        if not self.children:
            return [self]
        return [leaf for child in self.children for leaf in child.leaves()]

    def enclosing_effects(self) -> Iterator[tuple[Branch, Step]]:
        """Yield the tool calls and steps inside whose functions this branch runs, innermost first."""
        branch: Branch | None = self
        while branch is not None:
            if branch.effect is not None:
                yield branch, branch.effect
            branch = branch.parent

    def waits(self) -> Iterator[str]:
        """Yield the kinds of the waits in this branch and below."""
        if self.waiting is not None:
            yield self.waiting
        for child in self.children:
            yield from child.waits()


CURRENT_BRANCH: ContextVar[Branch | None] = ContextVar("agent_runtime_branch", default=None)
"""The branch that the current task works in; `None` outside jobs."""


def branch_here() -> Branch | None:
    """Return the branch that the current task works in; `None` outside jobs.

    Raises:
        ConfigurationError: The job's context has been carried to another event loop, where nothing of the job can run.
    """
    branch = CURRENT_BRANCH.get()
    if branch is not None:
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:  # a thread of a tool or a step, which may ask for what needs no loop
            return branch
        if here is not branch.run.loop:
            raise ConfigurationError(
                "this call belongs to a job that runs on another event loop: in a thread of a job use a blocking call "
                "(agent.run_sync, llm.inference), not a loop of its own"
            )
    return branch
