"""What a database that is there lacks for the runtime, asked without changing anything: a write is tried and taken back."""

from __future__ import annotations

import asyncio

from agent_runtime.extras import optional_packages
from agent_runtime.storage.opening import sqlite_path, url_parts


async def lacks_of(url: str) -> list[str]:
    """Return what a database lacks, a sentence for each; nothing if all is there.

    Raises:
        ConfigurationError: Nothing can open this URL.
        StorageError: The database cannot be asked.
    """
    path = sqlite_path(url)
    if path is not None:
        from agent_runtime.storage import examined_file

        return await asyncio.to_thread(examined_file.examine, path)
    if url_parts(url).scheme in ("postgresql", "postgres"):
        with optional_packages():
            from agent_runtime.storage import examined_server

        return await examined_server.examine(url)
    return []
