"""`agent-runtime jobs`: submitting, finding, showing and reading jobs, on a SQLite file."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent_runtime import ActionSpec, ExecutionRequest, InvalidTransition, JobFailed, OperatorContext
from agent_runtime.cli.commands.actions import actions
from agent_runtime.cli.commands.jobs import jobs
from agent_runtime.storage.sqlite import SQLiteStorage
from agent_runtime.testing.examples import job
from support.kernels import kernel, status_becomes
from support.redaction_corpus import ALNUM, body

KEY = "ghp_" + body(ALNUM, 36)


async def priced(context: OperatorContext, given: Any) -> Any:
    return {"price": given["amount"]}


async def spoken(context: OperatorContext, given: Any) -> str:
    return f"it was {given}"


async def failing(context: OperatorContext, given: Any) -> Any:
    raise ValueError("no such thing")


async def waiting(context: OperatorContext, given: Any) -> Any:
    return await context.gather(context.receive("ada"), context.sleep(86_400), context.child("asking"))


async def asking(context: OperatorContext, given: Any) -> Any:
    return (await context.action(ActionSpec(type="input", payload={"message": "which colour?"}))).resolution


OPERATORS = [priced, spoken, failing, waiting, asking]


def run(*arguments: str | Path, group: Any = jobs, typed: str | None = None) -> Result:
    return CliRunner().invoke(group, [str(one) for one in arguments], input=typed, catch_exceptions=True)


def executed(path: Path, *requests: ExecutionRequest, until: str | None = None) -> list[str]:
    """Let a process run jobs, to their ends or to where they wait."""

    async def live() -> list[str]:
        storage, ids = SQLiteStorage(path), []
        async with kernel(storage, operators=OPERATORS) as k:
            for request in requests:
                handle = await k.execute(request)
                ids.append(handle.job_id)
                if until is not None:
                    await status_becomes(handle, until)
                elif request.operator == "failing":
                    with pytest.raises(JobFailed):
                        await handle.result()
                else:
                    await handle.result()
        await storage.aclose()
        return ids

    return asyncio.run(live())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


# -- submitting -------------------------------------------------------------------------------------------------------


def test_a_submitted_job_is_what_was_asked_for(path: Path) -> None:
    executed(path)
    asked = ("priced", '{"amount": 1.10}', "--scope", "acme", "--principal", "ann", "--tag", "team=a", "--tag", "n=1",
             "--key", "order-7", "--priority", "3", "--queue", "slow", "--max-cost", "2.50", "--deadline", "60", "--db", path)  # fmt: skip
    first = run("submit", *asked)
    assert first.exit_code == 0
    job_id = first.stdout.strip()
    assert "waits for a worker that knows 'priced'" in first.stderr
    assert run("submit", *asked).stdout.strip() == job_id  # its key is known
    told = json.loads(run("show", job_id, "--json", "--db", path).output)
    assert told["input"] == {"amount": 1.1}
    assert told["tags"] == {"team": "a", "n": "1"}
    assert told["budgets"] == {"max_cost": "2.50"}
    assert (told["scope_id"], told["principal_id"], told["idempotency_key"]) == ("acme", "ann", "order-7")
    assert (told["priority"], told["queue"], told["status"]) == (3, "slow", "queued")


def test_a_job_is_submitted_from_a_file_with_a_mark_or_from_standard_input(
    path: Path, tmp_path: Path
) -> None:
    executed(path)
    file = tmp_path / "input.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps({"amount": 12345678901234567890123}).encode())
    submitted = [
        run("submit", "priced", "--file", file, "--db", path),
        run("submit", "priced", "--file", "-", "--db", path, typed='"é"'),
    ]
    shown = [
        json.loads(run("show", each.stdout.strip(), "--json", "--db", path).output)["input"]
        for each in submitted
    ]
    assert shown == [{"amount": 12345678901234567890123}, "é"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{a}"], "not JSON"),
        (["1", "--prompt", "x"], "once"),
        (["1", "--tag", "team"], "NAME=VALUE"),
        (["1", "--tag", "a=1", "--tag", "a=2"], "each name once"),
        (["1", "--max-cost", "free"], "not an amount"),
        (["1", "--file", "nothing.json"], "once"),
        (["--file", "nothing.json"], "cannot be read"),
        (["1", "--scope", "a\nb"], "scope_id"),
    ],
)
def test_a_wrong_submission_makes_no_job(path: Path, arguments: Sequence[str], said: str) -> None:
    executed(path)
    refused = run("submit", "priced", *arguments, "--db", path)
    assert refused.exit_code != 0
    assert said in refused.output + str(refused.exception)
    assert run("list", "--db", path).output == "no jobs\n"


# -- reading ----------------------------------------------------------------------------------------------------------


def test_the_answer_is_printed_whoever_asks_for_it(path: Path) -> None:
    said, output = executed(
        path,
        ExecutionRequest(operator="spoken", input="blue"),
        ExecutionRequest(operator="priced", input={"amount": 3}),
    )
    assert run("result", said, "--db", path).stdout == "it was blue\n"
    assert run("result", output, "--db", path).stdout == '{"price": 3}\n'
    assert run("resume", said, "--db", path).stdout == "it was blue\n"
    told = json.loads(run("result", output, "--json", "--db", path).stdout)
    assert (told["status"], told["output"], told["cost"]) == ("succeeded", {"price": 3}, "0")


def test_a_job_without_an_answer_says_why(path: Path) -> None:
    (failed,) = executed(path, ExecutionRequest(operator="failing"))
    for command, error in (("result", JobFailed), ("resume", InvalidTransition)):
        refused = run(command, failed, "--db", path)
        assert isinstance(refused.exception, error)
        assert "no such thing" in str(refused.exception)
    waits = run("submit", "priced", "1", "--db", path).stdout.strip()
    early = run("result", waits, "--db", path)
    assert isinstance(early.exception, InvalidTransition)
    assert "has not ended: it is queued" in str(early.exception)


def test_a_job_shows_what_it_was_asked_gave_and_is_labelled_with(path: Path) -> None:
    request = ExecutionRequest(
        operator="priced",
        input={"amount": 3, "note": KEY},
        tags={"b": "2", "a": "1"},
        metadata={"why": "because"},
    )
    (job_id,) = executed(path, request)
    shown = run("show", job_id, "--db", path).output
    assert 'input: {"amount": 3, "note": "<REDACTED:' in shown
    assert 'result: {"price": 3}' in shown
    assert "tags: a=1, b=2\n" in shown
    assert 'metadata: {"why": "because"}' in shown
    assert "waits for" not in shown
    assert KEY not in shown


def test_a_long_input_is_cut_and_says_so(path: Path) -> None:
    (job_id,) = executed(path, ExecutionRequest(operator="spoken", input="word " * 1_000))
    shown = run("show", job_id, "--db", path).output
    assert "(5,000 characters; --json prints all of them)" in shown
    assert len(json.loads(run("show", job_id, "--json", "--db", path).output)["input"]) == 5_000


def test_a_job_says_what_it_waits_for(path: Path) -> None:
    (job_id,) = executed(path, ExecutionRequest(operator="waiting"), until="waiting")
    shown = run("show", job_id, "--db", path).output
    assert "waits for: a message to ada\n" in shown
    assert "waits for: the time 20" in shown
    (child,) = [
        each["job_id"]
        for each in json.loads(run("list", "--operator", "asking", "--json", "--db", path).output)
    ]
    assert f"waits for: the end of {child} (asking)\n" in shown
    assert "which colour?" in run("show", child, "--db", path).output
    listed = run("list", "--scope", "default", "--db", path, group=actions).output
    assert child in listed
    assert "expires" not in listed
    assert (
        run("list", "--scope", "another", "--db", path, group=actions).output
        == "nobody waits for an answer\n"
    )


# -- finding ----------------------------------------------------------------------------------------------------------


def test_jobs_are_found_by_whose_they_are_what_runs_them_their_tags_and_their_age(path: Path) -> None:
    async def fill() -> None:
        storage = SQLiteStorage(path)
        async with kernel(storage, worker=False) as k:
            await k.execute(ExecutionRequest(operator="priced", scope_id="acme", tags={"team": "a"}))
            await k.execute(ExecutionRequest(operator="spoken", tags={"team": "b=c"}))
            await k.jobs.add(
                job(job_id="job-0", operator="old", created_at=k.clock.now() - timedelta(days=2))
            )
        await storage.aclose()

    asyncio.run(fill())

    def found(*arguments: str) -> list[str]:
        return [
            each["operator"] for each in json.loads(run("list", *arguments, "--json", "--db", path).output)
        ]

    assert found() == ["spoken", "priced", "old"]
    assert found("--scope", "acme") == found("--tag", "team=a") == found("--operator", "priced") == ["priced"]
    assert found("--tag", "team=b=c") == ["spoken"]
    assert found("--since", "1d") == ["spoken", "priced"]
    assert found("--since", "3d", "--operator", "old") == ["old"]
    assert found("--since", "2099-01-01T00:00+02:00") == []
    assert "is no time" in run("list", "--since", "yesterday", "--db", path).output
    table = run("list", "--db", path).output.splitlines()
    assert table[0].split() == ["job", "status", "scope", "operator", "created"]
    assert "acme" in table[2]
