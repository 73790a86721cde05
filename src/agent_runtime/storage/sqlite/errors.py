"""The driver's errors as ours."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from agent_runtime.errors import StorageError, StorageFull, StorageReadOnly


def translated(error: sqlite3.Error, path: str) -> StorageError:
    """Return the storage error that says what happened to the file."""
    text = str(error)
    if "disk is full" in text:
        return StorageFull(f"the disk that holds {path!r} is full; nothing of this change was written")
    if "readonly" in text or "read-only" in text:
        return StorageReadOnly(f"{path!r} cannot be written")
    if "not a database" in text or "malformed" in text:
        return StorageError(f"{path!r} is not a usable SQLite database: {text}")
    if "unable to open" in text:
        return StorageError(f"{path!r} cannot be opened; does its folder exist, and may it be read?")
    if "locked" in text:
        return StorageError(f"{path!r} is locked by another process")
    return StorageError(f"{path!r}: {text}")


def file_error(error: OSError, path: str) -> StorageError:
    """Return the same for what the operating system says about a file beside it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"the disk that holds {path!r} is full; nothing of this change was written")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StorageReadOnly(f"{path!r} cannot be written: {error.strerror}")
    return StorageError(f"{path!r}: {error.strerror}")


@contextmanager
def mapped(path: str) -> Iterator[None]:
    """Raise driver errors as `StorageError`s."""
    try:
        yield
    except sqlite3.Error as error:
        raise translated(error, path) from error
