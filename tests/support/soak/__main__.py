"""Play stories for a while: `python -m support.soak --seconds 60 --seed 1 --storage memory`."""

import argparse
import asyncio
import contextlib
import faulthandler
import logging
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from agent_runtime.ports.clock import SystemClock
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from support.private_postgres import PrivatePostgres, private_postgres
from support.soak.crowds import CrowdStory
from support.soak.stories import Story
from support.soak.virtual import LoopClock, run_in_virtual_time

STORY_SECONDS = 600
"""Real seconds that no story takes."""


class StoryHangs(BaseException):
    """A story goes on and on; not an `Exception`, so that nothing in it survives."""


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


@contextlib.contextmanager
def crowds() -> Iterator[Callable[[int], list[str]]]:
    """Run a server, and return what plays a seed on a new database of it."""
    with private_postgres() as server, tempfile.TemporaryDirectory(prefix="agent-runtime-soak-") as folder:
        server.postgres.execute("CREATE DATABASE template")
        asyncio.run(PostgresStorage(server.postgres.dsn("template")).setup())

        def play(seed: int) -> list[str]:
            name, place = f"story_{seed}", Path(folder) / str(seed)
            place.mkdir()
            server.postgres.execute(f"CREATE DATABASE {name} TEMPLATE template")
            said = asyncio.run(with_workers(seed, server, server.postgres.dsn(name), place))
            server.postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
            return said

        yield play


async def with_workers(seed: int, server: PrivatePostgres, dsn: str, folder: Path) -> list[str]:
    story = CrowdStory(seed, server, dsn, folder)
    said = await story.play()
    await story.aclose()
    return [*said, *story.log.splitlines()[-20:]] if said else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stories", type=int, default=0)
    parser.add_argument("--storage", choices=("memory", "sqlite", "postgres"), default="memory")
    given = parser.parse_args()
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        play = {
            "memory": lambda: lambda seed: run_in_virtual_time(in_memory(seed)),
            "sqlite": lambda: lambda seed: asyncio.run(on_sqlite(seed)),
            "postgres": lambda: stack.enter_context(crowds()),
        }[given.storage]()
        return soak(play, given)


def hang(*_: object) -> NoReturn:
    """End a story that does not end by itself."""
    raise StoryHangs


def soak(play: Callable[[int], list[str]], given: argparse.Namespace) -> int:
    """Play seed after seed, until the time is up; return whether a promise was broken."""
    signal.signal(signal.SIGALRM, hang)
    began, seed, broken = time.monotonic(), given.seed, 0
    while time.monotonic() - began < given.seconds and not 0 < given.stories <= seed - given.seed:
        signal.alarm(STORY_SECONDS)
        try:
            said = play(seed)
        except StoryHangs:
            said = ["it hangs:", *traceback.format_exc().splitlines()[-24:]]
        signal.alarm(0)
        if said:
            broken += 1
            print(f"make soak STORAGE={given.storage} SEED={seed} STORIES=1 breaks a promise:", flush=True)
            print(*(f"  {line}" for line in said[:30]), sep="\n", flush=True)
        seed += 1
    print(f"{seed - given.seed} stories in {time.monotonic() - began:.0f} s, {broken} broke a promise")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
