"""A process that runs the mixed job on a SQLite file, and kills itself with SIGKILL at a chosen moment.

Usage: `python -m support.mixed_child DB`. `KILL_COMMIT=before:tool.started:pay` dies at a commit, `KILL_AT=inside:pay`
around an effect; each only the first time. Prints the job's id and its result as JSON when the job has ended.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent_runtime import BudgetSpec, ExecutionRequest, RuntimeEvent
from agent_runtime.ports.commit import Commit
from agent_runtime.storage.sqlite import SQLiteStorage
from support import mixed_job
from support.answers import answer_questions
from support.kernels import kernel

KILL_COMMIT = "KILL_COMMIT"


class KillingStorage(SQLiteStorage):
    """Kills its process at a chosen commit, or at a drain of signals that makes it."""

    async def commit(self, commit: Commit) -> int:
        hit = _is_hit(commit)
        seq = await super().commit(commit)
        if hit:
            _die()
        return seq

    async def drain_signals(
        self, job_id: str, *, held: Commit | None = None, **given: Any
    ) -> Sequence[RuntimeEvent]:
        hit = held is not None and _is_hit(held)
        events = await super().drain_signals(job_id, held=held, **given)
        if hit:
            _die()
        return events


def _is_hit(commit: Commit) -> bool:
    """Whether to die after a commit; dies right away when it is to be before."""
    moment, _, what = os.environ.get(KILL_COMMIT, "").partition(":")
    hit = bool(what) and writes(commit, what) and not _marker().exists()
    if hit and moment == "before":
        _die()
    return hit


def writes(commit: Commit, what: str) -> bool:
    """Whether a commit writes an event or signal of a type, and of a name if one is given.

    A job's end means the end of the mixed job itself; its child's is where `child.ended` is sent, or where it is continued.
    """
    type_, _, name = what.partition(":")
    if type_ == "job.succeeded" and (commit.signals or bool(commit.create) != (name == "continued")):
        return False
    name = "" if name == "continued" else name
    written: Sequence[Any] = [*commit.events, *commit.signals]
    return any(entry.type == type_ and (not name or entry.data.get("name") == name) for entry in written)


def _marker() -> Path:
    return Path(os.environ[mixed_job.EFFECTS] + ".killed")


def _die() -> None:
    _marker().touch()
    os.kill(os.getpid(), signal.SIGKILL)


async def main(path: str) -> None:
    """Run the job, or go on with it, answering its questions."""
    world = Path(os.environ[mixed_job.EFFECTS])
    async with kernel(KillingStorage(path, durability="process"), operators=mixed_job.OPERATORS) as k:
        request = ExecutionRequest(
            operator="mixed", idempotency_key="the one", budgets=BudgetSpec(max_cost=1_000_000)
        )
        handle = await k.execute(request)
        async with asyncio.timeout(20):
            await answer_questions(handle, world)
        print(json.dumps({"job_id": handle.job_id, "output": (await handle.result()).output}))
        await k.storage.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
