"""The place of the one process that executes a file's jobs: an OS lock that dies with the process.

`lockf` and not `flock`: a forked child of a killed holder would keep an `flock`. Nothing else in the process opens the
lock file, because closing any descriptor of it would give the lock up.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from pathlib import Path

_Inode = tuple[int, int]
_HELD: dict[_Inode, int] = {}
"""Lock files, and the process that holds them. The operating system would grant a process the same lock twice, and
closing one descriptor would give up both. A forked child has this table and its parent's descriptors, but not the locks."""
_HOLDING = threading.Lock()
"""Between looking into the table and taking the lock nobody else of this process does."""


class ExecutorLock:
    """An exclusive lock on `<file>.lock`. The path is taken as it is: it must not depend on the current folder."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._held: tuple[int, _Inode, int] | None = None
        """Descriptor, file and process."""

    @property
    def is_held(self) -> bool:
        """Whether the lock is this process's."""
        return self._held is not None and self._held[2] == os.getpid()

    def acquire(self) -> bool:
        """Take the lock if nobody holds it; return whether it is ours."""
        with _HOLDING:
            if self.is_held:
                return True
            with contextlib.suppress(FileNotFoundError):
                if _HELD.get(_inode(self._path.stat())) == os.getpid():
                    return False
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return False
            file = _inode(os.fstat(descriptor))
            self._held = (descriptor, file, os.getpid())
            _HELD[file] = os.getpid()
            return True

    def release(self) -> None:
        """Give the lock up. The file stays: deleting it would let two processes lock two different files."""
        with _HOLDING:
            held, self._held = self._held, None
            if held is None:
                return
            descriptor, file, process = held
            if process == os.getpid():
                _HELD.pop(file, None)
            os.close(descriptor)


def _inode(status: os.stat_result) -> _Inode:
    return status.st_dev, status.st_ino
