"""Taking calls out of folders of call logs: those of erased jobs, and those of long ago."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from agent_runtime.ports.erasure import ErasedSubject
from llm_client.private_files import bounded_content

_JOB: Final = {
    ".yaml": re.compile(rb'^job_id: ["\']?([^\s"\']++)', re.MULTILINE),
    ".json": re.compile(rb'^  "job_id": "([^"]++)"', re.MULTILINE),
}
"""The job of a call, by the file's format. What a model or a person has said stands deeper, or on a line with its name."""
_TIME: Final = {
    ".yaml": re.compile(rb'^timestamp: ["\']?([0-9T:.+-]{10,40})', re.MULTILINE),
    ".json": re.compile(rb'^  "timestamp": "([0-9T:.+-]{10,40})"', re.MULTILINE),
}
"""When a call began."""
_HEAD: Final = 8192
"""Bytes; the facts of most calls take less."""
_MOST: Final = 16 * 1024 * 1024
"""Bytes in which they are looked for when they are not there: a name of somebody's may be long."""


class ErasedCallLogs:
    """Deletes the files of calls that erased jobs have made, or that began long ago. What summaries add up stays: numbers, and names of agents.

    An `Eraser`.

    Args:
        folders: Where runs are logged, or folders of single runs.
    """

    name = "files of call logs"
    tables: frozenset[str] = frozenset()

    def __init__(self, folders: Sequence[str | Path]) -> None:
        self._folders = [Path(folder) for folder in folders]

    async def erase(self, subject: ErasedSubject) -> int:
        """Delete the files of jobs; return how many. Raises `OSError` when one cannot be deleted."""
        jobs = {job_id.encode() for job_id in subject.job_ids}

        def is_meant(path: Path) -> bool:
            job_id = _found(_JOB, path)
            return job_id is not None and job_id in jobs

        return await asyncio.to_thread(self._delete, is_meant) if jobs else 0

    async def prune_content(self, *, before: datetime) -> int:
        """Delete the files of calls that began before a moment; return how many. Raises `OSError` when one cannot be deleted."""

        def is_meant(path: Path) -> bool:
            began = _found(_TIME, path)
            return began is not None and _is_before(began.decode(), before)

        return await asyncio.to_thread(self._delete, is_meant)

    def _delete(self, is_meant: Callable[[Path], bool]) -> int:
        count = 0
        for path in self._calls():
            if is_meant(path):
                path.unlink(missing_ok=True)
                count += 1
        return count

    def _calls(self) -> Iterator[Path]:
        for folder in self._folders:
            for place, _, names in os.walk(folder):
                for name in names:
                    path = Path(place, name)
                    # Where anybody may write, a pipe may have the name of a file, and would be read without an end.
                    is_file = path.is_file() and not path.is_symlink()
                    if name.startswith("call_") and path.suffix in _JOB and is_file:
                        yield path


def _found(patterns: Mapping[str, re.Pattern[bytes]], path: Path) -> bytes | None:
    """Return what a file says of its call; nothing where it says nothing of it."""
    for most in (_HEAD, _MOST):
        content = bounded_content(path, most)
        found = patterns[path.suffix].search(content)
        if found is not None:
            return found[1]
        if len(content) < most:
            break
    return None


def _is_before(written: str, moment: datetime) -> bool:
    """Whether a time that a file tells is before a moment; one that is none, or of no zone, tells nothing."""
    try:
        return datetime.fromisoformat(written) < moment
    except (TypeError, ValueError):
        return False
