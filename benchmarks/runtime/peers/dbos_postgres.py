"""DBOS on Postgres. `shipped` is its default: a pool of 20 connections and default threads; `tuned` has eight threads.

More threads than that fight for Python's lock on a small machine. Neither is listened to through LISTEN/NOTIFY: these
workflows wait for no messages.
"""

import os
from contextlib import contextmanager
from typing import Any

import workload
from dbos_workflows import cases

THREADS = 8


@contextmanager
def _launched(variant: str) -> Any:
    """Start DBOS in this process (there can be one), yield it, and stop it."""
    from dbos import DBOS

    config: dict[str, Any] = {
        "name": "bench",
        "system_database_url": os.environ["DATABASE_URL"],
        "log_level": "ERROR",
    }
    config |= {"application_version": "bench", "executor_id": "bench"}
    if variant == "tuned":
        config |= {"max_executor_threads": THREADS}
    DBOS(config=config)
    try:
        yield DBOS
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    workload.main(cases(_launched))
