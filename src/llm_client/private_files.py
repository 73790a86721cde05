"""Files: those that hold what people and models have said to each other are their owner's alone, and others come from anywhere."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path


def make_private_folder(path: Path) -> None:
    """Make a folder that is for its owner alone, and so all those above it that are missing, whatever the process hides by itself.

    Who may write to one of them could put another one in its place. Raises `OSError`.
    """
    for folder in reversed([each for each in (path, *path.parents) if not each.exists()]):
        folder.mkdir(mode=0o700, exist_ok=True)


def make_private(path: Path) -> None:
    """Make an empty file that only its owner may read and write, if there is none. One that is there stays as it is.

    Whoever opens it next tells what is wrong when it cannot be made. SQLite gives a database's mode to its log as well.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def bounded_content(path: Path, most: int) -> bytes:
    """Return what stands in a file, and no more of it than shows that it has more than so many bytes. Raises `OSError`.

    Where a folder has a link in its place, to a device that never ends, or a pipe that nobody writes into, it is none.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(most + 1)
    finally:
        os.close(descriptor)
