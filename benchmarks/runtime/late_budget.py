"""How long others wait while a budget is stored that counts what a long ledger has: `python late_budget.py URL [LINES]`.

The database is new and empty. While the budgets are stored, somebody else commits all the time; what is shown is how
long the slowest of these commits took, and how long it takes without anybody storing a budget.
"""

import asyncio
import sqlite3
import sys
import time
from typing import Any

SPENDERS = 1000
FILL_SQLITE = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)
INSERT INTO runtime_ledger (event_id, type, scope_id, principal_id, model, provider, input_tokens, output_tokens,
  cached_tokens, cache_write_tokens, reasoning_tokens, cost_units, status, uncertain, timestamp, metadata)
SELECT 'e' || i, 'model_usage', 's' || (i % 10), 'p' || (i % ?), 'm', 'v', 100, 10, 0, 0, 0, 5000, 'completed', 0,
  CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER), '{}' FROM n
"""
FILL_POSTGRES = """
INSERT INTO runtime_ledger (event_id, type, scope_id, principal_id, model, provider, input_tokens, output_tokens,
  cached_tokens, cache_write_tokens, reasoning_tokens, cost_units, status, uncertain, timestamp, metadata)
SELECT 'e' || i, 'model_usage', 's' || (i % 10), 'p' || (i % $2::int), 'm', 'v', 100, 10, 0, 0, 0, 5000, 'completed',
  false, clock_timestamp(), '{}' FROM generate_series(1, $1::int) AS i
"""


async def fill(url: str, lines: int) -> None:
    """Write a long ledger."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.execute(FILL_SQLITE, (lines, SPENDERS))
        connection.close()
        return
    import asyncpg

    server = await asyncpg.connect(url)
    await server.execute(FILL_POSTGRES, lines, SPENDERS, timeout=600)
    await server.close()


async def slowest_commit(ledger: Any, until: "asyncio.Future[None] | asyncio.Task[Any]") -> tuple[float, int]:
    """Commit as long as something lasts; return the seconds of the slowest one, and how many there were."""
    from agent_runtime import ExecutionContext

    context, slowest, made = ExecutionContext(scope_id="s1", principal_id="p1"), 0.0, 0
    while not until.done():
        began = time.perf_counter()
        await ledger.record_tool_usage(context, "t")
        slowest, made = max(slowest, time.perf_counter() - began), made + 1
    return slowest, made


async def measure(url: str, lines: int) -> None:
    """Fill a database, store budgets in it, and tell how long others have waited."""
    from agent_runtime import Budget, Ledger, open_storage
    from agent_runtime.kernel.stores import StorageView

    storage: Any = open_storage(url)
    if hasattr(storage, "setup"):
        await storage.setup()
    await storage.open()
    await fill(url, lines)
    ledger, other = Ledger(StorageView(storage)), Ledger(StorageView(storage))
    slowest, made = await slowest_commit(ledger, asyncio.ensure_future(asyncio.sleep(3)))
    print(f"{lines:,} lines; nobody stores: slowest commit {slowest * 1000:.1f} ms of {made}")
    for name, budget in {
        "one tenant, this month": Budget(scope_id="s1", max_cost_monthly=10**6),
        "everybody, ever": Budget(max_cost_total=10**6),
        f"each of {SPENDERS} persons, each day": Budget(scope_id="*", principal_id="*", max_cost_daily=10**6),
    }.items():
        began = time.perf_counter()
        storing = asyncio.create_task(other.save_budget(budget))
        slowest, made = await slowest_commit(ledger, storing)
        took = time.perf_counter() - began
        print(f"{name}: stored in {took:.2f} s; slowest commit of others {slowest * 1000:.1f} ms of {made}")
    await storage.aclose()


if __name__ == "__main__":
    asyncio.run(measure(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000))
