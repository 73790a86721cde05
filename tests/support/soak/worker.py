"""A worker of a soaked Postgres database: `python -m support.soak.worker DSN WORLD SEED MORTAL`.

While it is mortal it kills itself with SIGKILL now and then, around effects and commits. SIGTERM drains it.
"""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from agent_runtime import RuntimeKernel
from agent_runtime.ports.journal import Claim, Commit
from agent_runtime.storage.postgres import PostgresStorage
from support.soak.programs import HASTY, PRICES, TOOL_OF, Soaked, make_engine
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
            os.kill(os.getpid(), signal.SIGKILL)

    async def commit(self, commit: Commit) -> int:
        self.perhaps_die()
        seq = await super().commit(commit)
        self.life.learn(commit.events)
        self.perhaps_die()
        return seq

    async def claim(self, job_id: str, **options: Any) -> Claim | None:
        claim = await super().claim(job_id, **options)
        self.life.learn(claim.events if claim else ())
        return claim


async def main(dsn: str, world: str, seed: int, *, mortal: bool) -> None:
    """Execute until told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    chance = random.Random(seed)
    storage = MortalStorage(dsn)
    storage.chance, storage.mortal = chance, mortal
    life = storage.life = Life(FileWorld(Path(world)), chance, storage.perhaps_die)
    kernel = RuntimeKernel(
        engine=make_engine(),
        storage=storage,
        operators=[Soaked(life)],
        tools=[*TOOL_OF.values(), HASTY],
        prices=PRICES,
        options=WORKER,
    )
    async with kernel:
        await stop.wait()
    await storage.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), mortal=sys.argv[4] == "mortal"))
