"""A worker on a Postgres database, which kills itself with SIGKILL when it reaches a moment that is armed.

Usage: `python -m support.worker_child DSN`. Prints `ready`, and the number of events of its journals it has written
nothing to when it ends. `ARMED` names a folder: a file there, named like a moment of `mixed_child`, is taken away by
the first worker that reaches the moment, which then dies. SIGTERM drains it.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent_runtime import ActionSpec, KernelOptions, OperatorContext, RuntimeEvent, RuntimeKernel
from agent_runtime.ports.commit import Commit
from agent_runtime.storage.postgres import PostgresStorage
from support import mixed_job
from support.mixed_child import writes

ARMED = "ARMED"
CAPS = "CAPS"
"""The variable that holds the caps of single scopes, as JSON."""
WORKER = KernelOptions(
    suspend_after=0.01,
    drain_timeout=5.0,
    cancel_timeout=0.5,
    heartbeat_interval=0.15,
    worker_timeout=1.0,
    sweep_interval=0.3,
    storage_patience=20.0,
)


def take(moment: str) -> bool:
    """Whether this process is the one that is to die at a moment."""
    try:
        (Path(os.environ[ARMED]) / moment).unlink()
    except FileNotFoundError:
        return False
    return True


def die() -> None:
    """Die as a process dies."""
    os.kill(os.getpid(), signal.SIGKILL)


class ArmedStorage(PostgresStorage):
    """Kills its process around a commit."""

    async def commit(self, commit: Commit) -> int:
        hit = _hit(commit)
        seq = await super().commit(commit)
        _die_at(hit, "after:")
        return seq

    async def drain_signals(
        self, job_id: str, *, held: Commit | None = None, **given: Any
    ) -> Sequence[RuntimeEvent]:
        hit = [] if held is None else _hit(held)
        events = await super().drain_signals(job_id, held=held, **given)
        _die_at(hit, "after:")
        return events


def _hit(commit: Commit) -> list[str]:
    """Return the moments around a commit; dies right away at one before it."""
    hit = [path.name for path in Path(os.environ[ARMED]).iterdir() if _around(path.name, commit)]
    _die_at(hit, "before:")
    return hit


def _die_at(moments: Sequence[str], when: str) -> None:
    for moment in moments:
        if moment.startswith(when) and take(moment):
            die()


def _around(moment: str, commit: Commit) -> bool:
    _, _, what = moment.partition(":")
    return "." in what and writes(commit, what)


def _die_if_armed(moment: str) -> None:
    if take(moment):
        die()


async def slow(context: OperatorContext, given: dict[str, Any]) -> dict[str, Any]:
    """Take steps until told to stop; says which process took each."""
    pids = []
    for number in range(given["steps"]):
        pids.append(await context.step(_slow_step, given["seconds"], name=f"s{number}", effect="idempotent"))
    return {"pids": pids}


async def _slow_step(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return os.getpid()


async def hold(context: OperatorContext, given: dict[str, Any]) -> str:
    """Have one unsafe effect that takes as long as a file exists."""
    return await context.step(_hold, given["gate"], given["world"], name="hold", effect=given["effect"])


async def _hold(gate: str, world: str) -> str:
    with Path(world).open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    while Path(gate).exists():
        await asyncio.sleep(0.01)
    return f"held by {os.getpid()}"


async def two_branches(context: OperatorContext, given: dict[str, Any]) -> dict[str, Any]:
    """Ask in one branch and have an effect in the other."""

    async def ask() -> Any:
        return (await context.action(ActionSpec(type="approval"))).resolution

    async def effect() -> str:
        return await context.step(_hold, given["gate"], given["world"], name="hold", effect="unsafe")

    answer, _ = await context.gather(ask(), effect())
    return {"approved": answer["approved"]}


OPERATORS = [*mixed_job.OPERATORS, slow, hold, two_branches]


async def main(dsn: str) -> None:
    """Execute until told to stop."""
    mixed_job.die_if = _die_if_armed
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    storage = ArmedStorage(dsn)
    options = replace(WORKER, scope_concurrency=json.loads(os.environ.get(CAPS, "{}")))
    async with RuntimeKernel(storage=storage, operators=OPERATORS, options=options):
        print("ready", flush=True)
        await stop.wait()
    await storage.aclose()
    print("drained", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
