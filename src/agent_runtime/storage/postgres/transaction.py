"""The two ends of a batch's transaction: locking the rows it needs, and writing what it has made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from agent_runtime.audit.chain import links
from agent_runtime.ports.commit import NewEvent
from agent_runtime.storage.ends import End, Ends
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.inbox import lock_inboxes, write_mail
from agent_runtime.storage.postgres.locked_rows import LockedJob, LockedRows, Needs, Row
from agent_runtime.storage.postgres.locks import count_slots, lock_scopes
from agent_runtime.storage.postgres.operations import CommitOperation
from agent_runtime.storage.postgres.values import decode, from_json, from_text, to_text
from agent_runtime.storage.spent import LAST_POSITION, spent_by
from agent_runtime.values.budget import DIMENSIONS, Amount, Counters, EntryKey
from agent_runtime.values.opening import SpentBy, uncounted

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]

_HALF = len(DIMENSIONS)


def counters_of(row: Sequence[int]) -> Counters:
    """Build counters from their columns."""
    settled, reserved = (
        Amount(**dict(zip(DIMENSIONS, part, strict=True))) for part in (row[:_HALF], row[_HALF:])
    )
    return Counters(settled=settled, reserved=reserved)


def learn(ends: Ends, rows: LockedRows) -> None:
    """Remember where the journals end that a transaction has written, of jobs that are executed now; forget the others."""
    for job in rows.changed_jobs.values():
        if job.owner is None:
            ends.forget(job.job_id)
        else:
            ends.keep(job.job_id, End(job.last_seq, job.audit_head, job.audit_salt))


async def append(connection: Connection, operations: Sequence[CommitOperation], ends: Ends) -> dict[int, int]:
    """Extend the journals of jobs, each by one commit, in one statement that is a transaction of its own.

    What the commits bill is written with it.

    Returns:
        The seq of each commit's first event, by the commit's place in `operations`. What is missing was not written,
        because its job is not there or has another fence, or its journal does not end where `ends` says.
    """
    places = sorted(range(len(operations)), key=lambda place: _lock_place(operations[place]))
    jobs: list[Row] = []
    events: list[Row] = []
    bills: list[Row] = []
    extended: dict[int, End] = {}
    for number, place in enumerate(places, 1):
        operation = operations[place]
        commit = operation.commit
        end = ends.of(commit.job_id)
        assert end is not None  # noqa: S101 -- the caller's condition, for the type checker
        chain = links(end.head, end.salts, end.last_seq + 1, commit.events, commit.at)
        extended[place] = End(end.last_seq + len(chain), chain[-1], end.salts)
        count, heads = len(commit.events), [end.head, chain[-1]]
        jobs.append([commit.job_id, commit.fence, count, commit.at, commit.progress, *heads])
        entries = zip(commit.events, operation.encoded.events, chain, strict=True)
        for offset, (event, data, link) in enumerate(entries, 1):
            commit_id = commit.commit_id if offset == 1 else None
            events.append(
                [
                    commit.job_id,
                    commit_id,
                    event.type,
                    event.operation_id,
                    data,
                    event.content,
                    link,
                    number,
                    offset,
                ]
            )
        bills += [[*row, number] for row in operation.encoded.ledger]
    parameters = [*_raw_columns(jobs), *_raw_columns(events)]
    if bills:
        rows = await connection.fetch(sql.APPEND_AND_BILL, *parameters, *_columns(bills))
    else:
        rows = await connection.fetch(sql.APPEND, *parameters)
    written = {places[number - 1]: first_seq for number, first_seq in rows}
    for place in written:
        ends.keep(operations[place].commit.job_id or "", extended[place])
    return written


def _lock_place(operation: CommitOperation) -> tuple[int, str]:
    """Return where a commit's job stands in the order in which jobs are locked."""
    return operation.commit.depth, operation.commit.job_id or ""


async def lock(connection: Connection, needs: Needs) -> LockedRows:
    """Lock and read the rows, in the order that all batches keep: scopes, counters, jobs, inboxes, actions, timers."""
    rows = LockedRows()
    capped = await lock_scopes(connection, needs.slots, needs.queues)
    if needs.floors or needs.openings:
        await _read_openings(connection, rows, needs)
    if needs.counters:
        await _lock_counters(connection, rows, needs)
        rows.opened = {
            counter: uncounted(amount, rows.counters[counter].settled)
            for counter, amount in rows.opened.items()
        }
    await _lock_families(connection, rows, needs)
    rows.slots = await count_slots(connection, needs.slots, needs.queues, capped)
    if needs.keys:
        for found in await connection.fetch(sql.JOBS_BY_KEY, *_pairs(needs.keys)):
            scope_id, key, job_id, request_hash = (None if v is None else from_text(v) for v in found)
            rows.by_key[(scope_id or "", key or "")] = (job_id or "", request_hash)
    if needs.signals_of:
        for job_id, signal, type_, step, data, content in await connection.fetch(
            sql.SIGNALS, _texts(needs.signals_of)
        ):
            event = NewEvent(
                from_text(type_), None if step is None else from_text(step), from_json(data), content
            )
            rows.signals.setdefault(from_text(job_id), []).append((signal, event))
    if needs.woken:
        woken = await connection.fetch(sql.WOKEN_AMONG, _texts(needs.woken))
        rows.woken = {from_text(job_id) for (job_id,) in woken}
    rows.mail = await lock_inboxes(connection, needs.mail)
    await _lock_answers(connection, rows, needs)
    return rows


async def _lock_families(connection: Connection, rows: LockedRows, needs: Needs) -> None:
    """Lock the jobs by depth and id, parents before children.

    The children of a job that ends are looked for when it is locked: who adds one to the family locks it too, so that
    nobody is missed. They stand one deeper, so that the order holds.
    """
    for depth in sorted(set(needs.children_of.values())):
        await _lock_jobs(connection, rows, needs, down_to=depth)
        ending = [parent for parent, at in needs.children_of.items() if at == depth]
        for parent, child in await connection.fetch(sql.CHILDREN, _texts(ending)):
            rows.children.setdefault(from_text(parent), []).append(from_text(child))
            needs.jobs.add(from_text(child))
    await _lock_jobs(connection, rows, needs, down_to=None)


async def _lock_jobs(connection: Connection, rows: LockedRows, needs: Needs, *, down_to: int | None) -> None:
    wanted = needs.jobs - rows.jobs.keys()
    if not wanted:
        return
    for row in await connection.fetch(sql.LOCK_JOBS, _texts(wanted), down_to):
        values: dict[str, Any] = dict(zip(sql.LOCKED_JOB, decode(sql.LOCKED_JOB, row), strict=True))
        job = LockedJob(**values)
        job.fence_before = job.fence
        job.placed = job.standing()
        rows.jobs[job.job_id] = job


async def _read_openings(connection: Connection, rows: LockedRows, needs: Needs) -> None:
    """Add up what the ledger has of windows that a budget begins in, and ask for the counters it is compared with.

    Nobody may count anything in between: it would be in the counters, and not in the sum.
    """
    if needs.openings:
        await connection.execute(sql.STOP_COUNTING)
    for opening in needs.openings:
        found = await connection.fetch(sql.SPENT_SINCE, opening.since, opening.upto, LAST_POSITION)
        for budget_id, amount in opening.counters(spent_rows(found)).items():
            rows.opened[(budget_id, opening.window)] = amount
    needs.counters.update(rows.opened)
    needs.counters.update((budget_id, window) for budget_id, window, _ in needs.floors)


def spent_rows(found: Iterable[Iterable[object]]) -> list[SpentBy]:
    """Read what the ledger's entries have spent, added up."""
    return [spent_by([from_text(v) if isinstance(v, str) else v for v in row]) for row in found]


async def _lock_counters(connection: Connection, rows: LockedRows, needs: Needs) -> None:
    """Lock the counters, after making those that are missing."""
    found = await connection.fetch(sql.LOCK_COUNTERS, *_pairs(needs.counters))
    while len(found) < len(needs.counters):  # one that was there may be forgotten before it is locked
        created = await connection.fetch(sql.NEW_COUNTERS, *_pairs(needs.counters))
        rows.empty_counters.update((from_text(budget_id), from_text(window)) for budget_id, window in created)
        found = await connection.fetch(sql.LOCK_COUNTERS, *_pairs(needs.counters))
    for budget_id, window, *amounts in found:
        rows.counters[(from_text(budget_id), from_text(window))] = counters_of(amounts)


async def _lock_answers(connection: Connection, rows: LockedRows, needs: Needs) -> None:
    if needs.actions:
        for action_id, status, votes in await connection.fetch(sql.LOCK_ACTIONS, _texts(needs.actions)):
            rows.actions[from_text(action_id)] = (status, votes)
    if needs.timers:
        for job_id, key in await connection.fetch(sql.LOCK_TIMERS, *_pairs(needs.timers)):
            rows.timers.add((from_text(job_id), from_text(key)))
    if needs.entries:
        for scope_id, event_id in await connection.fetch(sql.KNOWN_ENTRIES, *_pairs(needs.entries)):
            rows.entries.add(EntryKey(from_text(scope_id), from_text(event_id)))


async def write(connection: Connection, rows: LockedRows) -> str:
    """Write every change and return the id of the transaction, by which its fate can be asked for later.

    Raises:
        RuntimeError: A locked row could not be updated, which cannot be.
    """
    await _write_money(connection, rows)
    if rows.successors:
        await connection.execute(sql.SUCCEED, *_raw_columns(rows.successors))
    if rows.job_rows:
        await connection.execute(sql.INSERT_JOBS, *_columns(rows.job_rows.values()))
    transaction_id = await _write_journals(connection, rows)
    if rows.signal_rows:
        await connection.execute(sql.INSERT_SIGNALS, *_columns(rows.signal_rows))
    if rows.forgotten_waits:
        await connection.execute(sql.FORGET_WAITS, _texts(rows.forgotten_waits))
    if rows.wait_rows:
        await connection.execute(sql.INSERT_WAITS, *_raw_columns(rows.wait_rows))
    if rows.folded_signals:
        await connection.execute(sql.DELETE_SIGNALS, rows.folded_signals)
    await write_mail(connection, rows.mail)
    await _write_actions(connection, rows)
    await _take_leave(connection, rows)
    await _write_timers(connection, rows)
    await _write_rules(connection, rows)
    return transaction_id


async def _write_money(connection: Connection, rows: LockedRows) -> None:
    if rows.charges:
        charged = [
            [*key, *(getattr(amount, name) for amount in amounts for name in DIMENSIONS)]
            for key, amounts in rows.charges.items()
        ]
        await connection.execute(sql.CHARGE, *_raw_columns(charged))
    if rows.forget_counters:
        held = _pairs(rows.counters)
        await connection.execute(sql.FORGET_COUNTERS, *_raw_columns(rows.forget_counters), *held)
    if rows.empty_counters:
        await connection.execute(sql.DELETE_COUNTERS, *_pairs(rows.empty_counters))
    if rows.ledger_rows:
        await connection.execute(sql.INSERT_LEDGER, *_columns(rows.ledger_rows.values()))


async def _write_journals(connection: Connection, rows: LockedRows) -> str:
    """Update the jobs and append the events, in one statement."""
    if not (rows.changed_jobs or rows.event_rows):
        transaction_id: str = await connection.fetchval(sql.TRANSACTION_ID)
        return transaction_id
    jobs = [
        [job.fence_before, *(getattr(job, name) for name in sql.CHANGED_JOB)]
        for job in rows.changed_jobs.values()
    ]
    parameters = [
        *_raw_columns(jobs, len(sql.CHANGED_JOB) + 1),
        *_raw_columns(rows.event_rows, len(sql.EVENT_ROW)),
    ]
    row = await connection.fetchrow(sql.WRITE, *parameters)
    assert row is not None  # noqa: S101 -- an aggregate always returns a row
    if row[0] != len(jobs):
        raise RuntimeError(f"{len(jobs) - row[0]} locked jobs were not there to be updated")
    written: str = row[1]
    return written


async def _write_actions(connection: Connection, rows: LockedRows) -> None:
    if rows.action_rows:
        await connection.execute(sql.INSERT_ACTIONS, *_columns(rows.action_rows))
    if rows.token_rows:
        await connection.execute(sql.INSERT_TOKENS, *_columns(rows.token_rows))
    for (
        change
    ) in rows.action_changes:  # one by one: an action may change twice in a batch, and an UPDATE only once
        await connection.execute(sql.CHANGE_ACTIONS, *_raw_columns([change]))


async def _take_leave(connection: Connection, rows: LockedRows) -> None:
    if rows.ended_jobs or rows.cancel_actions_of or rows.clear_timers_of:
        cancelled = _raw_columns(rows.cancel_actions_of, 2)
        await connection.execute(
            sql.TAKE_LEAVE, _texts(rows.ended_jobs), *cancelled, _texts(rows.clear_timers_of)
        )


async def _write_timers(connection: Connection, rows: LockedRows) -> None:
    cleared = [key for key, row in rows.timer_rows.items() if row is None]
    if cleared:
        await connection.execute(sql.CLEAR_TIMERS, *_pairs(cleared))
    timers = [row for row in rows.timer_rows.values() if row is not None]
    if timers:
        await connection.execute(sql.SET_TIMERS, *_columns(timers))


async def _write_rules(connection: Connection, rows: LockedRows) -> None:
    dropped = [budget_id for budget_id, row in rows.budget_rows.items() if row is None]
    if dropped:
        await connection.execute(sql.DROP_BUDGETS, _texts(dropped))
    budgets = [row for row in rows.budget_rows.values() if row is not None]
    if budgets:
        await connection.execute(sql.PUT_BUDGETS, *_columns(budgets))
    if rows.policy_rows:
        await connection.execute(sql.KEEP_POLICIES, *_columns(rows.policy_rows.values()))


def _texts(values: Iterable[str]) -> list[str]:
    return [to_text(value) for value in values]


def _pairs(keys: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Return two arrays of the keys, sorted: rows are inserted in this order."""
    ordered = sorted(keys)
    return [to_text(key[0]) for key in ordered], [to_text(key[1]) for key in ordered]


def _columns(rows: Iterable[Row]) -> list[list[Any]]:
    """Return encoded rows as columns."""
    return [list(column) for column in zip(*rows, strict=True)]


def _raw_columns(rows: Iterable[Row], width: int = 0) -> list[list[Any]]:
    """Return rows that are not encoded yet as columns; of no rows, `width` empty ones."""
    columns: list[list[Any]] = [
        [to_text(value) if isinstance(value, str) else value for value in column]
        for column in zip(*rows, strict=True)
    ]
    return columns or [[] for _ in range(width)]
