"""Many send, many receive, and processes die: no message is lost, and none is acted upon under two names."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ExecutionRequest, OperatorContext, StepFailed
from agent_runtime.testing.faults import DyingStorage, bury, nth_commit
from support import mixed_job
from support.kernels import BOUND, DOOMED, kernel, opened, until
from support.mail_child import SENT

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 6)]
TESTS = Path(__file__).parent.parent
MESSAGES, RECEIVERS, DEATHS = 24, 3, 4
acted: list[tuple[str, int]] = []
"""By whom – the operation – and upon which message."""


def act(operation: str, body: int) -> None:
    """Act upon a message."""
    acted.append((operation, body))


async def receiver(context: OperatorContext, given: list[int]) -> None:
    """Receive in one of several ways, act, and go on as a new job now and then, until told to stop."""
    for _ in range(given[0]):
        how = context.random().randrange(4)
        body: Any = None
        if how == 0:
            won = await context.wait_any(context.sleep(0.02), context.receive("desk"))
            body = won.value.body if won.winner else None
        elif how == 1:
            try:
                async with context.timeout(0.03):
                    (message,) = await context.wait_all(context.receive("desk"))
                    body = message.body
            except TimeoutError:
                body = None
        elif how == 2:
            try:
                await context.gather(context.receive("desk"), context.step(fail, effect="idempotent"))
            except StepFailed:
                body = None
        else:
            body = (await context.receive("desk")).body
        if body == "stop":
            return
        if body is not None:
            name = str(context.uuid())
            await context.step(act, name, body, effect="idempotent")
    context.continue_as_new(given)


def fail() -> None:
    raise ValueError("broken")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def address(request: pytest.FixtureRequest) -> str:
    """Where jobs and messages are kept."""
    kind = str(request.param)
    return str(request.getfixturevalue("database")) if kind == "postgres" else kind


@pytest.mark.parametrize("seed", [1, 2])
async def test_whoever_dies_every_message_is_acted_upon_by_one(
    address: str, seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    acted.clear()
    async with opened(address, tmp_path) as storage:
        async with kernel(storage, operators=[receiver], worker=False) as k:
            jobs = [
                (await k.execute(ExecutionRequest(operator="receiver", input=[number + 2]))).job_id
                for number in range(RECEIVERS)
            ]

        async def send(sender: int) -> None:
            async with kernel(storage, worker=False) as k:
                for number in range(sender, MESSAGES, 2):
                    for _ in range(2):
                        await k.send("desk", number, dedupe_key=str(number))
                        await asyncio.sleep(chance.random() / 50)

        senders = asyncio.gather(send(0), send(1))
        for _ in range(DEATHS):
            dying = DyingStorage(
                storage, nth_commit(chance.randrange(4, 30)), moment=chance.choice(["before", "after"])
            )
            doomed = kernel(dying, operators=[receiver], options=DOOMED)
            await doomed.start()
            async with asyncio.timeout(BOUND):
                while not dying.died.is_set():
                    await asyncio.sleep(0.01)
                    if senders.done() and len({body for _, body in acted}) == MESSAGES:
                        break
            await bury(doomed, dying, storage)
        async with kernel(storage, operators=[receiver]) as k:
            await senders

            async def all_acted() -> bool:
                return len({body for _, body in acted}) == MESSAGES

            await until(all_acted)
            for _ in range(RECEIVERS):
                await k.send("desk", "stop")
            for job_id in jobs:
                await k.handle(job_id).result(timeout=BOUND * 2)
            assert await k.inbox.count("desk") == 0
    names = Counter(body for _, body in set(acted))
    assert names == Counter(range(MESSAGES))


def run_child(database: Path, world: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the chain in a process of its own, until it ends or is killed."""
    return subprocess.run(
        [sys.executable, "-m", "support.mail_child", str(database)],
        env={**os.environ, "PYTHONPATH": str(TESTS), mixed_job.EFFECTS: str(world), **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "what",
    ["message.awaited", "message.received", "message.received:door", "wait.withdrawn", "job.succeeded"],
)
async def test_a_killed_process_loses_no_message_and_receives_none_twice(
    what: str, moment: str, tmp_path: Path
) -> None:
    database, world = tmp_path / "runs.db", tmp_path / "effects"
    killed = await asyncio.to_thread(run_child, database, world, KILL_COMMIT=f"{moment}:{what}")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = await asyncio.to_thread(run_child, database, world)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == {"output": [body for _, body in SENT], "waiting": [0, 0, 0]}
    done = Counter(body for _, body in mixed_job.effects(world))
    assert done.keys() == {str(body) for _, body in SENT}
