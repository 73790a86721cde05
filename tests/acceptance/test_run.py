"""`agent-runtime run`: a prompt, a model on the wire, tools, people, and a process that may end at any time."""

import asyncio
import json
import signal
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from support.cli import CommandLine, Ended
from support.kernels import BOUND
from support.loopback import LoopbackServer, Reply, json_reply, sse_reply
from support.wire import openai_chat

TOOLS = '''
from llm_client import tool

@tool(effect="read")
def weather(city: str) -> str:
    """Say what the weather is like."""
    return f"sunny in {city}"

def clock() -> str:
    """Say what time it is."""
    return "noon"

@tool(requires_approval=True)
def pay(dollars: int) -> str:
    """Pay an invoice."""
    with open("paid.txt", "a") as file:
        file.write(f"{dollars}\\n")
    return f"paid {dollars}"
'''


def stream(chunks: Sequence[Any]) -> Reply:
    return sse_reply(*(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n")


def calls(name: str, arguments: dict[str, Any]) -> Reply:
    """Answer with one tool call."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}
    chunks = [
        openai_chat.chunk({"role": "assistant", "content": None}),
        openai_chat.chunk(call),
        openai_chat.chunk({}, "tool_calls"),
        openai_chat.chunk(None, usage=openai_chat.USAGE),
    ]
    return stream(chunks)


TEXT = stream(openai_chat.TEXT_STREAM)
ANSWER = "Grüße aus Köln 🎉"
HANG = Reply(pieces=("hang",))


def on(server: LoopbackServer, model: str = "openai:gpt-5.2") -> tuple[str, ...]:
    return "--base-url", f"{server.url}/v1", "--model", model


async def test_a_run_uses_tools_streams_and_prints_only_the_answer(cli: CommandLine) -> None:
    (cli.folder / "shop.py").write_text(TOOLS)
    async with LoopbackServer(stream(openai_chat.TOOL_STREAM), TEXT) as server:
        tools = ("--tool", "shop:weather", "--tool", "shop:clock")
        ended = await cli.run("run", *on(server), *tools, "--system", "Be brief.", "How is it in Köln?")

    assert (ended.code, ended.out) == (0, f"{ANSWER}\n"), ended.err
    assert [line.split()[1] for line in ended.err.splitlines() if line.startswith("  tool")] == [
        "weather",
        "clock",
    ]
    first, second = (request.json for request in server.requests)
    assert first["stream"] is True
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    assert {tool["function"]["name"] for tool in first["tools"]} == {"weather", "clock"}
    assert [message["content"] for message in second["messages"][-2:]] == ["sunny in Köln", "noon"]


async def test_the_prompt_may_come_from_standard_input_or_a_file(cli: CommandLine) -> None:
    (cli.folder / "question.txt").write_text("from a file")
    async with LoopbackServer(TEXT) as server:
        piped = await cli.run("run", *on(server), given="from a pipe – ähm".encode())
        read = await cli.run("run", *on(server), "--file", "question.txt")

    assert (piped.code, read.code) == (0, 0)
    asked = [request.json["messages"][-1]["content"] for request in server.requests]
    assert asked == ["from a pipe – ähm", "from a file"]


async def test_json_tells_the_answer_and_the_cost_and_shows_agree_with_it(cli: CommandLine) -> None:
    async with LoopbackServer(TEXT) as server:
        ended = await cli.run(
            "run", *on(server), "--json", "--max-cost", "0.50", "--max-tokens", "100000", "hi"
        )

    told = ended.json
    assert (told["status"], told["content"], told["requests"]) == ("succeeded", ANSWER, 1)
    shown = (await cli.run("jobs", "show", told["job_id"], "--json")).json
    assert shown["budgets"] == {"max_cost": "0.50", "max_tokens": 100000}
    assert [(step["kind"], step["cost"]) for step in shown["steps"]] == [("model", told["cost"])]


async def test_a_model_without_a_price_is_said_to_have_none(cli: CommandLine) -> None:
    async with LoopbackServer(TEXT) as server:
        ended = await cli.run("run", *on(server, "house-model"), "--json", "hi")
        refused = await cli.run("run", *on(server, "house-model"), "--max-cost", "1", "hi")

    assert ended.json["cost"] is None
    assert (refused.code, "no price is known" in refused.err) == (4, True)
    assert len(server.requests) == 1


async def test_a_terminal_sees_the_words_once(cli: CommandLine) -> None:
    async with LoopbackServer(TEXT) as server:
        terminal = await cli.at_terminal("run", *on(server), "hi")
        code = await terminal.end()

    assert code == 0, terminal.screen
    assert terminal.screen.count(ANSWER) == 1


async def test_a_tool_that_needs_approval_waits_for_the_person_at_the_terminal(cli: CommandLine) -> None:
    (cli.folder / "shop.py").write_text(TOOLS)
    async with LoopbackServer(calls("pay", {"dollars": 5}), TEXT) as server:
        terminal = await cli.at_terminal("run", *on(server), "--tool", "shop:pay", "Pay.")
        await terminal.shows('may pay be called with {"dollars": 5}?')
        await terminal.shows("[y]es or [n]o?")
        assert not (cli.folder / "paid.txt").exists()
        terminal.type("y")
        code = await terminal.end()

    assert code == 0, terminal.screen
    assert (cli.folder / "paid.txt").read_text() == "5\n"


async def test_a_refusal_from_another_terminal_reaches_the_model_with_its_reason(cli: CommandLine) -> None:
    (cli.folder / "shop.py").write_text(TOOLS)
    async with LoopbackServer(calls("pay", {"dollars": 5}), TEXT) as server:
        running = await cli.start("run", *on(server), "--tool", "shop:pay", "Pay.")
        line = await running.says("actions resolve")
        action = line.split("actions resolve ")[1].split()[0]
        refused = ("actions", "resolve", action, "--deny", "--reason", "too expensive", "--by", "ann")
        answered = await cli.run(*refused)
        ended = await running.end()

    assert (answered.code, ended.code) == (0, 0), answered.err + ended.err
    assert server.requests[1].json["messages"][-1]["content"] == "Error: ann refused this call: too expensive"
    assert not (cli.folder / "paid.txt").exists()


GUARDED = """
from agent_runtime import ActionSpec, Runtime
from agent_runtime.operators.operator import FunctionOperator


async def ask(context, given):
    answer = await context.action(ActionSpec(type="confirm", payload={"message": "Sure?"}, approvers=["boss"]))
    return f"{answer.resolved_by} is sure"


def make():
    return Runtime(operators={"agent": FunctionOperator(ask, "agent")})
"""


async def test_who_may_not_answer_is_told_so_and_somebody_else_may(cli: CommandLine) -> None:
    (cli.folder / "guarded.py").write_text(GUARDED)
    terminal = await cli.at_terminal("run", "--app", "guarded:make", "go")
    await terminal.shows("[y]es or [n]o?")
    terminal.type("y")
    await terminal.shows("is not an approver of this action; waiting for somebody else")

    (action,) = (await cli.run("actions", "list", "--json")).json
    await cli.run("actions", "resolve", action["action_id"], "--approve", "--by", "boss")

    assert await terminal.end() == 0, terminal.screen
    assert "boss is sure" in terminal.screen


async def test_ctrl_c_leaves_a_job_that_can_be_resumed_with_the_lost_call_on_the_bill(
    cli: CommandLine,
) -> None:
    async with LoopbackServer(HANG, TEXT) as server:
        running = await cli.start("run", *on(server), "hi")
        job = (await running.says("job: ")).removeprefix("job: ")
        await server.wait_for_requests(1)
        running.interrupt()
        await running.says(f"jobs resume {job}")
        running.interrupt()
        assert (await running.end()).code == 130

        (listed,) = (await cli.run("jobs", "list", "--json")).json
        assert (listed["job_id"], listed["standing"]) == (job, "interrupted")
        resumed = await cli.run("jobs", "resume", job)

    assert (resumed.code, resumed.out) == (0, f"{ANSWER}\n"), resumed.err
    (bill,) = (await cli.run("costs", "--job", job, "--json")).json
    assert (bill["requests"], bill["uncertain_requests"]) == (2, 1)


OWN = """
from pathlib import Path
from agent_runtime import Runtime, Settings


async def count(context, given):
    if given == "fail":
        raise ValueError("not now")
    return await context.step(len, given, effect="read")


def make():
    return Runtime(Settings.load(storage=f"sqlite:///{Path(__file__).parent}/own.db"), operators={"count": count})
"""


async def test_a_job_of_an_application_is_resumed_in_its_own_database_and_where_another_goes_on_in_its_place(
    cli: CommandLine,
) -> None:
    (cli.folder / "own.py").write_text(OWN)
    app, db = ("--app", "own:make"), ("--db", "own.db")
    with sqlite3.connect(cli.folder / "own.db"):
        pass
    job = (await cli.run("jobs", "submit", "count", '"abc"', *db)).out.strip()
    for _ in range(2):  # executed, and then read
        resumed = await cli.run("jobs", "resume", job, *app)
        assert (resumed.code, resumed.out) == (0, "3\n"), resumed.err

    failed = (await cli.run("jobs", "submit", "count", '"fail"', *db)).out.strip()
    assert "not now" in (await cli.run("jobs", "resume", failed, *app)).err
    ended = await cli.run("jobs", "resume", failed, *app)
    assert (ended.code, "has ended: it is failed: not now" in ended.err) == (2, True)
    (cli.folder / "own.py").write_text(OWN.replace('== "fail"', '== "never"'))
    await cli.run("jobs", "retry", failed, *db)
    resumed = await cli.run("jobs", "resume", failed, *app)  # its successor, which nobody has begun
    assert (resumed.code, resumed.out) == (0, "4\n"), resumed.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_run_that_is_told_to_stop_keeps_the_answer_that_is_under_way(
    cli: CommandLine, number: signal.Signals
) -> None:
    told = asyncio.Event()
    late = replace(TEXT, pieces=(told, *TEXT.pieces))
    async with LoopbackServer(late) as server:
        running = await cli.start("run", *on(server), "hi")
        job = (await running.says("job: ")).removeprefix("job: ")
        await server.wait_for_requests(1)
        running.process.send_signal(number)
        await running.says(f"jobs resume {job}")
        told.set()
        assert (await running.end()).code == 130
        resumed = await cli.run("jobs", "resume", job)
        assert (resumed.code, resumed.out) == (0, f"{ANSWER}\n"), resumed.err
        assert len(server.requests) == 1
    (bill,) = (await cli.run("costs", "--job", job, "--json")).json
    assert (bill["requests"], bill["uncertain_requests"]) == (1, 0)


async def test_a_second_process_waits_its_turn_and_leaves_the_others_job_alone(cli: CommandLine) -> None:
    cli.environment["AGENT_RUNTIME_SWEEP_INTERVAL"] = "0.2"
    async with LoopbackServer(HANG, TEXT) as server:
        first = await cli.start("run", *on(server), "one")
        first_job = (await first.says("job: ")).removeprefix("job: ")
        await server.wait_for_requests(1)
        second = await cli.start("run", *on(server), "two")
        await second.says("another process executes the jobs")
        assert len(server.requests) == 1

        await first.kill()
        ended = await second.end()

        assert (ended.code, ended.out) == (0, f"{ANSWER}\n")
        assert [r.json["messages"][-1]["content"] for r in server.requests] == ["one", "two"]
        shown = (await cli.run("jobs", "show", first_job, "--json")).json
        assert shown["standing"] == "interrupted"
        assert (await cli.run("jobs", "resume", first_job)).out == f"{ANSWER}\n"


async def test_a_worker_goes_on_with_runs_that_were_interrupted(cli: CommandLine) -> None:
    """Without an application it knows what this user has run here."""
    async with LoopbackServer(HANG, json_reply(openai_chat.TEXT)) as server:
        running = await cli.start("run", *on(server), "hi")
        job = (await running.says("job: ")).removeprefix("job: ")
        await server.wait_for_requests(1)
        await running.kill()
        worker = await cli.start("worker")
        await worker.prints("executes licence-audit, run")
        async with asyncio.timeout(BOUND):
            while (await cli.run("jobs", "result", job)).code != 0:
                await asyncio.sleep(0.1)
        worker.process.send_signal(signal.SIGTERM)
        assert (await worker.end()).code == 0
    assert (await cli.run("jobs", "result", job)).out == f"{ANSWER}\n"


async def test_an_interrupted_job_can_be_cancelled_and_then_not_resumed(cli: CommandLine) -> None:
    async with LoopbackServer(HANG) as server:
        running = await cli.start("run", *on(server), "hi")
        job = (await running.says("job: ")).removeprefix("job: ")
        await server.wait_for_requests(1)
        await running.kill()

    cancelled = await cli.run("jobs", "cancel", job, "--reason", "not needed")
    assert cancelled.out == f"{job} is cancelled\n"
    assert [event["type"] for event in await cli.events(job)][-1] == "job.cancelled"
    resumed = await cli.run("jobs", "resume", job)
    assert (resumed.code, "has ended: it is cancelled" in resumed.err) == (2, True)
    again = await cli.run("jobs", "cancel", job)
    assert (again.code, "has ended" in again.err) == (2, True)


async def test_a_running_job_can_be_cancelled_from_another_terminal(cli: CommandLine) -> None:
    async with LoopbackServer(HANG) as server:
        running = await cli.start("run", *on(server), "hi")
        job = (await running.says("job: ")).removeprefix("job: ")
        await server.wait_for_requests(1)
        cancelled = await cli.run("jobs", "cancel", job)
        ended = await running.end()

    assert cancelled.out == f"{job} is cancelled\n"
    assert (ended.code, "cancelled" in ended.err) == (1, True)


async def test_an_application_brings_its_own_agent(cli: CommandLine) -> None:
    (cli.folder / "app.py").write_text(
        "from agent_runtime import Runtime, RuntimeKernel\n"
        "from llm_client import Agent, ScriptedProvider\n"
        "def make(): return Runtime(agent=Agent(provider=ScriptedProvider(['from the runtime'])))\n"
        "kernel = RuntimeKernel.create(agent=Agent(provider=ScriptedProvider(['from the kernel'])))\n"
    )
    made = await cli.run("run", "--app", "app:make", "hi")
    cli.environment["AGENT_RUNTIME_APP"] = "app:kernel"
    plain = await cli.run("run", "hi")

    assert (made.code, made.out) == (0, "from the runtime\n"), made.err
    assert (plain.code, plain.out) == (0, "from the kernel\n"), plain.err


def job_of(ended: Ended) -> str:
    """Return the id of the job that a run has told of."""
    (line,) = [line for line in ended.err.splitlines() if line.startswith("job: ")]
    return line.removeprefix("job: ")


OBEDIENT = """
from agent_runtime import Runtime, RuntimeKernel, Settings
from llm_client import Agent, ScriptedProvider

async def make():
    return Runtime(Settings.load(), agent=Agent(provider=ScriptedProvider(["made"])))

def fixed():
    return RuntimeKernel(agent=Agent(provider=ScriptedProvider(["made"])), storage="sqlite:///fixed.db")
"""


async def test_an_application_is_made_by_an_async_factory_on_the_database_that_is_named(
    cli: CommandLine,
) -> None:
    (cli.folder / "obedient.py").write_text(OBEDIENT)
    made = await cli.run("run", "--app", "obedient:make", "--db", "chosen.db", "hi")
    assert (made.code, made.out) == (0, "made\n"), made.err
    job = job_of(made)
    shown = (await cli.run("jobs", "show", job, "--db", "chosen.db", "--json")).json
    assert shown["status"] == "succeeded"
    again = await cli.run("jobs", "resume", job, "--app", "obedient:make", "--db", "chosen.db")
    assert (again.code, again.out) == (0, "made\n"), again.err

    same = await cli.run("run", "--app", "obedient:fixed", "--db", "fixed.db", "hi")
    assert (same.code, same.out) == (0, "made\n"), same.err
    other = await cli.run("run", "--app", "obedient:fixed", "--db", "chosen.db", "hi")
    assert (other.code, "leave --db away" in other.err) == (2, True), other.err


async def test_an_application_of_the_settings_can_be_switched_off(cli: CommandLine) -> None:
    cli.environment["AGENT_RUNTIME_APP"] = "nowhere:kernel"
    async with LoopbackServer(TEXT) as server:
        assert "cannot be imported" in (await cli.run("run", "hi")).err
        ended = await cli.run("run", *on(server), "--app", "", "hi")
    assert ended.code == 0, ended.err


async def test_a_run_is_of_a_scope_and_a_person_and_obeys_a_policy(cli: CommandLine) -> None:
    (cli.folder / "policy.yaml").write_text(
        "rules: [{name: not ann, model: '*', decision: deny, reason: no more of it, when: {principals: ann}}]"
    )
    cli.environment["AGENT_RUNTIME_SCOPE"] = "shop"
    async with LoopbackServer(TEXT, TEXT) as server:
        bob = await cli.run("run", *on(server), "--policy", "policy.yaml", "--principal", "bob", "hi")
        ann = await cli.run("run", *on(server), "--policy", "policy.yaml", "--principal", "ann", "hi")
    assert (bob.code, ann.code) == (0, 4), ann.err
    assert "no more of it" in ann.err
    job = (await cli.run("jobs", "show", job_of(bob), "--json")).json
    assert (job["scope_id"], job["principal_id"]) == ("shop", "bob")


async def test_settings_come_from_the_file_in_the_folder(cli: CommandLine) -> None:
    async with LoopbackServer(TEXT) as server:
        text = f'storage = "sqlite:///here.db"\nmodel = "openai:gpt-5.2"\nbase_url = "{server.url}/v1"\n'
        (cli.folder / "agent-runtime.toml").write_text(text)
        await cli.run("trust")
        ended = await cli.run("run", "hi")

    assert (ended.code, ended.out) == (0, f"{ANSWER}\n"), ended.err
    assert (cli.folder / "here.db").exists()
    assert len((await cli.run("jobs", "list", "--db", "here.db", "--json")).json) == 1


async def test_jobs_are_listed_page_by_page(cli: CommandLine) -> None:
    async with LoopbackServer(TEXT) as server:
        for number in range(3):
            await cli.run("run", *on(server), str(number))

    page = (await cli.run("jobs", "list", "--limit", "2", "--json")).json
    rest = (await cli.run("jobs", "list", "--before", page[-1]["job_id"], "--json")).json
    assert len(page) == 2
    assert len({job["job_id"] for job in [*page, *rest]}) == 3
    assert (await cli.run("jobs", "list", "--status", "failed", "--json")).json == []


async def test_which_settings_are_used_is_said_where_code_runs_and_what_does_not_count_once_everywhere(
    cli: CommandLine,
) -> None:
    (cli.folder / "agent-runtime.toml").write_text("max_events = 5000\n")
    assert (await cli.run("jobs", "list")).err == ""
    assert f"from the environment and {cli.folder}/agent-runtime.toml" in (await cli.run("doctor")).out
    async with LoopbackServer(TEXT) as server:
        ended = await cli.run("run", *on(server), "hi")
    assert f"agent-runtime: settings from {cli.folder}/agent-runtime.toml\n" in ended.err
    (cli.folder / "agent-runtime.toml").write_text('storage = "sqlite:///here.db"\n')
    for command in (("jobs", "list"), ("doctor",)):
        assert (await cli.run(*command)).err.count("but not storage") == 1
    async with LoopbackServer(TEXT) as server:
        assert (await cli.run("run", *on(server), "hi")).err.count("but not storage") == 1
    assert not (cli.folder / "here.db").exists()
