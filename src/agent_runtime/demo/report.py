"""The report: what was found, as Markdown, written in one piece."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

Verdict = Literal["fine", "accepted", "rejected", "open"]

_VERDICTS: dict[Verdict, str] = {
    "fine": "nothing to decide",
    "accepted": "accepted",
    "rejected": "rejected",
    "open": "still to be decided",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Packages under one licence."""

    licence: str
    category: str
    verdict: Verdict
    packages: list[str] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A report on disk."""

    path: str
    sha256: str


def report_path(folder: Path, job_id: str) -> Path:
    """Return where the report of a job is written."""
    return folder / f"licence-audit-{job_id}.md"


def render(summary: str, findings: Sequence[Finding], *, job_id: str, operation_id: str, at: datetime) -> str:
    """Return the report's text."""
    decided = [finding for finding in findings if finding.verdict != "fine"]
    fine = [finding for finding in findings if finding.verdict == "fine"]
    count = sum(len(finding.packages) for finding in findings)
    lines = [
        "# Licence audit",
        "",
        summary.strip(),
        "",
        f"* packages: {count}",
        f"* Python: {platform.python_version()}",
        f"* time: {at.isoformat(timespec='seconds')}",
        f"* job: `{job_id}`",
        "",
        "## Licences that needed a decision",
        "",
        *(_table(decided) if decided else ["None."]),
        "",
        "## Licences without a question",
        "",
        *(_table(fine) if fine else ["None."]),
        "",
        f"<!-- operation: {operation_id} -->",
        "",
    ]
    return "\n".join(lines)


def _table(findings: Sequence[Finding]) -> list[str]:
    rows = [
        f"| {_cell(finding.licence)} | {_cell(finding.category)} | {', '.join(map(_cell, finding.packages))} "
        f"| {_VERDICTS[finding.verdict]} | {_cell(finding.note)} |"
        for finding in findings
    ]
    return ["| licence | category | packages | verdict | note |", "|---|---|---|---|---|", *rows]


def _cell(text: str) -> str:
    """Return text that cannot break out of a table's cell; package metadata is written by strangers."""
    flat = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return flat or "–"


def write(path: Path, text: str) -> Written:
    """Write a file so that nobody ever sees half of it. The same text again changes nothing."""
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != data:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    return Written(path=str(path), sha256=digest)
