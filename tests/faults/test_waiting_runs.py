"""A terminal whose question nobody has answered yet keeps no other process of its file from beginning."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ActionSpec, ExecutionRequest, OperatorContext, RuntimeKernel
from agent_runtime.cli.chosen_jobs import ChosenJobs
from agent_runtime.storage.sqlite import SQLiteStorage
from support.cli import BOUND, CommandLine, Running
from support.kernels import kernel, pending, status_becomes, until
from support.loopback import LoopbackServer, Reply, json_reply, sse_reply
from support.wire import openai_chat

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 2)]

SHOP = '''
from llm_client import tool

@tool(requires_approval=True, approval_timeout=None)
def pay(dollars: int) -> str:
    """Pay an invoice."""
    with open("paid.txt", "a") as file:
        file.write(f"{dollars}\\n")
    return f"paid {dollars}"
'''
OTHER = """
from agent_runtime import Runtime

async def other(context, given):
    return "other"

def make():
    return Runtime(operators={"other": other})
"""
ANSWER = "Grüße aus Köln 🎉"


def stream(*chunks: Any) -> Reply:
    return sse_reply(*(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n")


def pay() -> Reply:
    function = {"name": "pay", "arguments": '{"dollars": 5}'}
    call = {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}
    return stream(
        openai_chat.chunk({"role": "assistant", "content": None}),
        openai_chat.chunk(call),
        openai_chat.chunk({}, "tool_calls"),
        openai_chat.chunk(None, usage=openai_chat.USAGE),
    )


TEXT = stream(*openai_chat.TEXT_STREAM)
TO_A_WORKER = json_reply(openai_chat.TEXT)
"""Nobody listens there, so it asks for no stream."""


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    command_line = CommandLine(
        tmp_path,
        AGENT_RUNTIME_SWEEP_INTERVAL="0.2",
        AGENT_RUNTIME_UNLISTED_AFTER="1.5",
        OPENAI_API_KEY="k",
    )
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "other.py").write_text(OTHER)
    return command_line


@asynccontextmanager
async def asking(cli: CommandLine, server: LoopbackServer) -> AsyncIterator[tuple[Running, str, str]]:
    """Have a run wait at its question: give it, its job and the question's id."""
    cli.environment["AGENT_RUNTIME_BASE_URL"] = f"{server.url}/v1"
    cli.environment["AGENT_RUNTIME_MODEL"] = "openai:gpt-5.2"
    running = await cli.start("run", "--tool", "shop:pay", "Pay.")
    job = (await running.says("job: ")).removeprefix("job: ")
    action = (await running.says("actions resolve")).split("actions resolve ")[1].split()[0]
    try:
        yield running, job, action
    finally:
        if running.process.returncode is None:
            await running.kill()


async def approve(cli: CommandLine, action: str) -> str:
    answered = await cli.run("actions", "resolve", action, "--approve", "--by", "ann")
    assert answered.code == 0, answered.err
    return answered.out


def paid(cli: CommandLine) -> str:
    path = cli.folder / "paid.txt"
    return path.read_text() if path.exists() else ""


async def executor_is(cli: CommandLine, running: Running) -> None:
    """Wait until a worker executes the file."""
    async with asyncio.timeout(BOUND):
        while f"pid {running.process.pid}" not in (await cli.run("doctor")).out:
            await asyncio.sleep(0.1)


async def test_another_run_begins_and_ends_while_one_waits_for_a_person(cli: CommandLine) -> None:
    async with LoopbackServer(pay(), TEXT, TEXT) as server, asking(cli, server) as (first, _, action):
        second = await cli.run("run", "hi")
        assert (second.code, second.out) == (0, f"{ANSWER}\n"), second.err
        assert "another process" not in second.err

        told = await approve(cli, action)
        assert "nothing executes" not in told, "its terminal does"
        ended = await first.end()
        assert (ended.code, ended.out) == (0, f"{ANSWER}\n"), ended.err
        assert "another process" not in first.seen + ended.err
    assert paid(cli) == "5\n"


async def test_a_worker_that_comes_goes_on_with_the_job_and_the_terminal_prints_its_answer(
    cli: CommandLine,
) -> None:
    async with LoopbackServer(pay(), TO_A_WORKER) as server, asking(cli, server) as (first, _, action):
        worker = await cli.start("worker")
        await executor_is(cli, worker)
        await approve(cli, action)
        ended = await first.end()
        assert (ended.code, ended.out) == (0, f"{ANSWER}\n"), ended.err
        worker.process.send_signal(signal.SIGTERM)
        assert (await worker.end()).code == 0
    assert paid(cli) == "5\n"


async def test_it_waits_politely_for_a_worker_that_does_not_know_its_operator(cli: CommandLine) -> None:
    async with LoopbackServer(pay(), TEXT) as server, asking(cli, server) as (first, job, action):
        worker = await cli.start("worker", "--app", "other:make")
        await executor_is(cli, worker)
        refused = await cli.run("run", "hi")
        assert (refused.code, f"pid {worker.process.pid}" in refused.err) == (3, True), refused.err
        await approve(cli, action)
        await first.says("another process executes the jobs")
        await asyncio.sleep(3)  # twice as long as a job stays that nobody lists
        assert (await cli.run("jobs", "show", job, "--json")).json["status"] == "waiting_action"
        await worker.kill()
        ended = await first.end()
        assert (ended.code, ended.out) == (0, f"{ANSWER}\n"), ended.err
        assert "another process" not in ended.err, "it is said once"
    assert paid(cli) == "5\n"


async def test_a_worker_goes_on_when_the_waiting_terminal_is_killed(cli: CommandLine) -> None:
    async with LoopbackServer(pay(), TO_A_WORKER) as server, asking(cli, server) as (first, job, action):
        worker = await cli.start("worker")
        await executor_is(cli, worker)
        await first.kill()
        await approve(cli, action)
        async with asyncio.timeout(BOUND):
            while (await cli.run("jobs", "result", job)).code != 0:
                await asyncio.sleep(0.1)
        worker.process.send_signal(signal.SIGTERM)
        assert (await worker.end()).code == 0
    assert paid(cli) == "5\n"


@pytest.mark.parametrize("how", ["kill", "Ctrl-C"])
async def test_a_waiting_run_that_ends_can_be_resumed(cli: CommandLine, how: str) -> None:
    async with LoopbackServer(pay(), TEXT) as server, asking(cli, server) as (first, job, action):
        if how == "kill":
            await first.kill()
        else:
            first.interrupt()
            ended = await first.end()
            assert (ended.code, f"jobs resume {job}" in ended.err) == (130, True), ended.err
        told = await approve(cli, action)
        assert ("nothing executes its job now" in told) is True
        resumed = await cli.run("jobs", "resume", job)
        assert (resumed.code, resumed.out) == (0, f"{ANSWER}\n"), resumed.err
    assert paid(cli) == "5\n"


async def test_a_resumed_job_that_waits_leaves_the_place_as_well_and_its_question_expires(
    cli: CommandLine,
) -> None:
    """Nobody else is there to fire its timer."""
    (cli.folder / "shop.py").write_text(SHOP.replace("approval_timeout=None", "approval_timeout=8"))
    async with LoopbackServer(pay(), TEXT, TEXT) as server, asking(cli, server) as (first, job, _):
        await first.kill()
        resumed = await cli.start("jobs", "resume", job)
        await resumed.says("waiting for an answer")
        second = await cli.run("run", "hi")
        assert (second.code, "another process" in second.err) == (0, False), second.err
        ended = await resumed.end()
        assert (ended.code, ended.out) == (0, f"{ANSWER}\n"), ended.err
    assert paid(cli) == ""


async def asks(context: OperatorContext, given: object) -> object:
    return (await context.action(ActionSpec(type="input"))).resolution


class Answering(SQLiteStorage):
    """Lets a test step in when the executor's place has just been given up, or right before."""

    def __init__(self, path: Path, moment: str) -> None:
        super().__init__(path, durability="process")
        self.moment = moment
        self.step: Any = None
        self.left = 0

    async def _take_step(self, moment: str) -> None:
        if moment == self.moment and self.step is not None:
            step, self.step = self.step, None
            await step()

    async def release_executor(self) -> None:
        await self._take_step("before")
        await super().release_executor()
        self.left += 1
        await self._take_step("after")


async def left(storage: Answering) -> bool:
    return storage.left > 0


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_answer_that_comes_while_the_place_is_given_up_is_not_lost(
    tmp_path: Path, moment: str
) -> None:
    storage, dispatcher = Answering(tmp_path / "runs.db", moment), ChosenJobs()
    async with kernel(storage, operators=[asks], dispatcher=dispatcher) as k:
        handle = await k.execute(ExecutionRequest(operator="asks"))

        async def answer() -> None:
            await handle.resolve_action((await pending(handle)).action_id, {"value": 7})

        storage.step = answer
        dispatcher.choose(handle.job_id)
        assert (await handle.result(timeout=BOUND)).output == {"value": 7}
        assert storage.left == 1
    await storage.aclose()


async def test_an_answer_from_elsewhere_brings_the_place_back(tmp_path: Path) -> None:
    storage, dispatcher = Answering(tmp_path / "runs.db", "never"), ChosenJobs()
    async with kernel(storage, operators=[asks], dispatcher=dispatcher) as k:
        handle = await k.execute(ExecutionRequest(operator="asks"))
        dispatcher.choose(handle.job_id)
        await until(lambda: left(storage))
        await status_becomes(handle, "waiting_action")
        assert not k.executes
        other: RuntimeKernel = kernel(SQLiteStorage(tmp_path / "runs.db", durability="process"), worker=False)
        async with other as beside:
            action = await pending(beside.handle(handle.job_id))
            await beside.handle(handle.job_id).resolve_action(action.action_id, {"value": 8})
        await other.storage.aclose()
        assert (await handle.result(timeout=BOUND)).output == {"value": 8}
    await storage.aclose()


async def test_a_worker_keeps_its_place(tmp_path: Path) -> None:
    storage = Answering(tmp_path / "runs.db", "never")
    async with kernel(storage, operators=[asks]) as k:
        handle = await k.execute(ExecutionRequest(operator="asks"))
        await status_becomes(handle, "waiting_action")
        await asyncio.sleep(0.5)
        assert k.executes
        assert storage.left == 0
    await storage.aclose()
