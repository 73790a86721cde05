"""Taking the calls of erased jobs out of folders of call logs."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from agent_runtime.ports.erasure import ErasedSubject
from llm_client.private_files import bounded_content

_JOB: Final = {
    ".yaml": re.compile(rb'^job_id: ["\']?([^\s"\']++)', re.MULTILINE),
    ".json": re.compile(rb'^  "job_id": "([^"]++)"', re.MULTILINE),
}
"""The job of a call, by the file's format. What a model or a person has said stands deeper, or on a line with its name."""
_HEAD: Final = 8192
"""Bytes; the facts of a call take less."""


class ErasedCallLogs:
    """Deletes the files of calls that erased jobs have made. What summaries add up stays: numbers, and names of agents.

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
        return await asyncio.to_thread(self._delete, jobs) if jobs else 0

    def _delete(self, jobs: set[bytes]) -> int:
        count = 0
        for path in self._calls():
            found = _JOB[path.suffix].search(bounded_content(path, _HEAD))
            if found is not None and found[1] in jobs:
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
