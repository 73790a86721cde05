"""What memory erases beside journals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from agent_runtime.storage.erasing import (
    is_about,
    kept_of,
    removed_by_erasure,
    renamed,
    revoked_by_erasure,
)
from agent_runtime.storage.memory.journal import note_in_trail
from agent_runtime.storage.memory.schedules import drop_schedule
from agent_runtime.storage.memory.state import State
from agent_runtime.values.budget import LedgerEntry
from agent_runtime.values.message import Address, InboxMessage


def forget_beside(state: State, job_ids: Sequence[str]) -> None:
    """Delete what goes as soon as jobs are marked: questions, timers, signals, and the mail that is theirs alone."""
    gone = set(job_ids)
    actions = {action.action_id for action in state.actions.values() if action.job_id in gone}
    state.tokens = {key: token for key, token in state.tokens.items() if token.action_id not in actions}
    for action_id in actions:
        del state.actions[action_id]
    state.timers = {key: timer for key, timer in state.timers.items() if timer.job_id not in gone}
    for job_id in gone:
        state.signals.pop(job_id, None)
        state.waits.pop(job_id, None)
        for receiver_address in state.mail.receivers.pop(job_id, {}).values():
            line = state.mail.lines[receiver_address]
            for receiver in [one for one in line if one.job_id == job_id]:
                del line[receiver]
    own = {Address(state.jobs[job_id].scope_id, state.jobs[job_id].chain_id) for job_id in gone}
    _forget_mail(state, lambda message: message.claimed_by in gone or message.address in own)


def _forget_mail(state: State, is_gone: Callable[[InboxMessage], bool]) -> int:
    mail = state.mail
    gone = [message for message in mail.messages.values() if is_gone(message)]
    for message in gone:
        del mail.messages[message.message_id]
        if message.dedupe_key is not None:
            del mail.keys[message.address, message.dedupe_key]
        if message.claimed_by is None:
            place = (-message.priority, message.position, message.message_id)
            mail.inboxes[message.address].waiting.remove(place)
    return len(gone)


def _forget_inboxes(state: State, addresses: set[Address]) -> None:
    """Delete those of some inboxes that nothing is left of."""
    kept = {message.address for message in state.mail.messages.values()}
    kept |= {address for address, line in state.mail.lines.items() if line}
    for address in addresses - kept:
        state.mail.inboxes.pop(address, None)


def _under(entry: LedgerEntry, pseudonym: str) -> LedgerEntry:
    names = ("principal_id", "session_id", "run_id")
    under: dict[str, Any] = {name: pseudonym for name in names if getattr(entry, name) is not None}
    return replace(entry, **under, metadata=kept_of(entry.metadata))


def empty_jobs(state: State, job_ids: Sequence[str], pseudonym: str) -> None:
    """Forget salts, and what the rows of marked jobs and their ledger entries say beside states and amounts."""
    gone = {job_id for job_id in job_ids if job_id in state.chains and state.chains[job_id].erased_at}
    for key, entry in state.ledger.items():
        if entry.job_id in gone:
            state.ledger[key] = _under(entry, pseudonym)
    _forget_inboxes(
        state, {Address(state.jobs[job_id].scope_id, state.jobs[job_id].inbox) for job_id in gone}
    )
    for job_id in gone:
        job, chain = state.jobs[job_id], state.chains[job_id]
        if job.idempotency_key is not None and state.keys.get((job.scope_id, job.idempotency_key)) == job_id:
            del state.keys[job.scope_id, job.idempotency_key]
        names = ("principal_id", "session_id", "run_id", "identity")
        under = {name: pseudonym for name in names if getattr(job, name) is not None}
        empty = dict.fromkeys(
            ("idempotency_key", "request_hash", "parent_operation_id", "versions", "result_ref", "error")
        )
        state.put_job(job, **under, **empty, failed_versions=(), metadata={}, tags={})
        chain.salts, chain.pruned_at = b"", chain.pruned_at or chain.erased_at
        state.without_content.add(job_id)


def erase_names(
    state: State, scope_id: str, principal_id: str | None, session_id: str | None, pseudonym: str
) -> int:
    """Put a pseudonym in the place of a person or a session of a scope, in what belongs to no job."""
    count = 0
    for key, entry in state.ledger.items():
        is_person = principal_id is not None and entry.principal_id == principal_id
        is_session = session_id is not None and entry.session_id == session_id
        if entry.scope_id == scope_id and (is_person or is_session):
            state.ledger[key] = _under(entry, pseudonym)
            count += 1
    for budget_id, window in list(state.counters):
        if parts := is_about(budget_id, scope_id, principal_id, session_id):
            new = renamed(parts, principal_id, session_id, pseudonym)
            state.counters[new, window] = state.counters.pop((budget_id, window))
            count += 1
    for budget_id in list(state.budgets):
        if is_about(budget_id, scope_id, principal_id, session_id):
            del state.budgets[budget_id]
            count += 1
    if principal_id is not None:
        address = Address(scope_id, principal_id)
        count += _forget_mail(state, lambda message: message.address == address)
        _forget_inboxes(state, {address})
    return count


def erase_schedules(state: State, scope_id: str, principal_id: str, pseudonym: str, at: datetime) -> int:
    """Remove the schedules on behalf of a person, and put a pseudonym in the place of the person in all others of the scope."""
    count = 0
    for key, schedule in sorted(state.schedules.items()):
        if key[0] == scope_id and schedule.principal_id == principal_id:
            count += drop_schedule(state, key, at, removed_by_erasure(key[1], pseudonym))
        elif key[0] == scope_id and schedule.created_by == principal_id:
            state.schedules[key] = replace(schedule, created_by=pseudonym)
            count += 1
    return count


def erase_keys(state: State, scope_id: str, principal_id: str, pseudonym: str, at: datetime) -> int:
    """Revoke a person's API keys of a scope, and put a pseudonym in the place of the person in all keys of it."""
    revoked, count = [], 0
    for key_id, stored in state.api_keys.items():
        key = stored.key
        is_theirs, is_made = key.principal_id == principal_id, key.created_by == principal_id
        if key.scope_id != scope_id or not (is_theirs or is_made):
            continue
        if is_theirs:
            revoked += [key_id] if key.revoked_at is None else []
            key = replace(key, name=pseudonym, principal_id=pseudonym, revoked_at=key.revoked_at or at)
        made_by = pseudonym if is_made else key.created_by
        state.api_keys[key_id] = replace(stored, key=replace(key, created_by=made_by))
        count += 1
    note_in_trail(state, scope_id, at, revoked_by_erasure(sorted(revoked), pseudonym))
    return count
