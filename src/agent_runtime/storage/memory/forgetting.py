"""What memory forgets beside jobs."""

from __future__ import annotations

from datetime import datetime
from itertools import islice

from agent_runtime.ports.agents import BROADCAST
from agent_runtime.ports.retention import Forgettable
from agent_runtime.storage.memory.state import State
from agent_runtime.values.budget import EntryKey
from agent_runtime.values.job import JobStatus


def forget(state: State, what: Forgettable, before: datetime, limit: int) -> int:
    """Delete what nobody has used since a moment, and return how much of it."""
    match what:
        case "ledger":
            return _forget_entries(state, before, limit)
        case "actions":
            return _forget_actions(state, before, limit)
        case "policies":
            return _forget_policies(state, limit)
        case "messages":
            return _forget_messages(state, before, limit)
        case "keys":
            return _forget_keys(state, before, limit)
        case "fires":
            return _forget_fires(state, before, limit)
        case "agent_messages":
            return _forget_agent_messages(state, before, limit)
        case "agent_events":
            return _forget_agent_events(state, before, limit)


def _forget_entries(state: State, before: datetime, limit: int) -> int:
    def is_old(key: EntryKey) -> bool:
        truth = state.ledger.get(EntryKey(key.scope_id, f"{key.entry_id}~truth"))
        newest = (
            state.ledger[key].timestamp
            if truth is None
            else max(truth.timestamp, state.ledger[key].timestamp)
        )
        return newest < before

    old = list(islice(filter(is_old, state.ledger), limit))
    for key in old:
        del state.ledger[key]
    state.forgotten += len(old)
    return len(old)


def _forget_actions(state: State, before: datetime, limit: int) -> int:
    old = [
        action.action_id
        for action in state.actions.values()
        if action.job_id is None
        and not action.is_pending
        and (action.resolved_at or action.expires_at or action.created_at) < before
    ][:limit]
    for action_id in old:
        del state.actions[action_id]
    state.tokens = {key: token for key, token in state.tokens.items() if token.action_id in state.actions}
    return len(old)


def _forget_policies(state: State, limit: int) -> int:
    """Forget versions that no job is kept of; memory does not know since when it has them."""
    kept = {(ref.name, ref.version) for job in state.jobs.values() if (ref := job.policy_ref) is not None}
    old = [key for key in state.policies if key not in kept][:limit]
    for key in old:
        del state.policies[key]
    return len(old)


def _forget_messages(state: State, before: datetime, limit: int) -> int:
    """Forget what was received, except by jobs that can still be retried, and would give it back."""
    old: list[str] = []
    for message in state.mail.messages.values():
        job = state.jobs.get(message.claimed_by or "")
        is_done = job is None or job.status is JobStatus.SUCCEEDED
        if message.claimed_at is not None and message.claimed_at < before and is_done:
            old.append(message.message_id)
    old = old[:limit]
    state.mail.forget(old)
    return len(old)


def _forget_fires(state: State, before: datetime, limit: int) -> int:
    """Forget times of schedules about which was decided."""
    old = [
        (key, due_at)
        for key, log in state.fires.items()
        for due_at, fire in log.items()
        if fire.decided_at is not None and fire.decided_at < before and not fire.outcome.is_open
    ][:limit]
    for key, due_at in old:
        del state.fires[key][due_at]
    return len(old)


def _forget_keys(state: State, before: datetime, limit: int) -> int:
    """Forget API keys that were revoked or expired."""
    ends = {key_id: (one.key.revoked_at, one.key.expires_at) for key_id, one in state.api_keys.items()}
    old = [key_id for key_id, some in ends.items() if any(end is not None and end < before for end in some)]
    for key_id in old[:limit]:
        del state.api_keys[key_id]
    return len(old[:limit])


def _forget_agent_messages(state: State, before: datetime, limit: int) -> int:
    """Forget messages of resident agents that are over, those first that ended first."""
    old = sorted(
        (message.ended_at, key, message.message_id)
        for key, mailbox in state.residents.mailboxes.items()
        for message in mailbox.values()
        if message.ended_at is not None and message.ended_at < before
    )[:limit]
    for _, key, message_id in old:
        del state.residents.mailboxes[key][message_id]
    return len(old)


def _forget_agent_events(state: State, before: datetime, limit: int) -> int:
    """Forget entries of histories, the oldest first, but for broadcasts on their way."""
    residents = state.residents
    old = sorted(
        (event.at, scope_id, event.seq)
        for scope_id, history in residents.histories.items()
        for event in history
        if event.at < before and not (event.type == BROADCAST and event.delivered is None)
    )[:limit]
    gone = {(scope_id, seq) for _, scope_id, seq in old}
    for scope_id in {scope_id for scope_id, _ in gone}:
        history = residents.histories[scope_id]
        residents.forgotten[scope_id] = history[-1].seq
        residents.histories[scope_id] = [one for one in history if (scope_id, one.seq) not in gone]
    return len(old)
