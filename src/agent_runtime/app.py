"""The composition root: the only place that names concrete parts."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from agent_runtime.errors import ConfigurationError
from agent_runtime.kernel.kernel import RuntimeKernel
from agent_runtime.ports.journal import Storage

__all__ = ["RuntimeKernel", "open_storage"]


def open_storage(url: str | None) -> Storage:
    """Return the storage of a URL, not yet opened.

    Args:
        url: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`, `memory://`, or `None` for memory.

    Raises:
        ConfigurationError: Nothing can open this URL.
    """
    if url is None or url == "memory://":
        from agent_runtime.storage.memory import MemoryStorage

        return MemoryStorage()
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        path = unquote(parts.path.removeprefix("/"))
        if parts.netloc or not path:
            raise ConfigurationError(
                f"{url!r} names no file; write sqlite:///runs.db or sqlite:////var/lib/runs.db"
            )
        from agent_runtime.storage.sqlite import SQLiteStorage

        return SQLiteStorage(Path(path))
    raise ConfigurationError(
        f"storage {parts.scheme or url!r} is not known; use sqlite:///<file> or memory://"
    )


RuntimeKernel.storage_opener = staticmethod(open_storage)
