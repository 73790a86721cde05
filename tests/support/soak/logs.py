"""The logs of executions and calls in a story: whoever followed the journals, and however often he was cut off, they say what the journals say."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from agent_runtime import FeedEntry
from agent_runtime.observability import JournalLogs, LogStore, update_logs
from agent_runtime.ports.storage import Storage
from support.logs import everything, recounted, sums
from support.soak.checks import Findings

PORTIONS = (1, 7, 50, 500)
AGAIN = 0.3
"""Share of portions that are handed out again, as after a death before the position was stored."""


async def check_logs(storage: Storage, rng: random.Random, findings: Findings) -> None:
    """Compare logs that were kept up beside the story, or that are filled in portions now, with those that are made anew in one go."""
    entries = await every_entry(storage)
    anew = await _filled(storage, [entries])
    if any(cursor.name == JournalLogs.name for cursor in await storage.cursors()):
        left = await update_logs(storage)
        findings.check(left == 0, f"{left} positions are missing in the logs")
        kept = LogStore(storage)
    else:
        kept = await _filled(storage, list(portions_of(entries, rng)))
    expected, found = await everything(anew), await everything(kept)
    for mine, its, what in zip(expected, found, ("executions", "calls"), strict=True):
        missing = {row.id for row in mine} ^ {row.id for row in its}
        findings.check(not missing, f"logs of {what} differ in the rows {sorted(missing)}")
        other = {row.id: row for row in its}
        for row in mine:
            same = other.get(row.id, row)
            findings.check(row == same, f"a row of {what} is {same} and should be {row}")
    added_up = await sums(kept)
    findings.check(added_up == await recounted(kept), "the sums of the logs are not those of their rows")
    findings.check(added_up == await sums(anew), "the sums of the logs are not those of rebuilt ones")
    for store in (anew, kept):
        await store.aclose()


async def every_entry(storage: Storage) -> list[FeedEntry]:
    """Return all that a story has written."""
    entries: list[FeedEntry] = []
    end = await storage.feed_end()
    while page := await storage.feed(after=entries[-1].position if entries else 0, upto=end):
        entries += page
    return entries


def portions_of(entries: Sequence[FeedEntry], rng: random.Random) -> list[Sequence[FeedEntry]]:
    """Return the entries in portions, some of them begun before and handed out again."""
    portions: list[Sequence[FeedEntry]] = []
    first = 0
    while first < len(entries):
        portion = entries[first : first + rng.choice(PORTIONS)]
        portions.append(portion[: rng.randint(0, len(portion))] if rng.random() < AGAIN else ())
        portions.append(portion)
        first += len(portion)
    return portions


async def _filled(storage: Storage, portions: Sequence[Sequence[FeedEntry]]) -> LogStore:
    engine = _engine()
    store, logs = LogStore(engine), JournalLogs(storage, engine)
    await store.create_tables()
    for portion in portions:
        if portion:
            await logs.project(portion)
    await logs.correct()
    return store


def _engine() -> Engine:
    return create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
