"""The dictionaries as the rules look at them, and writing what a commit changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice

from agent_runtime.audit.chain import first_head, links, new_salts
from agent_runtime.errors import StorageError
from agent_runtime.ports.commit import ActionChange, Commit, JobChange, NewEvent, Signal, placed
from agent_runtime.storage import rules
from agent_runtime.storage.json_columns import write_json
from agent_runtime.storage.memory.state import Chain, State
from agent_runtime.storage.rules import Changes, Key
from agent_runtime.values.action import ActionRecord, ActionStatus, ActionType
from agent_runtime.values.budget import Charge, Counters, EntryKey
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobRecord
from agent_runtime.values.message import Address
from agent_runtime.values.opening import Floor, SpentBy, uncounted


class _View:
    """The dictionaries as the rules look at them."""

    def __init__(self, state: State) -> None:
        self._state = state

    def job(self, job_id: str) -> JobRecord | None:
        return self._state.jobs.get(job_id)

    def is_erased(self, job_id: str) -> bool:
        return not self._state.chains[job_id].salts

    def key_holder(self, key: Key) -> tuple[str, str | None] | None:
        job_id = self._state.keys.get(key)
        return None if job_id is None else (job_id, self._state.jobs[job_id].request_hash)

    def has_signals(self, job_id: str) -> bool:
        return bool(self._state.signals.get(job_id))

    def is_stopping(self, job_id: str) -> bool:
        return self._state.is_stopping(self._state.jobs[job_id])

    def family(self, parent_id: str) -> list[str]:
        return [
            job.job_id
            for job in self._state.jobs.values()
            if job.parent_job_id == parent_id and job.status.is_active and job.on_parent_end == "cancel"
        ]

    def waiting(self, scope_id: str | None, most: int) -> int:
        return self._state.waiting(scope_id)

    def action(self, action_id: str) -> tuple[str, int] | None:
        action = self._state.actions.get(action_id)
        return None if action is None else (action.status, len(action.votes))

    def has_timer(self, key: Key) -> bool:
        return key in self._state.timers

    def has_entry(self, key: EntryKey) -> bool:
        return key in self._state.ledger

    def spent(self, key: Key) -> Counters:
        return self._state.counters.get(key, Counters())

    def unclaimed(self, address: Address) -> int:
        return self._state.mail.count(address)

    def holder(self, message_id: str) -> tuple[Address, str | None] | None:
        message = self._state.mail.messages.get(message_id)
        return None if message is None else (message.address, message.claimed_by)

    def known_message(self, address: Address, dedupe_key: str) -> str | None:
        return self._state.mail.keys.get((address, dedupe_key))


def check(state: State, commit: Commit) -> Changes:
    """Return what `commit` changes; raise what the port promises when it cannot be made."""
    _check_json(commit)
    changes = rules.check(_View(state), commit)
    _check_ids(state, commit)
    return changes


def _check_json(commit: Commit) -> None:
    """Refuse data that a database could not keep; raises `TypeError`."""
    write_json([event.data for event in commit.events])
    for _, events in commit.create:
        write_json([event.data for event in events])
    write_json([signal.data for signal in commit.signals])
    write_json([timer.data for timer in commit.set_timers])


def _check_ids(state: State, commit: Commit) -> None:
    """Refuse what a database would, by its primary keys: an id of a writer's own making that is there already."""
    made: tuple[tuple[list[str], Collection[str]], ...] = (
        ([action.action_id for action in commit.new_actions], state.actions),
        ([token.token_hash for token in commit.new_tokens], state.tokens),
        ([message.message_id for message in commit.messages], state.mail.messages),
    )
    for ids, known in made:
        if len(set(ids)) < len(ids) or any(one in known for one in ids):
            raise StorageError("an id is there already; nothing of this change was written")


def apply(state: State, commit: Commit, changes: Changes) -> int:
    """Make every change of a checked commit; return the seq of its first event."""
    first_seq = 0
    if commit.job_id is not None and commit.fence is not None:
        first_seq = append(state, commit.job_id, commit.events, commit.at)
        _change_job(state, commit.job_id, commit.job, commit, changes)
    for job, events in commit.create:
        _create(state, job)
        append(state, job.job_id, events, commit.at)
    for signal in changes.signals(commit):
        send(state, signal)
    for job_id in commit.unblock:
        if job_id in state.jobs:
            state.put_job(state.jobs[job_id], failed_versions=(), retry_at=None)
    _change_actions(state, commit, changes)
    _move_timers(state, commit)
    _spend(state, commit, changes)
    _set_rules(state, commit)
    state.mail.apply(commit)
    return first_seq


def _create(state: State, job: JobRecord) -> None:
    state.jobs[job.job_id] = job
    state.chains[job.job_id] = Chain(first_head(job.job_id, job.scope_id), new_salts())
    if job.predecessor_id is not None:
        before = state.jobs[job.predecessor_id]
        state.put_job(before, successor_id=job.job_id)
        key = (before.scope_id, before.idempotency_key or "")
        if state.keys.get(key) == before.job_id:  # a key belongs to the last job of a chain
            del state.keys[key]
    if job.idempotency_key is not None:
        state.keys[(job.scope_id, job.idempotency_key)] = job.job_id


def _change_actions(state: State, commit: Commit, changes: Changes) -> None:
    for action in commit.new_actions:
        state.actions[action.action_id] = replace(action, resume_token=None, resume_tokens={})
    state.tokens.update({token.token_hash: token for token in commit.new_tokens})
    for change in commit.action_changes:
        _change_action(state, change, commit.at)
    for action_id in changes.withdrawn:
        _cancel(state, state.actions[action_id], commit.at)
    if commit.cancel_actions_of is not None:
        for action in list(state.actions.values()):
            is_left = action.is_pending and action.type != ActionType.RECONCILE
            if is_left and action.job_id == commit.cancel_actions_of:
                _cancel(state, action, commit.at)


def _spend(state: State, commit: Commit, changes: Changes) -> None:
    new = {key for key in changes.charges if key not in state.counters}
    for key, added in changes.charges.items():
        now = state.counters.get(key, Counters())
        state.counters[key] = Counters(now.settled + added.settled, now.reserved + added.reserved)
    for charge in commit.charges:
        if (charge.budget_id, charge.window) in new:
            _forget_counters(state, charge)
    for entry in commit.ledger:
        state.ledger.setdefault(entry.key, entry)


def _set_rules(state: State, commit: Commit) -> None:
    _open_counters(state, commit)
    state.budgets.update({budget.budget_id: budget for budget in commit.budgets})
    for budget_id in commit.drop_budgets:
        state.budgets.pop(budget_id, None)
    for policy in commit.policies:
        state.policies.setdefault((policy.name, policy.version), policy)


def _open_counters(state: State, commit: Commit) -> None:
    floors = list(commit.floors)
    for opening in commit.openings:
        later = spent_since(state, opening.since, opening.upto, state.last_position)
        floors += [Floor(name, opening.window, amount) for name, amount in opening.counters(later).items()]
    for budget_id, window, amount in floors:
        now = state.counters.get((budget_id, window), Counters())
        settled = now.settled + uncounted(amount, now.settled)
        state.counters[(budget_id, window)] = Counters(settled=settled, reserved=now.reserved)


def spent_since(state: State, since: datetime, after: int, upto: int) -> list[SpentBy]:
    """Return what entries at positions above `after` up to `upto` have spent, one by one."""
    found = []
    for entry in islice(
        state.ledger.values(), max(0, after - state.forgotten), max(0, upto - state.forgotten)
    ):
        corrected = state.ledger.get(EntryKey(entry.scope_id, entry.metadata.get("corrects", "")), entry)
        if entry.type != "budget_check" and corrected.timestamp >= since:
            whose = (entry.scope_id, entry.principal_id, entry.session_id, entry.model, entry.provider)
            found.append(SpentBy(*whose, entry.counted))
    return found


def _forget_counters(state: State, charge: Charge) -> None:
    """Delete a budget's old windows when a new one begins."""
    if not charge.forget_before:
        return
    kind = charge.forget_before.partition(":")[0]
    old = [
        (budget_id, window)
        for (budget_id, window), counters in state.counters.items()
        if budget_id == charge.budget_id and kind <= window < charge.forget_before and not counters.reserved
    ]
    for key in old:
        del state.counters[key]


def _move_timers(state: State, commit: Commit) -> None:
    for key in commit.take_timers:
        del state.timers[key]
    for timer in commit.set_timers:
        state.timers[(timer.job_id, timer.key)] = timer
    for key in commit.clear_timers:
        state.timers.pop(key, None)
    if commit.clear_timers_of is not None:
        for timer in list(state.timers.values()):
            if timer.job_id == commit.clear_timers_of and not timer.data.get("outlives"):
                del state.timers[(timer.job_id, timer.key)]


def append(state: State, job_id: str, events: Sequence[NewEvent], at: datetime) -> int:
    """Extend a journal; return the seq of the first new entry."""
    job = state.jobs[job_id]
    journal, chain = state.journals.setdefault(job_id, []), state.chains[job_id]
    chain.links += links(chain.head, chain.salts, job.last_seq + 1, events, at)
    chain.head = chain.links[-1] if events else chain.head
    for seq, event in enumerate(events, job.last_seq + 1):
        journal.append(placed(event, job_id, job.scope_id, seq, at))
        state.positions += 1
        state.feed.append((state.positions, job_id, seq))
    state.put_job(job, last_seq=job.last_seq + len(events))
    return job.last_seq + 1 if events else 0


def drain_signals(state: State, job_id: str, at: datetime) -> Sequence[RuntimeEvent]:
    """Move waiting signals into the journal."""
    waiting = state.signals.pop(job_id, {})
    before = state.jobs[job_id].last_seq
    append(state, job_id, [NewEvent(s.type, s.operation_id, s.data, s.content) for s in waiting.values()], at)
    return state.journals[job_id][before:]


def send(state: State, signal: Signal) -> None:
    """Store a signal, unless it was sent before."""
    state.signals.setdefault(signal.job_id, {}).setdefault(signal.signal_id, signal)


def _change_job(
    state: State, job_id: str, change: JobChange | None, commit: Commit, changes: Changes
) -> None:
    job = state.jobs[job_id]
    stands = job.counted if changes.stands is None else changes.stands
    job = replace(job, updated_at=commit.at, **stands._asdict())
    if commit.progress is not None:
        job = replace(job, progress=commit.progress)
    if change is not None and change.release:
        state.waits.pop(job_id, None)
        if commit.waits:
            state.waits[job_id] = commit.waits
    if change is not None:
        job = replace(
            job,
            status=change.status,
            error=change.error,
            error_code=change.error_code,
            result_ref=change.result_ref if change.result_ref is not None else job.result_ref,
            started_at=job.started_at or change.started_at,
            completed_at=change.completed_at or job.completed_at,
            owner=None if change.release else job.owner,
            failed_versions=job.failed_versions if change.failed_versions is None else change.failed_versions,
            retry_at=change.retry_at or job.retry_at,
        )
        if job.status.is_terminal:
            state.signals.pop(job_id, None)
    state.jobs[job_id] = job


def _change_action(state: State, change: ActionChange, at: datetime) -> None:
    action = state.actions[change.action_id]
    ended = change.status is not ActionStatus.PENDING
    state.actions[change.action_id] = replace(
        action,
        status=change.status,
        resolution=change.resolution if change.resolution is not None else action.resolution,
        resolved_by=change.resolved_by or action.resolved_by,
        resolved_at=at if ended else None,
        votes=change.votes if change.votes is not None else action.votes,
        job_id=change.job_id or action.job_id,
    )


def _cancel(state: State, action: ActionRecord, at: datetime) -> None:
    state.actions[action.action_id] = replace(action, status=ActionStatus.CANCELLED, resolved_at=at)
