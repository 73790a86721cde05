"""Files that hold what people and models have said to each other: only their owner reads them."""

from __future__ import annotations

import contextlib
import os
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
