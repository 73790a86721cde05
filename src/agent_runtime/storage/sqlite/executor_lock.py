"""The place of the one process that executes a file's jobs: an OS lock that dies with the process.

`lockf` and not `flock`: a forked child of a killed holder would keep an `flock`. Nothing else in the process opens the
lock file, because closing any descriptor of it would give the lock up.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_HELD: set[str] = set()
"""Lock files of this process. The operating system would grant it the same lock twice, and closing one descriptor
would give up both."""


class ExecutorLock:
    """An exclusive lock on `<file>.lock`."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether the lock is ours."""
        return self._descriptor is not None

    def acquire(self) -> bool:
        """Take the lock if nobody holds it; return whether it is ours."""
        if self._descriptor is not None:
            return True
        if str(self._path.resolve()) in _HELD:
            return False
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        _HELD.add(str(self._path.resolve()))
        return True

    def release(self) -> None:
        """Give the lock up. The file stays: deleting it would let two processes lock two different files."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            _HELD.discard(str(self._path.resolve()))
            os.close(descriptor)
