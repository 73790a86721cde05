"""A call that waits for its job: until it has ended, a person is asked, the time is up, or the process or the key ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from mcp_types import CallToolResult

from agent_runtime.errors import StorageError
from agent_runtime.kernel.handle import ExecutionHandle
from agent_runtime.server.access import Caller
from agent_runtime.server.mcp.progress import Report, Watching
from agent_runtime.server.mcp.results import result_of
from agent_runtime.server.parts import Service
from agent_runtime.server.questions import open_questions
from agent_runtime.values.action import ActionRecord
from llm_client.background import Backoff, begin, ended

KEY_SECONDS: Final = 10.0
"""How often it is seen whether the key of a waiting call still holds."""
RETRY_SECONDS: Final = 0.2
LONGEST_RETRY_SECONDS: Final = 5.0
"""After which a storage that is away is asked again."""
T = TypeVar("T")


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
    LEFT = "left"
    """Nobody waits for it any more."""
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
        left: Is set when its client has left.
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
        left: asyncio.Event,
        report: Report | None,
        answers: bool,
        ask: Ask | None = None,
    ) -> None:
        self._service = service
        self._handle = handle
        self._caller = caller
        self._left = left
        self._report = report
        self._answers = answers
        self._ask = ask
        self._asking: dict[str, asyncio.Task[None]] = {}
        """Questions that the client was handed, by their ids."""
        self._asked = asyncio.Event()
        """Set when the job has asked something."""
        self._found: Sequence[ActionRecord] = ()
        self._has_found = asyncio.Event()
        """Set when there are questions for this caller."""

    async def until(self, seconds: float) -> Waited:
        """Wait for so many seconds at most. A storage that is away meanwhile says nothing of the job: it is asked again."""
        ending, others = begin(_outliving(lambda: result_of(self._handle))), self._watching()
        stops: dict[asyncio.Task[bool], Why] = {
            begin(self._left.wait()): Why.LEFT,
            begin(self._service.stopping.wait()): Why.STOPPING,
        }
        try:
            async with asyncio.timeout(seconds):
                return await self._first(ending, stops)
        except TimeoutError:
            return Waited(why=Why.LATE)
        finally:
            await ended(ending, *stops, *others, *self._asking.values())

    def _watching(self) -> Sequence[asyncio.Task[None]]:
        if self._report is None and self._ask is None and not self._answers:
            return ()
        watching = Watching(
            self._service.kernel, self._handle, report=self._report or _tell_nobody, asked=self._asked.set
        )
        return begin(_outliving(watching.follow)), begin(self._looking())

    async def _looking(self) -> None:
        """Look for questions to this caller whenever the job has asked something."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._found = await _outliving(self._questions)
            if self._found:
                self._has_found.set()

    async def _questions(self) -> Sequence[ActionRecord]:
        job = await self._handle.job()
        return await open_questions(self._service.kernel, job.job_id, self._caller)

    async def _first(
        self, ending: asyncio.Task[CallToolResult | None], stops: Mapping[asyncio.Task[bool], Why]
    ) -> Waited:
        while True:
            found = begin(self._has_found.wait())
            try:
                await asyncio.wait(
                    {ending, *stops, found}, timeout=KEY_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                await ended(found)
            if not await self._service.still_lets_in(self._caller):
                return Waited(why=Why.REVOKED)
            if ending.done():
                result = ending.result()
                return Waited(why=Why.BLOCKED if result is None else Why.ENDED, result=result)
            for stop, why in stops.items():
                if stop.done():
                    return Waited(why=why)
            if self._has_found.is_set():
                self._has_found.clear()
                if self._answers:
                    return Waited(why=Why.ASKED, questions=self._found)
                self._hand_over(self._found)

    def _hand_over(self, questions: Sequence[ActionRecord]) -> None:
        """Have the client ask what it was not handed before; whoever else answers is as welcome."""
        for action in questions:
            if self._ask is not None and action.action_id not in self._asking:
                self._asking[action.action_id] = begin(self._ask(action))


async def _outliving(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask the storage for something, again and again while it is away."""
    backoff = Backoff(RETRY_SECONDS, LONGEST_RETRY_SECONDS)
    while True:
        try:
            return await ask()
        except StorageError:
            await backoff.pause()


async def _tell_nobody(count: float, words: str) -> None:
    """Tell nobody."""
