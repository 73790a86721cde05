"""Packages that take long to import are imported before the event loop runs, or beside it, and only where they are used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("alembic", "asyncpg", "procrastinate", "psycopg", "sqlalchemy")
PROGRAM = """
import asyncio, sys

class Witness:
    def find_spec(self, name, path=None, target=None):
        if name in HEAVY:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return
            print("imported on the loop:", name)

from agent_runtime import ExecutionRequest, RuntimeKernel, open_storage

async def count(context, given):
    return await context.step(len, given, effect="read")

sys.meta_path.insert(0, Witness())
storage = open_storage(sys.argv[1])

async def main():
    async with RuntimeKernel(storage=storage, operators={"count": count}) as kernel:
        handle = await kernel.execute(ExecutionRequest(operator="count", input="abc"))
        assert (await handle.result()).output == 3
        assert len(await kernel.jobs.list()) == await kernel.jobs.count() == 1
        assert await kernel.actions.list_pending() == []
        assert await kernel.ledger.entries() == []
    await storage.aclose()

asyncio.run(main())
print(*[name for name in HEAVY if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("kind", "used"),
    [("postgres", "asyncpg procrastinate psycopg"), ("sqlite", "")],
    ids=["postgres", "sqlite"],
)
def test_a_kernel_imports_nothing_heavy_while_its_loop_runs(
    kind: str, used: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("database") if kind == "postgres" else f"sqlite:///{tmp_path / 'runs.db'}"
    program = PROGRAM.replace("HEAVY", repr(HEAVY))
    done = subprocess.run(
        [sys.executable, "-c", program, url], env={**os.environ}, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == (f"{used}\n", 0), done.stderr
