"""The report on disk."""

from datetime import UTC, datetime
from pathlib import Path

from agent_runtime.demo.report import Finding, render, write

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_metadata_cannot_break_out_of_its_cell() -> None:
    evil = Finding(licence="a | b\n# c <script>", category="unknown", verdict="open", packages=["p"])

    text = render("Fine.", [evil], job_id="job-1", operation_id="op-1", at=AT)

    (row,) = [line for line in text.splitlines() if "| p |" in line]
    assert row == "| a \\| b # c &lt;script> | unknown | p | still to be decided | – |"


def test_the_same_report_again_changes_nothing_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.md"
    first = write(path, "text")
    inode = path.stat().st_ino

    assert write(path, "text") == first
    assert path.stat().st_ino == inode
    assert write(path, "other").sha256 != first.sha256
    assert path.read_text() == "other"
    assert [entry.name for entry in path.parent.iterdir()] == ["report.md"]


def test_a_failed_write_leaves_the_old_report_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    path.mkdir()  # cannot be replaced by a file

    try:
        write(path, "text")
    except OSError:
        assert [entry.name for entry in tmp_path.iterdir()] == ["report.md"]
    else:
        raise AssertionError("a folder was replaced by a file")
