"""`agent-runtime prune`, on a SQLite file with jobs in it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent_runtime import (
    ContentPruned,
    ExecutionContext,
    ExecutionRequest,
    JobFilter,
    Ledger,
    OperatorContext,
)
from agent_runtime.cli.commands.jobs import jobs
from agent_runtime.cli.commands.prune import prune
from agent_runtime.errors import ExecutorBusy, StorageError
from agent_runtime.kernel.stores import StorageView
from agent_runtime.observability import LLMCallLogger, LogStore, create_llm_logger
from agent_runtime.storage.sqlite import SQLiteStorage
from agent_runtime.storage.sqlite.executor_lock import ExecutorLock
from support.call_logs import call_record
from support.kernels import kernel

SIZE = 400_000


async def large(context: OperatorContext, given: str) -> str:
    """Return something large, and not compressible away."""
    return await context.step(str, given, effect="read")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"

    async def fill() -> None:
        storage = SQLiteStorage(path)
        async with kernel(storage, operators=[large]) as k:
            for number in range(3):
                text = "".join(chr(0x4E00 + (n * 7919 + number) % 20000) for n in range(SIZE // 3))
                await (await k.execute(ExecutionRequest(operator="large", input=text))).result()
        await storage.aclose()

    asyncio.run(fill())
    return path


def run(command: Any, *arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=True)


async def ask(path: Path) -> Any:
    """Ask for the result of the newest job."""
    storage = SQLiteStorage(path)
    try:
        async with kernel(storage, worker=False) as k:
            (job, *_) = await k.jobs.list(JobFilter(limit=1))
            return await k.handle(job.job_id).result()
    finally:
        await storage.aclose()


def test_content_is_deleted_and_says_so_when_it_is_asked_for(database: Path) -> None:
    assert len(asyncio.run(ask(database)).content) == SIZE // 3
    assert run(prune, "--content-older-than", "30d", "--db", database).output == "content of 0 jobs deleted\n"
    assert run(prune, "--content-older-than", "0", "--db", database).output == "content of 3 jobs deleted\n"
    with pytest.raises(ContentPruned, match="its events and its cost are kept"):
        asyncio.run(ask(database))
    listed = run(jobs, "list", "--db", database)
    job_id = next(word for word in listed.output.split() if word.startswith("job-"))
    shown = run(jobs, "show", job_id, "--db", database)
    assert (listed.exit_code, shown.exit_code) == (0, 0), shown.exception
    assert "succeeded" in shown.output
    assert run(prune, "--older-than", "0", "--db", database).output == "3 jobs deleted\n"


@pytest.mark.parametrize("option", ["--older-than", "--content-older-than"])
def test_texts_in_the_logs_go_with_those_of_the_jobs_and_rows_stay(
    database: Path, tmp_path: Path, option: str
) -> None:
    async def log_it() -> None:
        storage = SQLiteStorage(database)
        logger = LLMCallLogger(storage)
        async with logger.log_llm_call("openai", "gpt-5.2", "a question") as call:
            call.response = "an answer"
        await logger.aclose()
        await storage.aclose()
        files = create_llm_logger(run_id="run", output_dir=tmp_path / "calls")
        files.record(call_record())
        await files.flush_async()

    async def left() -> list[str | None]:
        storage = SQLiteStorage(database)
        store = LogStore(storage)
        (row,) = await store.llm_calls()
        call = await store.llm_call(row.id)
        await store.aclose()
        await storage.aclose()
        assert call is not None
        return [call.prompt, call.response]

    asyncio.run(log_it())
    folder = ("--call-logs", str(tmp_path / "calls"))
    assert "logs" not in run(prune, option, "30d", "--db", database).output
    assert asyncio.run(left()) == ["a question", "an answer"]
    told = run(prune, option, "0", *folder, "--db", database).output
    assert told.endswith("content deleted in rows of logs: 1\ncontent deleted in files of call logs: 1\n")
    assert asyncio.run(left()) == [None, None]
    refused = run(prune, *folder, "--vacuum", "--db", database)
    assert (refused.exit_code, "--call-logs goes with" in refused.output) == (2, True)


def test_the_space_of_what_was_deleted_is_given_back(database: Path) -> None:
    told = run(prune, "--content-older-than", "0", "--vacuum", "--db", database)
    assert told.exception is None, told.exception
    assert "content of 3 jobs deleted\n" in told.output
    assert database.stat().st_size < SIZE * 1.5
    lock = ExecutorLock(database)
    assert lock.acquire()
    lock.release()


def test_a_file_whose_jobs_are_being_executed_is_not_written_anew(database: Path) -> None:
    lock = ExecutorLock(database)
    assert lock.acquire()
    assert isinstance(run(prune, "--vacuum", "--db", database).exception, ExecutorBusy)
    lock.release()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say what to delete"),
        (["--older-than", "-1"], "no number of days"),
        (["--older-than", "soon"], "no number of days"),
        (["--older-than", "nan"], "no number of days"),
        (["--content-older-than", "1e99"], "no number of days"),
    ],
)
def test_nothing_is_deleted_unless_it_is_said_what(arguments: list[str], words: str, database: Path) -> None:
    refused = run(prune, *arguments, "--db", database)
    assert (refused.exit_code, words in refused.output) == (2, True), refused.output


def test_only_sqlite_files_are_written_anew() -> None:
    refused = run(prune, "--vacuum", "--db", "postgresql://somewhere/runs")
    assert (refused.exit_code, "Postgres uses the space" in refused.output) == (2, True)


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert isinstance(run(prune, "--vacuum", "--db", tmp_path / "no.db").exception, StorageError)
    assert not (tmp_path / "no.db").exists()


def test_what_stands_beside_jobs_is_forgotten_when_it_is_asked_for(database: Path) -> None:
    async def fill() -> None:
        storage = SQLiteStorage(database)
        await storage.open()
        ledger = Ledger(StorageView(storage))
        for number in range(3):
            await ledger.record_tool_usage(ExecutionContext(scope_id="a"), f"t{number}", cost="0.1")
        await storage.aclose()

    asyncio.run(fill())
    kept = run(prune, "--db", database, "--ledger-older-than", "1d")
    assert kept.output == "0 ledger entries deleted\n"
    everything = ("--ledger-older-than", "0", "--actions-older-than", "0", "--policies-older-than", "0")
    done = run(prune, "--db", database, *everything)
    assert done.output == "3 ledger entries deleted\n0 questions deleted\n0 versions of policies deleted\n"
