"""What has really happened outside, told by those who did it; and the processes that do it, as long as they live."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from agent_runtime.ports.commit import NewEvent
from agent_runtime.ports.journal import Claim
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType

OUTCOMES = frozenset(
    {
        RuntimeEventType.STEP_COMPLETED,
        RuntimeEventType.STEP_FAILED,
        RuntimeEventType.TOOL_COMPLETED,
        RuntimeEventType.TOOL_FAILED,
    }
)
"""How steps and tools end."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One effect on the world, or one answer of a model."""

    kind: str
    node: str
    operation: str
    again: bool = False
    """Whether whoever did it had its outcome in a journal before: nothing excuses that. Clocks would not tell, of which
    several machines have several."""


class World(Protocol):
    """Remembers what has happened."""

    def add(self, happening: Happening) -> None: ...

    def all(self) -> list[Happening]: ...


class ListedWorld:
    """A world for one process."""

    def __init__(self) -> None:
        self._happenings: list[Happening] = []

    def add(self, happening: Happening) -> None:
        self._happenings.append(happening)

    def all(self) -> list[Happening]:
        return list(self._happenings)


class FileWorld:
    """A world for several processes: one line for each happening, written at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, happening: Happening) -> None:
        os.write(self._file, json.dumps(asdict(happening)).encode() + b"\n")

    def all(self) -> list[Happening]:
        return [Happening(**json.loads(line)) for line in self._path.read_text().splitlines()]


class Life:
    """A process: it has effects while it lives, and hangs for ever once it is dead.

    Args:
        world: What it changes.
        rng: How long things take, and which of them go wrong.
        on_effect: Called before and after each effect; may end the process.
    """

    def __init__(
        self,
        world: World,
        rng: random.Random,
        on_effect: Callable[[], None] = lambda: None,
    ) -> None:
        self.world = world
        self.rng = rng
        self.dead = False
        self._on_effect = on_effect
        self.kill: Callable[[], None] = lambda: None
        """Ends the process, whether it is its time or not."""
        self._finished: dict[str | None, str] = {}
        """Steps and tools that have ended by the journals this process has read and written, with the names of steps."""
        self._retried: set[str] = set()
        """Jobs in whose place this process has been given another one."""

    async def die(self) -> NoReturn:
        """Be killed by what has just been read."""
        self.kill()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable: nobody completes the future")

    def learn(self, job_id: str | None, events: Iterable[NewEvent | RuntimeEvent]) -> None:
        """Take note of what a job's journal says that this process has read or written."""
        if job_id in self._retried:
            # The storage tells late that the last commit of the job was written, and others were faster: somebody has read that it
            # failed and has had it retried, and this process was given the retry, whose journal says what is to be done anew.
            return
        for event in events:
            if event.type == RuntimeEventType.JOB_RETRIED:
                for operation in (*event.data["reopens"], *event.data["drops"]):
                    self._finished.pop(operation, None)
            elif event.type in OUTCOMES:
                self._finished[event.operation_id] = event.data["name"]

    def take(self, claim: Claim | None) -> None:
        """Take note of a journal that this process has been given with its job."""
        if claim is None:
            return
        job = claim.job
        if job.origin != job.job_id:  # a retry: what it does anew has the names that it had before
            gone = [one for one in self._finished if (one or "").startswith(f"{job.origin}:")]
            for operation in gone:
                del self._finished[operation]
            if job.predecessor_id is not None:
                self._retried.add(job.predecessor_id)
        self.learn(job.job_id, claim.events)

    async def _live(self) -> None:
        if self.rng.random() < 0.6:
            await asyncio.sleep(self.rng.choice((0.0, 0.001, 0.01, 0.05)))
        if self.dead:
            await asyncio.get_running_loop().create_future()

    async def happen(self, kind: str, node: str, operation: str = "") -> None:
        """Have an effect, some time before and some time after it."""
        await self._live()
        self._on_effect()
        again = operation in self._finished or node in self._finished.values()
        self.world.add(Happening(kind, node, operation, again))
        self._on_effect()
        await self._live()

    def happened(self, node: str) -> bool:
        """Whether an effect has happened, for those who look."""
        return any(happening.node == node for happening in self.world.all())
