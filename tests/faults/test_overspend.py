"""A thousand calls at once against one dollar, with failures, lost answers and a kill: nothing is overspent or unbilled.

One kill, not more: after a second one all thousand jobs would be suspects, which run one at a time.
"""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from agent_runtime.storage.sqlite import SQLiteStorage
from agent_runtime.values.budget import EntryKey, LedgerEntry, LedgerFilter
from support.spending_child import JOBS

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]
TESTS = Path(__file__).parent.parent
DOLLAR = 10**10


def run_child(database: Path, world: Path, kill_after: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "support.spending_child", str(database), str(world), str(kill_after)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def peak_of_the_counters(database: Path) -> int:
    """Return settled plus reserved, as a process that was just killed has left them."""
    with sqlite3.connect(database) as connection:
        ((used,),) = connection.execute(
            "SELECT sum(settled_cost + reserved_cost) FROM runtime_budget_counters WHERE budget_id LIKE 'budget:%'"
        )
    connection.close()
    return int(used)


async def entries_by_call(database: Path) -> dict[str, list[LedgerEntry]]:
    """Return the ledger, by the call that each entry was made for: a job makes its calls one after the other."""
    storage = SQLiteStorage(database)
    await storage.open()
    operations: dict[str, dict[str, list[LedgerEntry]]] = defaultdict(lambda: defaultdict(list))
    after: EntryKey | None = None
    while page := await storage.ledger_entries(LedgerFilter(type="model_usage", after=after)):
        for entry in page:
            operations[entry.job_id or ""][entry.entry_id.rpartition("#")[0]].append(entry)
        after = page[-1].key
    found: dict[str, list[LedgerEntry]] = defaultdict(list)
    for job_id, calls in operations.items():
        job = await storage.get_job(job_id)
        assert job is not None
        found.update({f"job-{job.idempotency_key}/{n}": entries for n, entries in enumerate(calls.values())})
    await storage.aclose()
    return found


async def test_a_dollar_is_never_overspent_and_every_answer_has_one_entry(tmp_path: Path) -> None:
    database, world = tmp_path / "runs.db", tmp_path / "world"
    world.touch()
    killed = await asyncio.to_thread(run_child, database, world, 1300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert await asyncio.to_thread(peak_of_the_counters, database) <= DOLLAR
    last = await asyncio.to_thread(run_child, database, world, 0)
    assert last.returncode == 0, last.stderr
    told = json.loads(last.stdout.splitlines()[-1])

    assert told["jobs"] == len(told["ended"]) == JOBS
    assert set(told["ended"]) == {
        "BudgetExceededError"
    }  # the dollar was too little for all that each job wanted
    assert told["reserved"] == "0"
    assert Decimal(told["settled"]) <= 1

    lines = [line.split() for line in world.read_text().splitlines()]
    assert [int(count) for *_, kind, count in lines if kind == "together"] == [JOBS] * 2
    bills = [line for line in lines if line[2] != "together"]
    assert sum(int(units) for *_, units in bills) <= DOLLAR
    ledger = await entries_by_call(database)
    assert sum(entry.units or 0 for entries in ledger.values() for entry in entries) == int(
        Decimal(told["settled"]) * DOLLAR
    )
    answered = {answer: int(units) for _, answer, kind, units in bills if kind == "answered"}
    named = Counter(
        entry.metadata["request_id"]
        for entries in ledger.values()
        for entry in entries
        if "request_id" in entry.metadata
    )
    assert set(named.values()) == {1}
    assert len(named) > 2 * JOBS  # and enough for many, whatever the kill has cost
    assert all(
        entry.units == answered[entry.metadata["request_id"]]
        for entries in ledger.values()
        for entry in entries
        if "request_id" in entry.metadata
    )
    for call, billed in Counter(call for call, *_ in bills).items():
        entries = ledger[call]
        spare = len(entries) - billed
        assert spare >= 0, (call, billed, entries)
        # One too many only where a kill came between the intent and the vendor's answer, and then it says so.
        assert sum(entry.uncertain for entry in entries) >= spare
    unnamed = Counter(call for call, answer, kind, _ in bills if kind == "answered" and answer not in named)
    for call, lost in unnamed.items():
        assert sum(entry.uncertain for entry in ledger[call]) >= lost
