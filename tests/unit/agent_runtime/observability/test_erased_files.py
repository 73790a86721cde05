"""Files of calls that erased jobs have made are deleted, and no other."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from agent_runtime import ErasedSubject
from agent_runtime.observability import ErasedCallLogs, create_llm_logger
from agent_runtime.testing.examples import NOW
from support.call_logs import WHEN, call_record, summary_of


@pytest.mark.parametrize("file_format", ["yaml", "json"])
@pytest.mark.parametrize("level", ["minimal", "full"])
async def test_the_files_of_erased_jobs_go_and_others_stay(
    tmp_path: Path, file_format: str, level: str
) -> None:
    log = create_llm_logger(run_id="run", output_dir=tmp_path, format=file_format, log_level=level)
    for number, job in enumerate(["job-1", None, "job-2", "job-10", "job-1"]):
        says = 'job_id: job-1\n  "job_id": "job-1"\njob_id: job-1'
        log.record(call_record(f"agent{number}", answer=says, job_id=job, context={"job_id": "job-1"}))
    await log.flush_async()
    (run,) = [path.parent for path in tmp_path.rglob("summary.yaml")]
    assert len(list(run.glob("call_*"))) == 5

    subject = ErasedSubject(scope_id="default", job_ids=["job-1", "job-3"], pseudonym="p", at=NOW)
    assert await ErasedCallLogs([tmp_path]).erase(subject) == 2
    assert await ErasedCallLogs([tmp_path]).erase(subject) == 0

    left = sorted(path.name.partition("_agent")[2][0] for path in run.glob("call_*"))
    assert left == ["1", "2", "3"]
    assert summary_of(run)["total_calls"] == 5


@pytest.mark.parametrize("file_format", ["yaml", "json"])
@pytest.mark.parametrize("level", ["minimal", "full"])
async def test_the_files_of_calls_that_began_long_ago_go(
    tmp_path: Path, file_format: str, level: str
) -> None:
    log = create_llm_logger(run_id="run", output_dir=tmp_path, format=file_format, log_level=level)
    says = 'timestamp: 2020-01-01T00:00:00+00:00\n  "timestamp": "2020-01-01T00:00:00+00:00"\n'
    for days in (3, 1, 0, 2):
        log.record(call_record(f"agent{days}", answer=says, started_at=WHEN - timedelta(days=days)))
    await log.flush_async()
    (run,) = [path.parent for path in tmp_path.rglob("summary.yaml")]
    assert await ErasedCallLogs([tmp_path]).prune_content(before=WHEN - timedelta(days=2)) == 1
    assert await ErasedCallLogs([run]).prune_content(before=WHEN) == 2
    assert await ErasedCallLogs([tmp_path]).prune_content(before=WHEN) == 0
    assert [path.name for path in run.glob("call_*")] == [f"call_003_agent0.{file_format}"]
    assert summary_of(run)["total_calls"] == 4


@pytest.mark.parametrize("file_format", ["yaml", "json"])
@pytest.mark.parametrize("field", ["agent_name", "model", "provider", "call_id", "request_id"])
async def test_no_name_is_so_long_that_a_file_stays(tmp_path: Path, file_format: str, field: str) -> None:
    long: dict[str, str] = {field: "y" * 30_000 + "\njob_id: job-2\ntimestamp: 2020-01-01T00:00:00+00:00\n"}
    log = create_llm_logger(run_id="run", output_dir=tmp_path, format=file_format)
    for job in ("job-1", "job-3", None):
        log.record(call_record(job_id=job, **long))
    await log.flush_async()
    for job, gone in (("job-2", 0), ("job-1", 1)):
        subject = ErasedSubject(scope_id="default", job_ids=[job], pseudonym="p", at=NOW)
        assert await ErasedCallLogs([tmp_path]).erase(subject) == gone
    assert await ErasedCallLogs([tmp_path]).prune_content(before=WHEN) == 0
    assert await ErasedCallLogs([tmp_path]).prune_content(before=WHEN + timedelta(seconds=1)) == 2


@pytest.mark.parametrize("said", ["no time", "2020-01-01T00:00:00", "2020-13-01T00:00:00+00:00", ""])
async def test_a_file_that_tells_no_time_stays(tmp_path: Path, said: str) -> None:
    (tmp_path / "call_001_x.yaml").write_text(f"timestamp: {said}\n")
    assert await ErasedCallLogs([tmp_path]).prune_content(before=NOW) == 0


async def test_links_and_what_is_no_call_stay(tmp_path: Path) -> None:
    target = tmp_path / "notes.yaml"
    target.write_text("job_id: job-1\n")
    (tmp_path / "call_001_x.yaml").symlink_to(target)
    (tmp_path / "call_002_x.txt").write_text("job_id: job-1\n")
    os.mkfifo(tmp_path / "call_003_x.yaml")  # read, it would be waited for without an end
    subject = ErasedSubject(scope_id="default", job_ids=["job-1"], pseudonym="p", at=NOW)
    assert await ErasedCallLogs([tmp_path]).erase(subject) == 0
    assert target.exists()
