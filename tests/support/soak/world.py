"""What has really happened outside, told by those who did it; and the processes that do it, as long as they live."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Happening:
    """One effect on the world, or one answer of a model."""

    kind: str
    node: str
    operation: str
    at: float
    """Seconds, by the clock of the journal."""


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
        now: The journal's clock, in seconds.
        on_effect: Called before and after each effect; may end the process.
    """

    def __init__(
        self,
        world: World,
        rng: random.Random,
        now: Callable[[], float],
        on_effect: Callable[[], None] = lambda: None,
    ) -> None:
        self.world = world
        self.rng = rng
        self.dead = False
        self._now = now
        self._on_effect = on_effect

    async def _live(self) -> None:
        if self.rng.random() < 0.6:
            await asyncio.sleep(self.rng.choice((0.0, 0.001, 0.01, 0.05)))
        if self.dead:
            await asyncio.get_running_loop().create_future()

    async def happen(self, kind: str, node: str, operation: str = "") -> None:
        """Have an effect, some time before and some time after it."""
        await self._live()
        self._on_effect()
        self.world.add(Happening(kind, node, operation, self._now()))
        self._on_effect()
        await self._live()

    def happened(self, node: str) -> bool:
        """Whether an effect has happened, for those who look."""
        return any(happening.node == node for happening in self.world.all())
