"""Bad input gets one clear sentence and an exit code, and loses nothing."""

import asyncio
import sqlite3
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from agent_runtime.observability import ExecutionLogger, LogStore
from support.cli import CommandLine, Ended, bound_by_permissions
from support.commands import Commands
from support.loopback import LoopbackServer, Reply, json_reply, sse_reply
from support.wire import openai_chat

ANSWER = json_reply(openai_chat.TEXT)
MODEL = ("--model", "openai:gpt-5.2")


def check_one_sentence(ended: Ended, code: int, *words: str) -> None:
    """Check the exit code, and that standard error ends in one sentence with these words and holds no traceback."""
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    last = ended.err.rstrip("\n").splitlines()[-1]
    assert last.startswith(("agent-runtime: ", "Error: ")), ended.err
    for word in words:
        assert word in last, ended.err


USAGE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "unknown vendor": (("run", "--model", "opnai:gpt-5.2", "hi"), ("did you mean 'openai'?",)),
    "no vendor": (("run", "--model", "gpt-5.2", "hi"), ("vendor:model",)),
    "no model": (("run", "hi"), ("--model", "AGENT_RUNTIME_MODEL")),
    "no address": (("run", *MODEL, "--base-url", "localhost:8000", "hi"), ("is not an address",)),
    "no such module": (("run", *MODEL, "--tool", "nowhere:tool", "hi"), ("nowhere", "cannot be imported")),
    "a module that fails": (("run", *MODEL, "--tool", "broken:tool", "hi"), ("ZeroDivisionError",)),
    "no such function": (("run", *MODEL, "--tool", "json:nothing", "hi"), ("has no 'nothing'",)),
    "not a function": (("run", *MODEL, "--tool", "math:pi", "hi"), ("is a float, not a function",)),
    "no colon": (("run", *MODEL, "--tool", "math", "hi"), ("module:attribute",)),
    "a function no model can call": (
        ("run", *MODEL, "--tool", "os.path:join", "hi"),
        ("cannot be a parameter",),
    ),
    "two prompts": (("run", *MODEL, "hi", "--file", "x"), ("not both",)),
    "no such file": (("run", *MODEL, "--file", "x"), ("cannot be read", "No such file")),
    "empty prompt": (("run", *MODEL, " "), ("empty",)),
    "no money": (("run", *MODEL, "--max-cost", "much", "hi"), ("not an amount of dollars",)),
    "no app": (("run", "--app", "json:loads", "hi"), ("no factory",)),
    "another thing as app": (("run", "--app", "math:pi", "hi"), ("not a Runtime",)),
    "tool with an app": (("run", "--app", "math:pi", "--tool", "a:b", "hi"), ("--tool", "--app")),
    "unknown job": (("jobs", "show", "job-0"), ("no job 'job-0'",)),
    "unknown job to cancel": (("jobs", "cancel", "job-0"), ("no job 'job-0'",)),
    "unknown job to resume": (("jobs", "resume", "job-0"), ("no job 'job-0'",)),
    "unknown job to read": (("jobs", "result", "job-0"), ("no job 'job-0'",)),
    "an input that is not JSON": (("jobs", "submit", "op", "{"), ("not JSON",)),
    "two inputs": (("jobs", "submit", "op", "1", "--prompt", "x"), ("once",)),
    "no such input": (("jobs", "submit", "op", "--file", "x"), ("input cannot be read", "No such file")),
    "a tag without a value": (("jobs", "submit", "op", "1", "--tag", "team"), ("NAME=VALUE",)),
    "an operator that is no name": (("jobs", "submit", "a\nb", "1"), ("operator",)),
    "a time that is none": (("jobs", "list", "--since", "monday"), ("is no time", "12h")),
    "a year that is none": (("jobs", "list", "--since", "999999d"), ("is no time",)),
    "unknown action": (("actions", "resolve", "act-0", "--approve"), ("no action 'act-0'",)),
    "no answer": (("actions", "resolve", "act-0"), ("give one answer",)),
    "two answers": (("actions", "resolve", "act-0", "--approve", "--choice", "a"), ("give one answer",)),
    "an answer that is not JSON": (("actions", "resolve", "act-0", "--json", "{"), ("not JSON",)),
    "unknown command": (("runn",), ("No such command 'runn'",)),
    "unknown storage": (("jobs", "list", "--db", "mysql://x"), ("mysql",)),
    "a database without a name": (("jobs", "list", "--db", ""), ("names no file",)),
    "the root as a database": (("doctor", "--db", "/"), ("names no file",)),
    "an address with a bracket": (("jobs", "list", "--db", "postgresql://u:se[c@h/x"), ("not a URL", "%5B")),
    "a port that is none": (("jobs", "list", "--db", "postgresql://u:secret@h:99999/x"), ("port", "65535")),
    "a model's address with a bracket": (("run", *MODEL, "--base-url", "http://[x", "hi"), ("not a URL",)),
    "an age before all dates": (("prune", "--older-than", "800000d"), ("--older-than", "no number of days")),
    "no age": (("prune", "--content-older-than", "nan"), ("no number of days",)),
    "more tokens than there are": (("run", *MODEL, "--max-tokens", "9" * 23, "hi"), ("max_tokens",)),
    "more dollars than there are": (("run", *MODEL, "--max-cost", "1e30", "hi"), ("max_cost",)),
    "a deadline that is no number": (("run", *MODEL, "--deadline", "nan", "hi"), ("deadline_seconds",)),
    "a deadline after all dates": (("run", *MODEL, "--deadline", "1e300", "hi"), ("deadline_seconds",)),
    "unknown revision": (("migrate", "--to", "9999"), ("no schema '9999'", "base, 0004")),
    "no policy": (("run", *MODEL, "--policy", "none.yaml", "hi"), ("none.yaml", "cannot be read")),
    "a policy for an application": (
        ("run", "--app", "math:pi", "--policy", "x", "hi"),
        ("--policy", "--app"),
    ),
    "an empty scope": (("run", *MODEL, "--scope", "", "hi"), ("'scope'", "is empty")),
}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    cli = CommandLine(tmp_path_factory.mktemp("usage"), OPENAI_API_KEY="k")
    (cli.folder / "broken.py").write_text("1 / 0\n")
    with Commands(cli, {}) as commands:
        yield commands


@pytest.mark.xdist_group("wrong usage")
@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_is_explained_and_leaves_no_job(commands: Commands, tmp_path: Path, case: str) -> None:
    arguments, words = USAGE[case]

    ended = commands.run(*arguments, XDG_DATA_HOME=str(tmp_path))

    check_one_sentence(Ended(**ended), 2, *words)
    assert jobs_in(tmp_path / "agent-runtime" / "runs.db") == 0


def jobs_in(path: Path) -> int:
    """Count the jobs of a database, none if it was never made."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM runtime_jobs").fetchone()[0])


async def test_a_setting_without_a_valid_value_is_named(cli: CommandLine) -> None:
    cli.environment["AGENT_RUNTIME_MAX_CONCURRENCY"] = "none"
    check_one_sentence(await cli.run("jobs", "list"), 2, "AGENT_RUNTIME_MAX_CONCURRENCY", "integer")
    del cli.environment["AGENT_RUNTIME_MAX_CONCURRENCY"]
    (cli.folder / "agent-runtime.toml").write_text("modle = 'x'\n")
    check_one_sentence(await cli.run("jobs", "list"), 2, "modle", "agent-runtime.toml")
    (cli.folder / "agent-runtime.toml").write_text("model = \n")
    check_one_sentence(await cli.run("jobs", "list"), 2, "agent-runtime.toml is not TOML")


@pytest.mark.parametrize("command", [("jobs", "list"), ("doctor",), ("worker",), ("migrate",)])
async def test_an_address_that_cannot_be_read_is_not_repeated(
    cli: CommandLine, command: tuple[str, ...]
) -> None:
    cli.environment["AGENT_RUNTIME_DATABASE_URL"] = "postgresql://u:sek[ret@h/x"
    ended = await cli.run(*command)
    check_one_sentence(ended, 2, "not a URL")
    assert "sek" not in ended.out + ended.err


async def test_an_empty_address_does_not_mean_the_users_own_database(cli: CommandLine) -> None:
    cli.environment["AGENT_RUNTIME_DATABASE_URL"] = ""
    check_one_sentence(await cli.run("jobs", "list"), 2, "AGENT_RUNTIME_DATABASE_URL", "is empty")
    assert not (cli.folder / "data").exists()


async def test_a_prompt_that_is_not_text_or_larger_than_a_job_may_be_is_refused(cli: CommandLine) -> None:
    check_one_sentence(await cli.run("run", *MODEL, given=b"\xff\xfe"), 2, "not UTF-8")
    check_one_sentence(await cli.run("run", *MODEL, given=b"x" * (32 * 2**20 + 1)), 2, "larger than")


async def test_a_prompt_of_ten_megabytes_arrives_whole(cli: CommandLine) -> None:
    prompt = "word " * 2_000_000
    (cli.folder / "long.txt").write_text(prompt)
    async with LoopbackServer(ANSWER) as server:
        ended = await cli.run("run", *MODEL, "--base-url", server.url, "--file", "long.txt")

    assert (ended.code, ended.out) == (0, f"{openai_chat.TEXT['choices'][0]['message']['content']}\n"), (
        ended.err
    )
    assert server.requests[0].json["messages"][0]["content"] == prompt


async def test_a_prompt_too_long_for_the_model_says_so(cli: CommandLine) -> None:
    error = {"message": "maximum context length is 128000 tokens", "code": "context_length_exceeded"}
    async with LoopbackServer(json_reply({"error": error}, status=400)) as server:
        ended = await cli.run("run", *MODEL, "--base-url", server.url, "hi")

    check_one_sentence(ended, 1, "maximum context length")
    assert len(server.requests) == 1


async def test_a_missing_key_is_named_before_there_is_a_job(cli: CommandLine) -> None:
    ended = await cli.run("run", *MODEL, "hi")

    check_one_sentence(ended, 2, "no API key for openai", "OPENAI_API_KEY")
    assert jobs_in(cli.folder / "data" / "agent-runtime" / "runs.db") == 0


FAULTS: dict[str, tuple[Reply, int, str]] = {
    "garbage": (
        Reply(pieces=(b"<html>hello</html>",), headers={"content-type": "text/html"}),
        1,
        "HTML page",
    ),
    "half a stream": (sse_reply('data: {"choices": [{"delta": {"content": "Hal'), 1, "stream"),
    "429": (json_reply({"error": {"message": "slow down"}}, status=429, retry_after="0"), 1, "slow down"),
    "500": (
        json_reply({"error": {"message": "out of order"}}, status=500, retry_after="0"),
        1,
        "out of order",
    ),
    "nothing": (Reply(pieces=("hang",), head=False), 4, "deadline"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_provider_that_fails_ends_the_job_with_every_request_on_the_bill(
    cli: CommandLine, fault: str
) -> None:
    reply, code, words = FAULTS[fault]
    deadline = "4" if fault == "nothing" else "30"
    async with LoopbackServer(reply) as server:
        ended = await cli.run("run", *MODEL, "--base-url", server.url, "--deadline", deadline, "hi")

    check_one_sentence(ended, code, words)
    (job,) = (await cli.run("jobs", "list", "--json")).json
    assert job["status"] == ("timed_out" if fault == "nothing" else "failed")
    types = [event["type"] for event in await cli.events(job["job_id"])]
    assert types[-1] == f"job.{job['status']}"
    (bill,) = (await cli.run("costs", "--json")).json
    assert bill["requests"] == len(server.requests) >= 1


async def test_a_server_that_is_not_there_is_named(cli: CommandLine) -> None:
    async with LoopbackServer(ANSWER) as server:
        address = server.url
    ended = await cli.run("run", *MODEL, "--base-url", address, "hi")

    check_one_sentence(ended, 1, address.removeprefix("http://"))


async def test_a_file_that_is_no_database_is_left_as_it_is(cli: CommandLine) -> None:
    cli.environment["OPENAI_API_KEY"] = "k"
    (cli.folder / "notes.txt").write_text("not a database, but mine\n" * 100)
    for command in (("run", *MODEL, "hi"), ("jobs", "list"), ("demo",)):
        check_one_sentence(
            await cli.run(*command, "--db", "notes.txt"), 3, "notes.txt", "not a usable SQLite database"
        )

    assert (cli.folder / "notes.txt").read_text() == "not a database, but mine\n" * 100


async def test_looking_at_another_programs_database_makes_no_tables_in_it(cli: CommandLine) -> None:
    with closing(sqlite3.connect(cli.folder / "app.db")) as db, db:
        db.execute("CREATE TABLE customers (name TEXT)")
    (cli.folder / "empty.db").touch()
    for command in (("logs", "list"), ("jobs", "list"), ("costs",), ("erase", "--principal", "ann", "--yes")):
        for name in ("app.db", "empty.db"):
            check_one_sentence(
                await cli.run(*command, "--db", name), 3, f"{name}' is no database of agent-runtime"
            )
    with closing(sqlite3.connect(cli.folder / "app.db")) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("customers",)]
    assert (cli.folder / "empty.db").stat().st_size == 0


async def test_logs_alone_are_shown_where_no_jobs_are(cli: CommandLine) -> None:
    engine = create_engine(f"sqlite:///{cli.folder / 'app.db'}")
    store = LogStore(engine)
    await store.create_tables()
    async with ExecutionLogger(engine).log_execution("planner", "plan"):
        pass
    engine.dispose()
    listed = await cli.run("logs", "list", "--db", "app.db")
    assert (listed.code, "planner" in listed.out, listed.err) == (0, True, "")
    check_one_sentence(await cli.run("jobs", "list", "--db", "app.db"), 3, "no jobs are kept in it")
    with closing(sqlite3.connect(cli.folder / "app.db")) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert not {name for name in names if name.startswith("runtime_")}


async def test_a_database_in_a_missing_folder_is_not_made(cli: CommandLine) -> None:
    cli.environment["OPENAI_API_KEY"] = "k"
    check_one_sentence(
        await cli.run("run", *MODEL, "hi", "--db", "no/such/runs.db"), 3, "does its folder exist"
    )
    check_one_sentence(await cli.run("jobs", "list", "--db", "runs.db"), 3, "there is no database 'runs.db'")

    assert not (cli.folder / "runs.db").exists()
    assert not (cli.folder / "no").exists()


async def test_a_database_of_a_newer_version_is_not_touched(cli: CommandLine) -> None:
    async with LoopbackServer(ANSWER) as server:
        await cli.run("run", *MODEL, "--base-url", server.url, "hi", "--db", "runs.db")
    with closing(sqlite3.connect(cli.folder / "runs.db")) as db, db:
        db.execute("UPDATE runtime_schema_version SET version_num = '9999'")

    check_one_sentence(await cli.run("jobs", "list", "--db", "runs.db"), 3, "'9999'", "upgrade agent-runtime")
    doctor = await cli.run("doctor", "--db", "runs.db")
    assert (doctor.code, "problem  database" in doctor.out) == (1, True)


async def test_a_read_only_database_is_said_to_be_one(cli: CommandLine) -> None:
    async with LoopbackServer(ANSWER) as server:
        await cli.run("run", *MODEL, "--base-url", server.url, "hi", "--db", "runs.db")
    before = (cli.folder / "runs.db").read_bytes()
    (cli.folder / "runs.db").chmod(0o444)
    cli.environment["OPENAI_API_KEY"] = "k"

    ended = await cli.run("run", *MODEL, "hi", "--db", "runs.db", **bound_by_permissions())

    check_one_sentence(ended, 3, "runs.db", "cannot be written")
    assert (cli.folder / "runs.db").read_bytes() == before


async def test_a_pipe_that_is_closed_early_causes_no_traceback(cli: CommandLine) -> None:
    command = f"{sys.executable} -m agent_runtime.cli doctor | head -n 1"
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, cwd=cli.folder, env=cli.environment, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()

    assert (process.returncode, err.decode()) == (0, "")
    assert out.decode().startswith("ok")
