"""Files of model calls, when processes are killed, end, fork or write side by side, and when the disk is full."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_runtime.observability import FileCallLogger
from support.call_logs import call_record, summary_of, written_calls

TESTS = Path(__file__).parents[1]


def child(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "support.logging_child", str(folder), *arguments]
    return subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True)


def finished(*processes: "subprocess.Popen[str]") -> None:
    for process in processes:
        assert process.stdout is not None
        assert process.wait(timeout=40) == 0
        process.stdout.close()


@pytest.mark.fault
@pytest.mark.parametrize("after", [1, 3, 7])
def test_a_killed_process_leaves_whole_files_alone_and_the_next_one_adds_them_up(
    after: int, tmp_path: Path
) -> None:
    processes = [child(tmp_path, "endless") for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        for _ in range(after):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
        process.stdout.close()

    folder = tmp_path / "run" / "llm_calls"
    before = written_calls(folder)
    assert len(before) >= 2 * (20 * (after - 1) + 1)  # what each had flushed before its last line
    assert all(call["raw_response"] == "x\n" * 2000 for call in before)
    assert summary_of(folder)["total_calls"] <= len(before)

    logger = FileCallLogger(tmp_path, "run")
    logger.record(call_record())
    logger.flush()
    assert len(written_calls(folder)) == summary_of(folder)["total_calls"] == len(before) + 1
    assert list(folder.glob(".*.tmp")) == []


@pytest.mark.fault
@pytest.mark.parametrize("how", ["count", "loop"])
def test_what_is_not_written_when_a_process_ends_is_written_then(how: str, tmp_path: Path) -> None:
    finished(child(tmp_path, how, "800"))
    folder = tmp_path / "run" / "llm_calls"
    assert summary_of(folder)["total_calls"] == len(written_calls(folder)) == 800


@pytest.mark.fault
def test_processes_that_write_side_by_side_lose_nothing(tmp_path: Path) -> None:
    finished(*[child(tmp_path, "count", "400") for _ in range(3)])
    folder = tmp_path / "run" / "llm_calls"
    numbers = sorted(int(path.name[5:].partition("_")[0]) for path in folder.glob("call_*"))
    assert numbers == list(range(1, 1201))
    assert summary_of(folder)["total_calls"] == 1200


@pytest.mark.fault
def test_a_fork_writes_its_own_and_leaves_its_parents_alone(tmp_path: Path) -> None:
    finished(child(tmp_path, "fork", "200"))
    folder = tmp_path / "run" / "llm_calls"
    assert summary_of(folder)["total_calls"] == len(written_calls(folder)) == 600


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("a small disk takes root, and the right to mount")
    yield disk
    with contextlib.suppress(subprocess.SubprocessError):
        subprocess.run(["umount", str(disk)], check=False, capture_output=True)


def test_a_full_disk_is_a_count(small_disk: Path) -> None:
    logger = FileCallLogger(small_disk, "run")
    for _ in range(100):
        logger.record(call_record(answer="x\n" * 5000))
        logger.flush()
    kept = written_calls(logger.path)
    assert 0 < len(kept) < 100
    (small_disk / "run" / "llm_calls" / "call_001_planner.yaml").unlink()
    logger.record(call_record())
    logger.flush()

    summary = summary_of(logger.path)
    assert summary["total_calls"] == len(kept) + 1
    assert summary["lost_calls"] == 100 - len(kept)
    assert list(logger.path.glob(".*.tmp")) == []
