"""Storages by their URLs, each imported when it is asked for: what only reads needs no more than that."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from agent_runtime.errors import ConfigurationError, StorageError
from agent_runtime.extras import optional_packages

if TYPE_CHECKING:
    from agent_runtime.ports.change_notifier import ChangeNotifier
    from agent_runtime.ports.storage import Storage


def open_storage(
    url: str | None, *, durability: Literal["power", "process"] = "power", redis_url: str | None = None
) -> Storage:
    """Return the storage of a URL, not yet opened.

    Args:
        url: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`, `postgresql://user@host/name`, `memory://`, or
            `None` for memory.
        durability: What a commit to SQLite survives; see `Settings.durability`.
        redis_url: A Redis server through which the processes of a Postgres database tell each other of changes; other
            storages do without.

    Raises:
        ConfigurationError: Nothing can open this URL, or `redis_url` is not one.
    """
    if url is None or url == "memory://":
        from agent_runtime.storage.memory import MemoryStorage

        return MemoryStorage()
    path = sqlite_path(url)
    if path is not None:
        from agent_runtime.storage.sqlite import SQLiteStorage

        return SQLiteStorage(path, durability=durability)
    scheme = url_parts(url).scheme
    if scheme in ("postgresql", "postgres"):
        with optional_packages():
            from agent_runtime.storage.postgres.storage import PostgresStorage

        return PostgresStorage(url, notifier=_notifier(redis_url))
    raise ConfigurationError(
        f"storage {scheme or url!r} is not known; use sqlite:///<file>, postgresql://… or memory://"
    )


def _notifier(redis_url: str | None) -> ChangeNotifier | None:
    """Return what carries news between the processes of a Postgres database, `None` for the database itself."""
    if redis_url is None:
        return None
    with optional_packages():
        from agent_runtime.storage.redis.change_notifier import RedisChangeNotifier

    return RedisChangeNotifier(redis_url)


MAX_PORT: Final = 65_535


def url_parts(url: str) -> SplitResult:
    """Take an address apart.

    Raises:
        ConfigurationError: It is not one. It may hold a password, so it is not repeated.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError(
            "an address is not a URL; write special characters of a password as %5B for [, %40 for @, and so on"
        ) from None
    number = parts.netloc.rpartition("@")[2].rpartition(":")[2]
    if number.isdecimal() and int(number[:9]) > MAX_PORT:
        raise ConfigurationError(f"the port of an address is a number up to {MAX_PORT}")
    return parts


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL, `None` for other URLs.

    Raises:
        ConfigurationError: The URL names no file.
    """
    parts = url_parts(url)
    if parts.scheme != "sqlite":
        return None
    path = Path(unquote(parts.path.removeprefix("/")))
    if parts.netloc or not path.name or path.name == "..":
        raise ConfigurationError(
            f"the storage {str(path)!r} names no file; write runs.db or /var/lib/runs.db, as a URL sqlite:///runs.db or "
            "sqlite:////var/lib/runs.db"
        )
    return path


def sqlite_tables(path: Path, names: Collection[str]) -> frozenset[str]:
    """Return which of these tables a SQLite file has; all, where it cannot be read: whoever opens it says what is wrong with it."""
    import sqlite3

    from agent_runtime.storage.sqlite.connection import connect

    try:
        with closing(connect(path, read_only=True)) as db:
            found = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (sqlite3.Error, StorageError):
        return frozenset(names)
    return frozenset(names) & found
