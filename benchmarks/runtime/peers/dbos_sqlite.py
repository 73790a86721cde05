"""DBOS on SQLite. `shipped` is its default: rollback journal and default threads; `tuned` is WAL and eight threads.

Both write with `synchronous=FULL`, as the programs they are compared with do.
"""

from contextlib import contextmanager
from typing import Any

import workload
from dbos_workflows import cases
from workload import Result, Stopwatch


@contextmanager
def _launched(variant: str) -> Any:
    """Start DBOS in this process (there can be one), yield it, and stop it."""
    import sqlalchemy
    from dbos import DBOS

    config: dict[str, Any] = {
        "name": "bench",
        "system_database_url": "sqlite:///dbos.sqlite",
        "log_level": "ERROR",
    }
    config |= {"application_version": "bench", "executor_id": "bench"}
    if variant == "tuned":
        engine = sqlalchemy.create_engine("sqlite:///dbos.sqlite", connect_args={"timeout": 30})

        @sqlalchemy.event.listens_for(engine, "connect")
        def use_wal(connection: Any, _: Any) -> None:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

        config |= {"system_database_engine": engine, "max_executor_threads": 8}
    DBOS(config=config)
    try:
        yield DBOS
    finally:
        DBOS.destroy()


def import_time(_: str) -> Result:
    with Stopwatch() as watch:
        import dbos  # noqa: F401 - the import is what is measured
    return Result(watch.seconds, 1)


if __name__ == "__main__":
    workload.main({"import": import_time, **cases(_launched)})
