"""A call that waits for its job: until it has ended, a person is asked, the time is up, or the process or the key ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mcp_types import CallToolResult

from agent_runtime.errors import StorageError, UnknownKey
from agent_runtime.kernel.handle import ExecutionHandle
from agent_runtime.server.access import Caller
from agent_runtime.server.mcp.progress import Report, Watching
from agent_runtime.server.mcp.questions import open_questions
from agent_runtime.server.mcp.results import result_of
from agent_runtime.server.parts import Service
from agent_runtime.values.action import ActionRecord
from llm_client.background import begin, ended

KEY_SECONDS: Final = 10.0
"""How often it is seen whether the key of a waiting call still holds."""


Ask = Callable[[ActionRecord], Coroutine[None, None, None]]
"""Has a question asked, and its answer taken."""


class Why(StrEnum):
    """Why a call waits no more."""

    ENDED = "ended"
    BLOCKED = "blocked"
    """The job cannot go on by itself."""
    ASKED = "asked"
    """The job waits for this caller's answer."""
    LATE = "late"
    STOPPING = "stopping"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """What a call has waited for."""

    why: Why
    result: CallToolResult | None = None
    questions: Sequence[ActionRecord] = ()


class Wait:
    """The wait of one call.

    Args:
        service: Whose job.
        handle: The job.
        caller: Who waits.
        report: Is told of progress; `None` where the client has not asked for it.
        answers: Whether the client asks its person what is in an answer to it.
        ask: Has the client ask its person meanwhile; `None` where it cannot.
    """

    def __init__(
        self,
        service: Service,
        handle: ExecutionHandle,
        caller: Caller,
        *,
        report: Report | None,
        answers: bool,
        ask: Ask | None = None,
    ) -> None:
        self._service = service
        self._handle = handle
        self._caller = caller
        self._report = report
        self._answers = answers
        self._ask = ask
        self._asking: dict[str, asyncio.Task[None]] = {}
        """Questions that the client was handed, by their ids."""
        self._asked = asyncio.Event()

    async def until(self, seconds: float) -> Waited:
        """Wait for so many seconds at most."""
        stopping = begin(self._service.stopping.wait())
        ending, watching = begin(result_of(self._handle)), self._watching()
        waits = [task for task in (stopping, ending, watching) if task is not None]
        try:
            async with asyncio.timeout(seconds):
                return await self._first(ending, stopping)
        except TimeoutError:
            return Waited(why=Why.LATE)
        finally:
            await ended(*waits, *self._asking.values())

    def _watching(self) -> asyncio.Task[None] | None:
        if self._report is None and self._ask is None and not self._answers:
            return None
        watching = Watching(
            self._service.kernel, self._handle, report=self._report or _tell_nobody, asked=self._asked.set
        )
        return begin(watching.follow())

    async def _first(
        self, ending: asyncio.Task[CallToolResult | None], stopping: asyncio.Task[bool]
    ) -> Waited:
        while True:
            asked = begin(self._asked.wait())
            try:
                await asyncio.wait(
                    {ending, stopping, asked}, timeout=KEY_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                await ended(asked)
            if not await self._holds():
                return Waited(why=Why.REVOKED)
            if ending.done():
                result = ending.result()
                return Waited(why=Why.BLOCKED if result is None else Why.ENDED, result=result)
            if stopping.done():
                return Waited(why=Why.STOPPING)
            if self._asked.is_set():
                self._asked.clear()
                job = await self._handle.job()
                questions = await open_questions(self._service.kernel, job.job_id, self._caller)
                if questions and self._answers:
                    return Waited(why=Why.ASKED, questions=questions)
                self._hand_over(questions)

    def _hand_over(self, questions: Sequence[ActionRecord]) -> None:
        """Have the client ask what it was not handed before; whoever else answers is as welcome."""
        for action in questions:
            if self._ask is not None and action.action_id not in self._asking:
                self._asking[action.action_id] = begin(self._ask(action))

    async def _holds(self) -> bool:
        try:
            return await self._service.still_lets_in(self._caller)
        except StorageError:  # which says nothing of the key
            return True
        except UnknownKey:
            return False


async def _tell_nobody(count: float, words: str) -> None:
    """Tell nobody."""
