"""A process that logs model calls, for tests that kill it.

Usage: `python -m support.logging_child FOLDER HOW [COUNT]`. `endless` logs until it is killed; `count` logs so many from several threads and
ends without a flush; `loop` does so on an event loop that is closed at the end; `fork` logs, forks, and logs in both.
"""

import asyncio
import os
import sys
import threading
from pathlib import Path

from agent_runtime.observability import FileCallLogger
from support.call_logs import call_record


def endless(logger: FileCallLogger) -> None:
    """Log, a little ahead of the files."""
    for number in range(10**9):
        logger.record(call_record(f"agent{number % 5}", answer="x\n" * 2000))
        if number % 20 == 0:
            logger.flush()
            print(number, flush=True)


def count(logger: FileCallLogger, calls: int) -> None:
    """Log from four threads, and end."""

    def some() -> None:
        for _ in range(calls // 4):
            logger.record(call_record())

    threads = [threading.Thread(target=some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def on_a_loop(logger: FileCallLogger, calls: int) -> None:
    """Log from tasks."""

    async def one() -> None:
        await asyncio.sleep(0)
        logger.record(call_record())

    await asyncio.gather(*(one() for _ in range(calls)))


def fork(logger: FileCallLogger, calls: int) -> None:
    """Log, fork while that is written, and log in both."""
    count(logger, calls)
    child = os.fork()
    count(logger, calls)
    logger.flush()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def main(folder: str, how: str, calls: str = "0") -> None:
    """Do what is asked."""
    logger = FileCallLogger(Path(folder), "run")
    if how == "endless":
        endless(logger)
    elif how == "count":
        count(logger, int(calls))
    elif how == "loop":
        asyncio.run(on_a_loop(logger, int(calls)))
    else:
        fork(logger, int(calls))


if __name__ == "__main__":
    main(*sys.argv[1:])
