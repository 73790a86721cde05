"""Log 100,000 model calls at once to files, and say what it took and whether the summary tells the truth: nothing lost, and which texts.

`burst` hands all of them over as fast as threads can. `paced` is what a runner does: a hundred at a time, each waits for room before its next call.
It takes up to half an hour, so it is no part of `make bench`.
"""

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import yaml
from run import SIZES, record

from agent_runtime.observability import FileCallLogger

CALLS = 100_000
AT_ONCE = 100
THREADS = 8
CASES = [("burst", "1 KB"), ("burst", "32 KB"), ("paced", "1 KB"), ("paced", "32 KB")]


def burst(logger: FileCallLogger, size: int, calls: int) -> None:
    """Hand over from several threads, without ever waiting."""

    def some(number: int) -> None:
        for _ in range(calls // THREADS + (number < calls % THREADS)):
            logger.record(record(size))

    threads = [threading.Thread(target=some, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def paced(logger: FileCallLogger, size: int, calls: int) -> None:
    """Hand over as so many runs at once do."""

    async def one(number: int) -> None:
        for _ in range(calls // AT_ONCE + (number < calls % AT_ONCE)):
            await logger.room()
            logger.record(record(size))
            await asyncio.sleep(0)

    async def everybody() -> None:
        await asyncio.gather(*map(one, range(AT_ONCE)))

    asyncio.run(everybody())


def logged(case: str, size: int, calls: int, folder: Path) -> dict[str, object]:
    """Log, in this process, and say what came of it."""
    logger = FileCallLogger(folder, "many")
    logger.record(record(size))
    logger.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    (burst if case == "burst" else paced)(logger, size, calls - 1)
    given = time.perf_counter() - began
    logger.flush()
    took = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    files = [path for path in logger.path.iterdir() if path.name.startswith("call_")]
    dropped = sum("content_dropped: true" in path.read_text() for path in files)
    summary = yaml.safe_load((logger.path / "summary.yaml").read_text())
    return {
        "files": len(files),
        "total": summary["total_calls"],
        "lost": summary["lost_calls"],
        "without": summary["calls_without_content"],
        "dropped": dropped,
        "given": given,
        "took": took,
        "memory": grown,
    }


def main() -> None:
    """Measure each case in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument(
        "--case", nargs=3, metavar=("CASE", "SIZE", "FOLDER"), help="one case, in this process"
    )
    arguments = parser.parse_args()
    if arguments.case:
        case, size, folder = arguments.case
        print(json.dumps(logged(case, SIZES[size], arguments.calls, Path(folder))))
        return
    print(
        f"{arguments.calls:,} calls, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before\n"
    )
    print(
        "| | files | in the summary | lost | without texts | handed over after (s) | written after (s) | memory (MB) |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for case, size in CASES:
        folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
        try:
            command = [
                sys.executable,
                __file__,
                "--calls",
                str(arguments.calls),
                "--case",
                case,
                size,
                str(folder),
            ]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if (found["files"], found["lost"], found["without"]) != (found["total"], 0, found["dropped"]):
            raise SystemExit(f"{case}, {size}: the summary is wrong: {found}")
        print(
            f"| {case}, {size} | {found['files']:,} | {found['total']:,} | {found['lost']} | {found['without']:,} | "
            f"{found['given']:.0f} | {found['took']:.0f} | {found['memory']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
