"""Killing the process that executes a job, at chosen places of its journal, and starting it again."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Final, Self

from agent_runtime.errors import AgentRuntimeError
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from llm_client.background import begin, ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """When to kill."""

    happens: Callable[[RuntimeEvent, int], bool]
    """Takes an event and how many model calls have been answered before it."""
    where: str


def _asks_again(event: RuntimeEvent, answered: int) -> bool:
    return event.type == RuntimeEventType.MODEL_STARTED and answered >= 1


def _has_its_answer(event: RuntimeEvent, answered: int) -> bool:
    del answered
    wrote = event.type == RuntimeEventType.TOOL_STARTED and event.data.get("name") == "write_report"
    return wrote or event.type == RuntimeEventType.ACTION_RESOLVED


OCCASIONS: Final = (
    Occasion(happens=_asks_again, where="in the middle of a model call"),
    Occasion(happens=_has_its_answer, where="right after a person's answer had arrived"),
)


class ChildFailed(AgentRuntimeError):
    """The process that executes the job ended before the job did."""

    code = "CHILD_PROCESS_FAILED"


class Killer:
    """Runs a command, kills it with SIGKILL on each occasion once, and starts it again.

    Args:
        command: Executes the job until its end, from wherever the journal has got to.
        say: Prints a line.
        environment: Of the command; without, this process's.
        occasions: When to kill, in this order.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        say: Callable[[str], None],
        environment: Mapping[str, str] | None = None,
        occasions: Sequence[Occasion] = OCCASIONS,
    ) -> None:
        self._command = command
        self._environment = environment
        self._say = say
        self._occasions = list(occasions)
        self._process: asyncio.subprocess.Process | None = None
        self._output: IO[bytes] | None = None
        self._answered = 0
        self.kills = 0
        """How often the process was killed."""

    async def __aenter__(self) -> Self:
        self._output = await asyncio.to_thread(tempfile.TemporaryFile)
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            if kind is not None:
                process.terminate()
            await process.wait()
        if self._output is not None:
            await asyncio.to_thread(self._output.close)

    async def _start(self) -> None:
        """Start the command, deaf and mute: whoever watches reads the journal."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env=self._environment,
        )
        self._say(f"  process   pid {self._process.pid} executes the job")

    async def see(self, event: RuntimeEvent) -> None:
        """Look at an event, and kill if it is the next occasion."""
        if event.type == RuntimeEventType.MODEL_COMPLETED:
            self._answered += 1
        if self._occasions and self._occasions[0].happens(event, self._answered):
            await self._kill(self._occasions.pop(0), event)

    async def _kill(self, occasion: Occasion, event: RuntimeEvent) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._process = None
        process.send_signal(signal.SIGKILL)
        await process.wait()
        self.kills += 1
        self._say(f"  KILL -9   pid {process.pid}, {occasion.where} (after entry {event.seq} of the journal)")
        await self._start()

    async def guard(self, following: Coroutine[object, None, None]) -> None:
        """Wait until the job has been followed to its end.

        Raises:
            ChildFailed: The process ended by itself while the job had not.
        """
        followed = begin(following, name="follow")
        watched = begin(self._watch(), name="watch the child")
        try:
            await asyncio.wait((followed, watched), return_when=asyncio.FIRST_COMPLETED)
            if not followed.done():
                await asyncio.wait((followed,), timeout=5)  # its last events may still be on their way
            if not followed.done():
                raise ChildFailed(await self._last_words())
            await followed
        finally:
            await ended(followed, watched)

    async def _watch(self) -> None:
        """Return when a process has ended that was not killed here."""
        while True:
            process = self._process
            if process is None:
                await asyncio.sleep(0.05)
                continue
            await process.wait()
            if process is self._process:
                return

    async def _last_words(self) -> str:
        output = self._output
        assert output is not None  # noqa: S101 -- open while the job is followed

        def read() -> str:
            output.seek(0)
            return output.read()[-2000:].decode("utf-8", "replace").strip()

        lines = (await asyncio.to_thread(read)).splitlines()
        return f"the process that executes the job has ended: {lines[-1] if lines else 'it said nothing'}"
