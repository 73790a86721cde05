"""Every query of the write path, the dispatch and the lists finds its rows by an index, whatever the tables hold.

`EVENTS=1000000 pytest tests/integration/postgres/test_indexes.py -s` looks at a million events and prints how long
each query takes; `make test` looks at a tenth of that.
"""

import asyncio
import json
import os
from datetime import timedelta
from typing import Any

import asyncpg
import psycopg
import pytest

from agent_runtime.adapters.queue_entries import MOVE_BACK, MOVE_UP, NEXT_READY, UNHEARD, due
from agent_runtime.adapters.queue_pool import BY_KEY
from agent_runtime.ports.commit import NewEvent
from agent_runtime.storage import queries
from agent_runtime.storage.postgres import PostgresStorage, keys
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.actions import PART as PART_OF_ACTIONS
from agent_runtime.storage.postgres.jobs import CHAIN_HEAD
from agent_runtime.storage.postgres.jobs import PART as PART_OF_JOBS
from agent_runtime.storage.postgres.journal import READ
from agent_runtime.storage.postgres.values import DIALECT
from agent_runtime.testing.examples import NOW, commit, job
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.budget import LedgerFilter
from agent_runtime.values.job import JobFilter

EVENTS = int(os.environ.get("EVENTS", "100000"))
JOBS = EVENTS // 10
FILL = f"""
INSERT INTO runtime_jobs (job_id, origin, seed, chain_id, predecessor_id, scope_id, operator, queue, priority, depth, status, created_at, updated_at,
  completed_at, progress, metadata, tags, fence, owner, last_seq, deaths, lone_deaths, open_claim, on_parent_end, audit_head, audit_salt)
SELECT 'job-' || lpad(n::text, 12, '0'), 'o', 's', 'chain-' || n / 100, CASE WHEN n % 100 > 0 THEN 'before' END,
  'scope-' || n % 100, 'op', 'default', n % 3, 0,
  CASE WHEN n % 100 = 96 AND n % 1000 < 100 THEN 'blocked' WHEN n % 100 < 97 THEN 'succeeded' WHEN n % 100 = 97 THEN 'queued' WHEN n % 100 = 98 THEN 'waiting' ELSE 'running' END,
  now(), now(), CASE WHEN n % 100 < 97 THEN now() - n * interval '1 s' END, 0, '{{}}', '{{}}', 1,
  CASE WHEN n % 100 = 99 AND n % 1000 < 100 THEN 'worker-' || n % 7 END, 10, 0, 0, 0, 'cancel', ''::bytea, ''::bytea
FROM generate_series(0, {JOBS - 1}) n;
INSERT INTO runtime_events (job_id, seq, commit_id, type, at, data, content)
SELECT 'job-' || lpad((n / 10)::text, 12, '0'), n % 10 + 1, 'c-' || n, 'custom.x', now(), '{{}}', 'x'
FROM generate_series(0, {EVENTS - 1}) n;
INSERT INTO runtime_timers (job_id, key, due_at, type, data)
SELECT 'job-' || lpad(n::text, 12, '0'), 'k', now() + (n - 9) * interval '1 s', 'timer.fired', '{{}}'
FROM generate_series(0, {JOBS // 10}) n;
INSERT INTO runtime_signals (signal_id, job_id, type, data, is_failure)
SELECT 's', 'job-' || lpad((n * 100 + 98)::text, 12, '0'), 'timer.fired', '{{}}', false FROM generate_series(0, 9) n;
INSERT INTO runtime_ledger (event_id, type, job_id, scope_id, input_tokens, output_tokens, cached_tokens,
  cache_write_tokens, reasoning_tokens, status, uncertain, timestamp, metadata)
SELECT 'e-' || n, 'model_usage', 'job-' || lpad((n / 10)::text, 12, '0'), 'scope-' || n % 100, 1, 1, 0, 0, 0, 'ok', false,
  now() - n * interval '1 s', '{{}}' FROM generate_series(0, {JOBS - 1}) n;
INSERT INTO runtime_actions (action_id, type, job_id, scope_id, payload, status, created_at, quorum, votes, metadata, token_hash)
SELECT 'act-' || lpad(n::text, 12, '0'), 'input', 'job-' || lpad(n::text, 12, '0'), 'scope-' || n % 100, '{{}}',
  CASE WHEN n % 100 = 98 THEN 'pending' ELSE 'resolved' END, now(), 1, '[]', '{{}}', 'h-' || n
FROM generate_series(0, {JOBS // 2}) n;
INSERT INTO runtime_api_keys (key_id, name, role, scope_id, created_at, secret_hash)
SELECT lpad(to_hex(n), 17, '0'), 'ci', 'viewer', CASE WHEN n % 100 > 0 THEN 'scope-' || n % 100 END, now(), 'h-' || n
FROM generate_series(0, {JOBS // 2}) n;
"""
JOB = "job-000000000042"
LATER = NOW + timedelta(days=36500)
LAST = f"job-{JOBS - 1:012}"


QUERIES: dict[str, tuple[str, list[Any]]] = {
    "journal": ("SELECT seq, type FROM runtime_events WHERE job_id = $1 AND seq > $2 ORDER BY seq LIMIT $3", [JOB, 3, 1000]),
    "tail of a journal": ("SELECT seq FROM runtime_events WHERE job_id = $1 ORDER BY seq DESC LIMIT $2", [JOB, 1]),
    "commits known": (sql.COMMITTED, [["c-1", "c-77", "none"]]),
    "lock jobs": (sql.LOCK_JOBS, [[JOB, LAST], None]),
    "signals of jobs": (sql.SIGNALS, [[JOB]]),
    "timers due": ("SELECT job_id FROM runtime_timers WHERE due_at <= $1 ORDER BY due_at LIMIT $2", [LATER, 500]),
    "head of a chain": (CHAIN_HEAD, [JOB]),
    "links of a chain": queries.list_jobs(JobFilter(chain_id="chain-3", limit=100), DIALECT),
    "all scopes with ready jobs": (sql.READY_SCOPES, ["", None]),
    "due jobs among some, under caps": (sql.due_jobs(capped=True, across_scopes=False), [1000, ["op"], ["v1"], [JOB], ["scope-7"], [5], 3]),
    "running in all scopes": (sql.RUNNING, []),
    "scopes with ready jobs": (sql.READY_SCOPES, ["scope-5", 1000]),
    "first ready jobs of scopes": (sql.FIRST_READY, [["scope-97", "scope-98"], [20, 3], ["op"], ["v1"]]),
    "woken jobs": (sql.WOKEN, [["op"], ["v1"]]),
    "ready jobs that are asked to stop": (sql.STOPPING, [["op"], ["v1"]]),
    "next jobs of a scope": (sql.NEXT_JOBS, ["scope-97", 5, [], ["op"], ["v1"]]),
    "blocked jobs": (sql.BLOCKED_JOBS, ["", 500, ["op"], ["v1"], NOW, NOW]),
    "unlisted lines": (sql.UNLISTED_LINES, [timedelta(seconds=30)]),
    "unlisted jobs": (sql.UNLISTED_JOBS, [timedelta(seconds=30), 100, ["op"], ["default"]]),
    "running in scopes": (sql.RUNNING_IN, [["scope-99"]]),
    "waiting in scopes": (sql.WAITING_IN, [["scope-97"], 100]),
    "jobs of a worker": (sql.OWNED_JOBS, ["worker-1"]),
    "jobs with signals": (sql.JOBS_WITH_SIGNALS, ["worker-1"]),
    "list jobs": queries.list_jobs(JobFilter(before=LAST, limit=100), DIALECT),
    "list jobs of a scope": queries.list_jobs(JobFilter(scope_id="scope-7", before=LAST, limit=100), DIALECT),
    "ids of jobs": queries.list_jobs(JobFilter(before=LAST, limit=100), DIALECT, queries.JOB_IDS, more=1),
    "part of jobs": (PART_OF_JOBS, [[JOB, LAST], 1_000_000]),
    "ids of actions": queries.list_actions(DIALECT, scope_id="scope-7", job_id=None, status=None, limit=101, before=None, select=queries.ACTION_IDS),
    "part of actions": (PART_OF_ACTIONS, [["act-000000000042", "act-000000000077"], 1_000_000]),
    "number of pending actions": (queries.PENDING, []),
    "bytes of a journal": (READ[True][0], [JOB, 3, 1000]),
    "bytes of the data of a journal": (READ[False][0], [JOB, 3, 1000]),
    "part of a journal": (READ[True][1], [JOB, 3, 1000, 500]),
    "part of a journal without content": (READ[False][1], [JOB, 3, 1000, 500]),
    "ledger behind a position": queries.list_ledger(LedgerFilter(job_id=JOB, after=5), DIALECT),
    "list pending actions": queries.list_actions(DIALECT, scope_id=None, job_id=None, status=ActionStatus.PENDING, limit=100, before=None),
    "list ledger of a job": queries.list_ledger(LedgerFilter(job_id=JOB), DIALECT),
    "list keys": (keys.ALL, [f"{200:017x}", 100]),
    "list keys of a scope": (keys.OF_SCOPE, [f"{200:017x}", 100, "scope-7"]),
    "one key": (keys.ONE, [f"{200:017x}"]),
    "jobs to prune": (sql.PRUNE.partition(", events AS")[0] + "SELECT * FROM ended", [LATER, 500, 5000]),
    "content to prune": (sql.PRUNE_CONTENT.partition(", events AS")[0] + "SELECT * FROM ended", [LATER, 500, 5000]),
}  # fmt: skip
LARGE = {
    "runtime_jobs",
    "runtime_events",
    "runtime_ledger",
    "runtime_actions",
    "runtime_timers",
    "runtime_api_keys",
}


@pytest.fixture(scope="module")
def filled(module_database: str) -> str:
    async def fill() -> None:
        connection = await asyncpg.connect(module_database, command_timeout=600)
        await connection.execute(FILL)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()

    asyncio.run(fill())
    return module_database


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", QUERIES)
async def test_a_query_finds_its_rows_by_an_index(filled: str, name: str) -> None:
    statement, parameters = QUERIES[name]
    connection = await asyncpg.connect(filled)
    transaction = connection.transaction()
    await transaction.start()
    explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *parameters)
    await transaction.rollback()
    await connection.close()
    ((plan,),) = (json.loads(explained),)
    scanned = {
        node["Relation Name"] for node in _nodes(plan["Plan"]) if node["Node Type"].endswith("Seq Scan")
    }
    print(f"\n{name}: {plan['Execution Time']:.2f} ms")
    assert not scanned & LARGE, json.dumps(plan, indent=1)


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in _nodes(child))]


QUEUE: dict[str, tuple[str, dict[str, Any]]] = {
    "due jobs without an entry": (due(capped=False), {"job_ids": ["job-000000000097", JOB]}),
    "the same under caps": (due(capped=True), {"job_ids": ["job-000000000097", JOB], "scopes": ["scope-7"], "caps": [5], "cap": 3}),
    "ready jobs behind one": (NEXT_READY, {"operator": "op", "queue": "default", "job_id": JOB, "limit": 20}),
    "queues that are not heard": (UNHEARD, {"operators": ["op", "other"], "heard": ["another"], "after": "", "limit": 20}),
    "entries to move up": (MOVE_UP, {"job_ids": ["job-000000000097", JOB]}),
    "entries to move back": (MOVE_BACK, {"scopes": ["scope-97"]}),
}  # fmt: skip


@pytest.mark.parametrize("name", QUEUE)
async def test_the_queue_finds_its_jobs_by_an_index(filled: str, name: str) -> None:
    statement, parameters = QUEUE[name]
    connection = await psycopg.AsyncConnection.connect(filled)  # the driver that asks these
    try:
        explained = await connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        ((plan,),) = await explained.fetchall()
    finally:
        await connection.rollback()
        await connection.close()
    print(f"\n{name}: {plan[0]['Execution Time']:.2f} ms")
    scanned = {
        node["Relation Name"] for node in _nodes(plan[0]["Plan"]) if node["Node Type"].endswith("Seq Scan")
    }
    assert not scanned & LARGE, json.dumps(plan, indent=1)


BURST = 3000
_FILL_BURST = f"""
INSERT INTO runtime_jobs (job_id, origin, seed, chain_id, scope_id, operator, queue, priority, depth, status, created_at,
  updated_at, progress, metadata, tags, fence, last_seq, deaths, lone_deaths, open_claim, on_parent_end, audit_head, audit_salt)
SELECT 'job-' || lpad(n::text, 12, '0'), 'o', 's', 'chain-' || n, 'loud', 'op', 'default', n % 3, 0, 'queued', now(),
  now(), 0, '{{}}', '{{}}', 1, 1, 0, 0, 0, 'cancel', ''::bytea, ''::bytea FROM generate_series(1, {BURST}) n;
INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock)
SELECT 'op', 'agent_runtime.advance', 'job-' || lpad(n::text, 12, '0') FROM generate_series(1, {BURST}) n WHERE n % 3 > 0
"""
_ASKED = [f"job-{number:012}" for number in range(1, BURST + 1, 2)]
_SIZED: dict[str, tuple[str, dict[str, Any]]] = {
    "due jobs without an entry": (due(capped=False), {"job_ids": _ASKED}),
    "the same under caps": (due(capped=True), {"job_ids": _ASKED, "scopes": [], "caps": [], "cap": BURST}),
    "entries to move up": (MOVE_UP, {"job_ids": _ASKED}),
    "entries to move back": (MOVE_BACK, {"scopes": ["loud"]}),
}  # fmt: skip


@pytest.mark.parametrize("name", _SIZED)
async def test_a_burst_of_one_scope_costs_the_queue_as_much_as_it_has_jobs_even_with_the_plans_of_empty_tables(
    database: str, name: str
) -> None:
    """With those, and with what stands ahead counted for each job, a sweep took as long as a time-out."""
    statement, parameters = _SIZED[name]
    connection = await psycopg.AsyncConnection.connect(
        database, autocommit=True, cursor_factory=psycopg.AsyncClientCursor
    )
    async with connection:
        await connection.execute(BY_KEY)
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        for place, parameter in enumerate(parameters, 1):
            statement = statement.replace(f"%({parameter})s", f"${place}")
        types = ["int8" if isinstance(value, int) else "text[]" for value in parameters.values()]
        types = ["int8[]" if name == "caps" else type_ for name, type_ in zip(parameters, types, strict=True)]
        await connection.execute(f"PREPARE asked ({', '.join(types)}) AS {statement}")
        ask = f"EXECUTE asked ({', '.join(['%s'] * len(parameters))})"
        await connection.execute(ask, list(parameters.values()))
        await connection.execute(_FILL_BURST)
        explained = await connection.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {ask}", list(parameters.values())
        )
        ((plan,),) = await explained.fetchall()
    looked_at = sum(
        (node["Actual Rows"] + sum(rows for told, rows in node.items() if told.startswith("Rows Removed")))
        * node["Actual Loops"]
        for node in _nodes(plan[0]["Plan"])
    )
    print(f"\n{name}: {looked_at / BURST:.1f} rows for each job, {plan[0]['Execution Time']:.0f} ms")
    assert 1 < looked_at / BURST < 20


async def test_a_claimed_journal_is_found_by_an_index_by_a_process_that_began_with_empty_tables(
    database: str,
) -> None:
    """Plans made then were kept: each claim read all events until the server had counted them anew."""
    storage = PostgresStorage(database)
    await storage.open()
    watcher = await asyncpg.connect(database)
    await watcher.execute("ALTER TABLE runtime_events SET (autovacuum_enabled = off)")

    async def claim_some() -> None:
        made = [job(operator="op") for _ in range(20)]
        await storage.commit(commit(create=[(one, [NewEvent("job.created")]) for one in made]))
        for one in made:
            claimed = await storage.claim(one.job_id, owner="w", at=NOW)
            assert claimed is not None
            assert claimed.events

    async def read_whole() -> int:
        await asyncio.sleep(1.1)  # a connection says what it has read once a second, after a statement
        await claim_some()
        read = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'runtime_events'"
        return int(await watcher.fetchval(read))

    await claim_some()
    await watcher.execute(
        "INSERT INTO runtime_events (job_id, seq, type, at, data) SELECT 'other', n, 'custom.x', now(), '{}' FROM generate_series(1, 5000) n"
    )
    before = await read_whole()
    await read_whole()
    assert await read_whole() - before < 5000
    await watcher.close()
    await storage.aclose()
