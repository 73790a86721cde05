"""Play stories for a while: `python -m support.soak --seconds 60 --seed 1 --storage memory`."""

import argparse
import asyncio
import faulthandler
import logging
import sys
import tempfile
import time
from pathlib import Path

from agent_runtime.ports.clock import SystemClock
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from support.soak.stories import Story
from support.soak.virtual import LoopClock, run_in_virtual_time


async def in_memory(seed: int) -> list[str]:
    return await Story(seed, MemoryStorage(), LoopClock()).play()


async def on_sqlite(seed: int) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="agent-runtime-soak-") as folder:
        storage = SQLiteStorage(Path(folder) / "runs.db", durability="process")
        await storage.open()
        try:
            return await Story(seed, storage, SystemClock()).play()
        finally:
            await storage.aclose()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stories", type=int, default=0)
    parser.add_argument("--storage", choices=("memory", "sqlite"), default="memory")
    given = parser.parse_args()
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    began, seed, broken = time.monotonic(), given.seed, 0
    while time.monotonic() - began < given.seconds:
        if given.stories and seed - given.seed >= given.stories:
            break
        said = (
            run_in_virtual_time(in_memory(seed))
            if given.storage == "memory"
            else asyncio.run(on_sqlite(seed))
        )
        if said:
            broken += 1
            print(f"seed {seed} on {given.storage}:", *said[:8], sep="\n  ", flush=True)
        seed += 1
    print(f"{seed - given.seed} stories in {time.monotonic() - began:.0f} s, {broken} broke a promise")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
