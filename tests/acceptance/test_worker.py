"""The story of a team that outgrows one process: migrate, two workers, one submitter, one worker stopped."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent_runtime import ExecutionRequest, RuntimeKernel
from support.kernels import BOUND, until

SHOP = """
import asyncio
from agent_runtime import RuntimeKernel

async def count(context, given):
    for number in range(given["steps"]):
        await context.step(asyncio.sleep, given["seconds"], name=f"s{number}", effect="idempotent")
    return {"steps": given["steps"]}

def kernel():
    import os
    return RuntimeKernel.create(storage=os.environ["AGENT_RUNTIME_STORAGE"], operators={"count": count})
"""


@pytest.mark.timeout(BOUND * 3)
async def test_a_team_runs_workers_and_stops_one_of_them(postgres_dsn: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    environment = {**os.environ, "AGENT_RUNTIME_STORAGE": postgres_dsn}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "agent_runtime.cli", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=BOUND, check=False
        )

    refused = await asyncio.to_thread(run, "worker", "--app", "shop:kernel")
    assert refused.returncode == 3
    assert "agent-runtime migrate" in refused.stderr
    migrated = await asyncio.to_thread(run, "migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert "none → " in migrated.stdout
    assert postgres_dsn.split("@")[0] not in migrated.stdout

    command = [sys.executable, "-m", "agent_runtime.cli", "worker", "--app", "shop:kernel"]
    workers = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert "executes count" in await asyncio.to_thread(worker.stdout.readline)
        async with RuntimeKernel.create(storage=postgres_dsn, worker=False) as k:
            request = ExecutionRequest(operator="count", input={"steps": 20, "seconds": 0.05})
            handles = [await k.execute(request) for _ in range(20)]

            async def running() -> bool:
                return all([(await handle.status()) == "running" for handle in handles])

            await until(running)
            workers[0].send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(workers[0].wait, BOUND) == 0
            for handle in handles:
                assert (await handle.result(timeout=BOUND)).output == {"steps": 20}
        pruned = await asyncio.to_thread(run, "prune", "--older-than", "0")
        assert pruned.stdout == "20 jobs deleted\n", pruned.stderr
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
