"""A worker of a soaked Postgres database: `python -m support.soak.worker DSN WORLD SEED VERSION SKEW MORTAL`.

While it is mortal it kills itself with SIGKILL now and then, around effects and commits. SIGTERM drains it. `VERSION` is the
release of the code that it runs, and `SKEW` the seconds that its machine's clock is off.
"""

import asyncio
import os
import random
import signal
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from agent_runtime import RuntimeKernel
from agent_runtime.observability import JournalLogs
from agent_runtime.ports.clock import ServerClock, SystemClock
from agent_runtime.ports.commit import Commit
from agent_runtime.ports.journal import Claim
from agent_runtime.storage.postgres import PostgresStorage
from support.soak.mirrors import FileCopies, Mirror
from support.soak.programs import HASTY, MAX_CRASHES, PRICES, TOOL_OF, Soaked, make_engine
from support.soak.world import FileWorld, Life
from support.worker_child import WORKER

DEATH = 0.01
"""Share of the moments around effects and commits that a mortal worker does not survive."""


class MortalStorage(PostgresStorage):
    """Kills its process around a commit, by chance."""

    life: Life
    chance = random.Random(0)
    mortal = False

    def perhaps_die(self) -> None:
        """Die, if this is the moment."""
        if self.mortal and self.chance.random() < DEATH:
            self.life.kill()

    async def commit(self, commit: Commit) -> int:
        self.perhaps_die()
        seq = await super().commit(commit)
        self.life.learn(commit.job_id, commit.events)
        self.perhaps_die()
        return seq

    async def claim(self, job_id: str, **options: Any) -> Claim | None:
        claim = await super().claim(job_id, **options)
        self.life.take(claim)
        return claim


class SkewedClock(SystemClock):
    """The clock of a machine that nobody has set right.

    Args:
        skew: Seconds that it is ahead.
    """

    def __init__(self, skew: float) -> None:
        self._skew = timedelta(seconds=skew)

    def now(self) -> datetime:
        return super().now() + self._skew


def die() -> None:
    """Die as a process dies."""
    os.kill(os.getpid(), signal.SIGKILL)


async def main(dsn: str, world: str, seed: int, version: int, skew: float, *, mortal: bool) -> None:
    """Execute until told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    chance = random.Random(seed)
    storage = MortalStorage(dsn)
    storage.clock = ServerClock(SkewedClock(skew))
    storage.chance, storage.mortal = chance, mortal
    life = storage.life = Life(FileWorld(Path(world)), chance, storage.perhaps_die)
    life.kill = die
    kernel = RuntimeKernel(
        engine=make_engine(),
        storage=storage,
        operators=[Soaked(life, version)],
        tools=[*TOOL_OF.values(), HASTY],
        prices=PRICES,
        projections=[Mirror(life, chance, FileCopies(Path(f"{world}-copies")).add), JournalLogs(storage)],
        options=replace(WORKER, code_version=f"v{version}", max_crashes=MAX_CRASHES),
    )
    async with kernel:
        await stop.wait()
    await storage.aclose()


if __name__ == "__main__":
    _, its_dsn, its_world, its_seed, its_version, its_skew, life_time = sys.argv
    its_life = main(
        its_dsn, its_world, int(its_seed), int(its_version), float(its_skew), mortal=life_time == "mortal"
    )
    asyncio.run(its_life)
