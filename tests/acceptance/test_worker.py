"""The stories of a team that outgrows one process: it migrates, starts workers, submits, stops one of them."""

import asyncio
import json
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


OWN = """
import asyncio, os
from agent_runtime import Runtime

async def where(context, given):
    return await context.step(_pid, name="where", effect="read")

async def _pid():
    await asyncio.sleep(0.05)
    return os.getpid()

kernel = Runtime(operators=[where])
"""
SUBMIT = """
import asyncio, json, sys
from agent_runtime import ExecutionRequest, RuntimeKernel
import shop

async def main():
    kernel = shop.kernel.kernel
    async with shop.kernel:
        request = ExecutionRequest(operator="where")
        handles = await asyncio.gather(*(kernel.execute(request) for _ in range(int(sys.argv[1]))))
        print(json.dumps([(await handle.result(timeout=30)).output for handle in handles]))

asyncio.run(main())
"""


@pytest.mark.timeout(BOUND * 4)
async def test_a_team_outgrows_one_process_without_changing_its_code(
    postgres_dsn: str, tmp_path: Path
) -> None:
    """First SQLite in one process; then one variable, three workers, and a fourth process that submits."""
    (tmp_path / "shop.py").write_text(OWN)
    (tmp_path / "submit.py").write_text(SUBMIT)
    names = {name for name in os.environ if name.startswith("AGENT_RUNTIME_")}
    alone = {name: value for name, value in os.environ.items() if name not in names}
    alone |= {"XDG_DATA_HOME": str(tmp_path / "data"), "HOME": str(tmp_path)}
    together = {**alone, "AGENT_RUNTIME_DATABASE_URL": postgres_dsn, "AGENT_RUNTIME_QUEUES": "default,urgent"}

    async def run(environment: dict[str, str], *command: str) -> str:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, *command],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=BOUND * 2, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    assert len(set(json.loads(await run(alone, "submit.py", "5")))) == 1
    await run(together, "-m", "agent_runtime.cli", "migrate")
    command = [sys.executable, "-m", "agent_runtime.cli", "worker", "--app", "shop:kernel"]
    workers = [
        subprocess.Popen(command, cwd=tmp_path, env=together, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert "executes where" in await asyncio.to_thread(worker.stdout.readline)
        pids = json.loads(await run(together, "submit.py", "400"))
        assert len(pids) == 400
        assert {worker.pid for worker in workers} <= set(pids)
        listed = await run(together, "-m", "agent_runtime.cli", "jobs", "list", "--json")
        assert {job["status"] for job in json.loads(listed)} == {"succeeded"}
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            assert await asyncio.to_thread(worker.wait, BOUND) == 0
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.timeout(BOUND * 3)
async def test_a_worker_that_is_told_to_stop_ends_the_step_under_way_and_leaves_the_rest(
    number: signal.Signals, tmp_path: Path
) -> None:
    """A terminal that goes away is no reason to lose a step."""
    (tmp_path / "shop.py").write_text(SHOP)
    storage = f"sqlite:///{tmp_path / 'runs.db'}"
    environment = {**os.environ, "AGENT_RUNTIME_STORAGE": storage}
    command = [sys.executable, "-m", "agent_runtime.cli", "worker", "--app", "shop:kernel"]

    def started() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    async with RuntimeKernel.create(storage=storage, worker=False) as k:
        first = started()
        try:
            assert first.stdout is not None
            assert "executes count" in await asyncio.to_thread(first.stdout.readline)
            handle = await k.execute(ExecutionRequest(operator="count", input={"steps": 20, "seconds": 0.05}))

            async def has_begun() -> bool:
                return len(await k.storage.events(handle.job_id)) > 4

            await until(has_begun)
            first.send_signal(number)
            _, said = await asyncio.to_thread(first.communicate, timeout=BOUND)
            assert (first.returncode, "Traceback" in said) == (0, False), said
            left = await handle.job()
            assert (left.owner, left.deaths, left.status.is_terminal) == (None, 0, False)
        finally:
            first.kill()
            first.wait()
        second = started()
        try:
            assert (await handle.result(timeout=BOUND)).output == {"steps": 20}
        finally:
            second.kill()
            second.communicate()
        done = [e.operation_id for e in await k.storage.events(handle.job_id) if e.type == "step.completed"]
        assert len(done) == len(set(done)) == 20


@pytest.mark.parametrize("seconds", [0.1, 0.5, 0.9, 1.3])
async def test_a_worker_that_is_told_to_stop_while_it_starts_says_nothing_of_it(
    seconds: float, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    environment = {**os.environ, "AGENT_RUNTIME_STORAGE": f"sqlite:///{tmp_path / 'runs.db'}"}
    command = [sys.executable, "-m", "agent_runtime.cli", "worker", "--app", "shop:kernel"]
    worker = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        await asyncio.sleep(seconds)
        worker.send_signal(signal.SIGTERM)
        _, said = await asyncio.to_thread(worker.communicate, timeout=BOUND)
        assert worker.returncode in (0, -signal.SIGTERM, 130), said
        assert "Traceback" not in said
    finally:
        worker.kill()
        worker.wait()


WITH_TOOLS = """
import sys
from agent_runtime import RuntimeKernel, Settings
from llm_client import Agent, McpServer, ScriptedProvider, ToolCall

server = McpServer([sys.executable, SERVER])

async def kernel():
    provider = ScriptedProvider([ToolCall("c1", "add", {"a": 2, "b": 3}), "It is 5."])
    agent = Agent(provider=provider, tools=await server.tools())
    return RuntimeKernel.create(storage=Settings.load().storage, agent=agent)
"""


@pytest.mark.timeout(BOUND * 3)
async def test_a_worker_has_the_tools_of_a_server_that_its_application_asks_for_them(tmp_path: Path) -> None:
    """The factory of the application is asynchronous, and the connection lives as long as the worker."""
    server = Path(__file__).parents[1] / "support" / "mcp_server.py"
    (tmp_path / "shop.py").write_text(WITH_TOOLS.replace("SERVER", repr(str(server))))
    storage = f"sqlite:///{tmp_path / 'runs.db'}"
    environment = {**os.environ, "AGENT_RUNTIME_STORAGE": storage}
    command = [sys.executable, "-m", "agent_runtime.cli", "worker", "--app", "shop:kernel"]
    worker = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert worker.stdout is not None
        assert "executes agent" in await asyncio.to_thread(worker.stdout.readline)
        async with RuntimeKernel.create(storage=storage, worker=False) as k:
            handle = await k.execute(ExecutionRequest(operator="agent", prompt="2 + 3?"))
            assert (await handle.result(timeout=BOUND)).content == "It is 5."
            (done,) = [e for e in await k.storage.events(handle.job_id) if e.type == "tool.completed"]
            assert "5" in str(done.body())
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, BOUND) == 0
    finally:
        worker.kill()
        worker.communicate()
