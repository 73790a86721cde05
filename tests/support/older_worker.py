"""A worker of the release before: it knows the schema revision before the newest, and accepts no other at its start.

Usage: `python -m support.older_worker DSN`. Otherwise it is `support.worker_child`.
"""

import asyncio
import sys

from agent_runtime.storage.migrations import REVISIONS
from agent_runtime.storage.postgres import tables
from support.worker_child import main

PREVIOUS = REVISIONS[-2]

if __name__ == "__main__":
    tables.HEAD = PREVIOUS  # type: ignore[misc]  # as it was
    tables.REVISIONS = REVISIONS[:-1]  # type: ignore[misc,assignment]  # as they were
    asyncio.run(main(sys.argv[1]))
