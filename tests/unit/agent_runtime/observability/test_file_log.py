"""The files of a run: what they hold at each level, their numbers, their summary, and what happens when they cannot be written."""

import asyncio
import logging
import os
import stat
import threading
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent_runtime.errors import ConfigurationError
from agent_runtime.observability import FileCallLogger, run_folder, writer
from llm_client import Usage
from support.call_logs import call_record, summary_of, written_calls
from support.redaction_corpus import SECRETS

TEXTS = ("You plan", "Plan a trip", "steps", "a trip", "no such key")


def logged(tmp_path: Path, *records: Any, **options: Any) -> FileCallLogger:
    logger = FileCallLogger(tmp_path, "run", **options)
    for record in records or (call_record(),):
        logger.record(record)
    logger.flush()
    return logger


def names(logger: FileCallLogger) -> list[str]:
    return sorted(path.name for path in logger.path.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("kind", ["yaml", "json"])
def test_a_call_is_a_file_with_what_was_asked_and_answered(tmp_path: Path, kind: Any) -> None:
    logger = logged(tmp_path, call_record(validated={"steps": []}), format=kind)

    assert names(logger) == [f"call_001_planner.{kind}", "summary.yaml"]
    (call,) = written_calls(logger.path)
    assert call["system_prompt"] == "You plan."
    assert call["user_prompt"] == "Plan a trip.\nBy train."
    assert call["raw_response"] == '{"steps": []}'
    assert call["validated_response"] == {"steps": []}
    assert (call["status"], call["success"], call["run_id"]) == ("succeeded", True, "run")
    assert (call["input_tokens"], call["prompt_tokens"], call["completion_tokens"]) == (100, 100, 20)
    assert call["timestamp"] == "2026-01-28T12:34:56.000+00:00"
    assert "request" not in call
    assert "context_full" not in call


def test_the_least_level_holds_no_text(tmp_path: Path) -> None:
    failed = call_record(status="failed", error_type="RateLimited", error="no such key", result=None)
    logger = logged(tmp_path, call_record(), failed, log_level="minimal")

    for call in written_calls(logger.path):
        assert call["tokens_used"] == 120
        assert call["duration_seconds"] == 0.25
        assert call["model"] == "gpt-5.2"
    content = "".join(path.read_text() for path in logger.path.iterdir())
    assert [text for text in TEXTS if text in content] == []
    assert written_calls(logger.path)[1]["error_type"] == "RateLimited"


def test_the_full_level_holds_requests_answers_and_the_context(tmp_path: Path) -> None:
    (call,) = written_calls(logged(tmp_path, log_level="full").path)

    assert call["context_full"] == {"goal": "a trip"}
    assert call["request"]["max_tokens"] == 100
    assert call["request"]["messages"][1] == {"role": "user", "content": "Plan a trip.\nBy train."}
    assert call["response"]["content"] == '{"steps": []}'


def test_the_summary_adds_up_what_the_files_say(tmp_path: Path) -> None:
    paid = Usage(input_tokens=10, output_tokens=5, requests=1, cost=Decimal("0.0125"))
    logger = logged(
        tmp_path,
        call_record(),
        call_record("judge", usage=paid),
        call_record("judge", usage=paid, status="failed", error_type="OutputInvalid", repair_attempts=1),
        call_record("judge", usage=None, status="cancelled"),
    )
    summary = summary_of(logger.path)

    assert names(logger) == [
        "call_001_planner.yaml", "call_002_judge.yaml", "call_003_judge.yaml", "call_004_judge.yaml", "summary.yaml",
    ]  # fmt: skip
    assert (summary["total_calls"], summary["successful_calls"]) == (4, 2)
    assert (summary["failed_calls"], summary["cancelled_calls"], summary["repair_calls"]) == (1, 1, 1)
    assert (summary["input_tokens"], summary["total_tokens"]) == (120, 150)
    assert (summary["cost"], summary["unpriced_calls"], summary["status"]) == ("0.0250", 1, "partial")
    assert summary["agents"]["judge"]["total_calls"] == 3
    assert summary["errors"] == [{"call": 3, "agent": "judge", "error_type": "OutputInvalid"}]
    assert (summary["last_call"], summary["lost_calls"]) == (4, 0)


def test_a_run_id_that_was_used_goes_on_with_its_numbers_and_its_sums(tmp_path: Path) -> None:
    logged(tmp_path)
    logger = logged(tmp_path, call_record("judge"), format="json")

    assert names(logger) == ["call_001_planner.yaml", "call_002_judge.json", "summary.yaml"]
    assert summary_of(logger.path)["total_calls"] == 2


def test_two_that_write_to_one_run_give_no_number_twice(tmp_path: Path) -> None:
    loggers = [FileCallLogger(tmp_path, "run") for _ in range(2)]
    for _ in range(20):
        for logger in loggers:
            logger.record(call_record())
        loggers[0].flush()

    assert len(written_calls(loggers[0].path)) == 40
    assert summary_of(loggers[0].path)["total_calls"] == 40
    assert summary_of(loggers[0].path)["input_tokens"] == 4000


def test_what_a_dead_process_wrote_and_did_not_add_up_is_added_up(tmp_path: Path) -> None:
    logger = logged(tmp_path, call_record(), call_record())
    early = (logger.path / "summary.yaml").read_bytes()
    logged(tmp_path, call_record(status="failed"), call_record())
    (logger.path / "summary.yaml").write_bytes(early)  # as if it had died between its files and the summary
    (logger.path / ".call_004_planner.yaml.tmp").write_text("half")
    (logger.path / "call_004_planner.yaml").unlink()  # and before its last file
    logged(tmp_path, call_record())

    assert [int(name[5:8]) for name in names(logger)[:-1]] == [1, 2, 3, 5]
    summary = summary_of(logger.path)
    assert (summary["total_calls"], summary["failed_calls"], summary["last_call"]) == (4, 1, 5)
    assert list(logger.path.glob(".*.tmp")) == []


BOMB = "\n".join(
    ["errors:", "- &a [x, x, x, x, x, x, x, x]"]
    + [f"- &{new} [{', '.join([f'*{old}'] * 8)}]" for old, new in pairwise("abcdefghijkl")]
)
FOREIGN = {
    "nested": f"last_call: 1\ntotal_calls: 1\n{BOMB}\nagents: {{planner: {{x: *l}}, 7: *l}}\n",
    "numbers": f"total_calls: 0x{'f' * 9999}\nlast_call: 1\ntotal_duration_seconds: 0x{'f' * 9999}\ncost: 9e999999\n",
    "long": "x: " + "[" * 1_000_000,
    "none": "- 1\n",
}


@pytest.mark.parametrize("kind", ["yaml", "json"])
@pytest.mark.parametrize("held", FOREIGN.values(), ids=FOREIGN)
def test_what_others_have_put_into_the_folder_costs_nothing(held: str, kind: Any, tmp_path: Path) -> None:
    """A link to /dev/zero was read for ever, nested aliases written out without end, by the one thread for all logs of the process."""
    folder = tmp_path / "run" / "llm_calls"
    folder.mkdir(parents=True)
    (folder / run_folder.NUMBERS).write_text(f"{2:020}\n")
    (folder / "summary.yaml").write_text(held)
    (folder / "call_002_x.yaml").write_text(
        f"agent_name: &a [x]\n{BOMB}\ncost: *a\ncost: {{}}\nerror_type: [*a]\n"
    )
    logger = logged(tmp_path, format=kind)
    assert (
        summary_of(logger.path)["last_call"],
        summary_of(logger.path)["agents"]["planner"]["total_calls"],
    ) == (3, 1)
    assert len((folder / "summary.yaml").read_text()) < 2_000


@pytest.mark.parametrize("name", ["summary.yaml", "call_001_x.yaml"])
@pytest.mark.parametrize("place", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_what_is_no_file_in_the_folder_is_not_read(place: Any, name: str, tmp_path: Path) -> None:
    """Nobody writes into a pipe, so who opened it waited for ever."""
    folder = tmp_path / "run" / "llm_calls"
    folder.mkdir(parents=True)
    (folder / run_folder.NUMBERS).write_text(f"{1:020}\n")
    place(folder / name)
    logger = logged(tmp_path)
    assert (logger.path / "call_002_planner.yaml").exists()


def test_the_numbers_go_on_when_their_file_is_gone(tmp_path: Path) -> None:
    logger = logged(tmp_path, call_record(), call_record())
    (logger.path / run_folder.NUMBERS).unlink()
    logged(tmp_path)

    assert len(written_calls(logger.path)) == 3


def test_a_record_that_cannot_be_read_costs_no_other_one(tmp_path: Path) -> None:
    logger = logged(tmp_path, call_record(), call_record(agent_name=None), call_record())

    assert len(written_calls(logger.path)) == 2
    summary = summary_of(logger.path)
    assert (summary["total_calls"], summary["lost_calls"]) == (2, 1)


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    logger = logged(tmp_path)
    for path in [*logger.path.iterdir(), logger.path, logger.path.parent]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    logger = logged(tmp_path)
    for path in logger.path.iterdir():
        path.unlink()
    logger.path.rmdir()
    logger.record(call_record())
    logger.flush()

    assert names(logger) == ["call_001_planner.yaml", "summary.yaml"]


def test_a_place_that_cannot_be_written_is_a_warning_and_a_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").write_text("a file is in the way")
    logger = FileCallLogger(tmp_path, "run")
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            logger.record(call_record())
            logger.flush()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1, "once a minute"
    assert "model calls cannot be written" in told[0]

    (tmp_path / "run").unlink()
    logger.record(call_record())
    logger.flush()
    assert (summary_of(logger.path)["total_calls"], summary_of(logger.path)["lost_calls"]) == (1, 5)


def test_a_full_disk_loses_calls_and_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logged(tmp_path)
    real, full = os.write, threading.Event()

    def write(file: int, data: Any) -> int:
        if full.is_set():
            real(file, bytes(data)[:10])
            raise OSError(28, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(run_folder.os, "write", write)
    full.set()
    logger.record(call_record())
    logger.flush()
    assert names(logger) == ["call_001_planner.yaml", "summary.yaml"]
    assert list(logger.path.glob("*.tmp")) == []
    assert summary_of(logger.path)["total_calls"] == 1
    full.clear()
    logger.record(call_record())
    logger.flush()

    summary = summary_of(logger.path)
    assert (summary["total_calls"], summary["lost_calls"]) == (2, 1)
    assert names(logger) == ["call_001_planner.yaml", "call_003_planner.yaml", "summary.yaml"]


def test_what_comes_faster_than_it_is_written_loses_its_texts_and_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logger, gate, began = FileCallLogger(tmp_path, "run"), threading.Event(), threading.Event()
    real = logger.write

    def slow(records: Any) -> None:
        began.set()
        gate.wait(10)
        real(records)

    monkeypatch.setattr(logger, "write", slow)
    logger.record(call_record())
    assert began.wait(10)
    monkeypatch.setattr(writer, "MAX_PENDING_BYTES", writer.WRITER.pending_bytes + 100_000)
    for _ in range(20):
        logger.record(call_record(answer="x" * 10_000))
    gate.set()
    logger.flush()

    summary = summary_of(logger.path)
    assert (summary["total_calls"], summary["lost_calls"]) == (21, 0)
    assert 5 < summary["calls_without_content"] < 18
    dropped = [call for call in written_calls(logger.path) if call.get("content_dropped")]
    assert len(dropped) == summary["calls_without_content"]
    assert all("raw_response" not in call and call["input_tokens"] == 100 for call in dropped)
    assert sum("their texts are left out" in record.getMessage() for record in caplog.records) == 1


def test_of_what_many_threads_hand_over_at_once_no_call_is_lost(tmp_path: Path) -> None:
    """`benchmarks/logging/run_many.py` does it with 100,000."""
    loggers = [FileCallLogger(tmp_path, "run") for _ in range(2)]  # as two parts of a program have them

    def hand_over(number: int) -> None:
        for call in range(100):
            loggers[number % 2].record(call_record(f"agent-{number}", answer=f"{number}/{call}"))

    threads = [threading.Thread(target=hand_over, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loggers[0].flush()

    calls = written_calls(loggers[0].path)
    assert {call["raw_response"] for call in calls} == {
        f"{n}/{call}" for n in range(8) for call in range(100)
    }
    summary = summary_of(loggers[0].path)
    assert (len(calls), summary["total_calls"], summary["last_call"]) == (800, 800, 800)
    assert (summary["lost_calls"], summary["calls_without_content"]) == (0, 0)


async def test_the_loop_may_wait_for_the_files_and_is_told_how(tmp_path: Path) -> None:
    logger = FileCallLogger(tmp_path, "run")
    for _ in range(100):
        logger.record(call_record())
    with pytest.raises(ConfigurationError, match=r"await logger\.flush_async"):
        logger.flush()
    await logger.flush_async()
    assert await asyncio.to_thread(lambda: len(written_calls(logger.path))) == 100
    await logger.room()


def test_a_process_that_has_no_thread_to_spare_loses_calls_and_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = writer.BackgroundWriter()
    monkeypatch.setattr("agent_runtime.observability.file_log.WRITER", fresh)
    logger = FileCallLogger(tmp_path, "run")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _no_thread)
        logger.record(call_record())
        logger.flush()
    logger.record(call_record())
    logger.flush()
    assert (summary_of(logger.path)["total_calls"], summary_of(logger.path)["lost_calls"]) == (1, 1)


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


async def test_who_waits_for_room_loses_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_PENDING_BYTES", 200_000)
    logger = FileCallLogger(tmp_path, "run")

    async def one() -> None:
        await logger.room()
        logger.record(call_record(answer="x" * 5_000))

    await asyncio.gather(*(one() for _ in range(300)))
    await logger.flush_async()
    summary = await asyncio.to_thread(summary_of, logger.path)
    assert (summary["total_calls"], summary["calls_without_content"], summary["lost_calls"]) == (300, 0, 0)


@pytest.mark.parametrize("kind", ["yaml", "json"])
def test_no_secret_reaches_a_file(tmp_path: Path, kind: Any) -> None:
    secrets = list(SECRETS.values())
    records = [
        call_record(
            answer=f'{{"text": "found {secret} there"}}',
            context={"nested": [[{"text": f"see {secret} here"}]], "api_key": secret},
            error=f"refused: {secret}",
            conversation_id="c1",
        )
        for secret in secrets
    ]
    logger = logged(tmp_path, *records, log_level="full", format=kind)

    content = "".join(path.read_text() for path in logger.path.iterdir())
    left = [name for name, secret in SECRETS.items() if "\n" not in secret and secret in content]
    assert left == []
    lines = [line for secret in secrets if "\n" in secret for line in secret.splitlines()[1:-1]]
    assert [line for line in lines if line and line in content] == []
    assert "<REDACTED:" in content


def test_what_identifies_and_counts_is_not_taken_for_a_secret(tmp_path: Path) -> None:
    logger = FileCallLogger(tmp_path, "run_20260128_123456")
    logger.record(
        call_record(conversation_id="planner_iter0_1a2b3c4d", request_id="req_011CSHoEeqs5C35K2UUqR7Fy")
    )
    logger.flush()
    (call,) = written_calls(logger.path)

    assert "<REDACTED" not in str(call)
    assert call["run_id"] == "run_20260128_123456"


def test_secrets_stay_when_nobody_wants_them_out(tmp_path: Path) -> None:
    secret = SECRETS["openai legacy"]
    (call,) = written_calls(logged(tmp_path, call_record(answer=secret), sanitize=False).path)
    assert call["raw_response"] == secret
