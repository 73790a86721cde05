"""Files of calls that erased jobs have made are deleted, and no other."""

import os
from pathlib import Path

import pytest

from agent_runtime import ErasedSubject
from agent_runtime.observability import ErasedCallLogs, create_llm_logger
from agent_runtime.testing.examples import NOW
from support.call_logs import call_record, summary_of


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


async def test_links_and_what_is_no_call_stay(tmp_path: Path) -> None:
    target = tmp_path / "notes.yaml"
    target.write_text("job_id: job-1\n")
    (tmp_path / "call_001_x.yaml").symlink_to(target)
    (tmp_path / "call_002_x.txt").write_text("job_id: job-1\n")
    os.mkfifo(tmp_path / "call_003_x.yaml")  # read, it would be waited for without an end
    subject = ErasedSubject(scope_id="default", job_ids=["job-1"], pseudonym="p", at=NOW)
    assert await ErasedCallLogs([tmp_path]).erase(subject) == 0
    assert target.exists()
