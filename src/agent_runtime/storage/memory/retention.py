"""Deleting what is old."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from agent_runtime.audit.chain import SALT_BYTES, Salts, content_digest
from agent_runtime.ports.audit import Note
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.retention import Forgettable
from agent_runtime.storage.cursors import last_of_page
from agent_runtime.storage.erasing import digests
from agent_runtime.storage.memory.agents import erase_agents
from agent_runtime.storage.memory.erasing import (
    empty_jobs,
    erase_keys,
    erase_names,
    erase_schedules,
    forget_beside,
)
from agent_runtime.storage.memory.forgetting import forget
from agent_runtime.storage.memory.journal import note_in_trail
from agent_runtime.storage.memory.state import State
from agent_runtime.values.budget import run_budget_id


class Retention:
    """Deletes what is old."""

    _state: State
    clock: Clock

    async def prune(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete jobs that ended before a moment."""
        state = self._state
        ended = state.ended(before, limit, max_events)
        gone = {job.job_id for job in ended}
        living = {job.chain_id for job in state.jobs.values() if job.job_id not in gone}
        runs = {run_budget_id(job.scope_id, job.chain_id) for job in ended if job.chain_id not in living}
        state.counters = {key: counted for key, counted in state.counters.items() if key[0] not in runs}
        for job in ended:
            del state.jobs[job.job_id]
            state.journals.pop(job.job_id, None)
            state.chains.pop(job.job_id, None)
            key = (job.scope_id, job.idempotency_key or "")
            if state.keys.get(key) == job.job_id:
                del state.keys[key]
        for trail in state.trails.values():
            trail[:] = [
                replace(one, gone_at=self.clock.now()) if one.job_id in gone else one for one in trail
            ]
        state.feed = [place for place in state.feed if place[1] not in gone]
        state.without_content -= gone
        state.actions = {key: action for key, action in state.actions.items() if action.job_id not in gone}
        state.tokens = {key: token for key, token in state.tokens.items() if token.action_id in state.actions}
        state.timers = {key: timer for key, timer in state.timers.items() if timer.job_id not in gone}
        return len(ended)

    async def forget(self, what: Forgettable, *, before: datetime, limit: int = 1000) -> int:
        """Delete what nobody has used since a moment."""
        return forget(self._state, what, before, limit)

    async def prune_content(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete the content of jobs that ended before a moment."""
        state = self._state
        ended = state.ended(before, limit, max_events, but=state.without_content)
        for job in ended:
            chain, journal = state.chains[job.job_id], state.journals[job.job_id]
            salt = Salts.read(chain.salts).content
            for event in journal:
                if event.content is not None and event.seq is not None:
                    chain.content_digests[event.seq] = content_digest(salt, event.seq, event.content)
            state.journals[job.job_id] = [replace(event, content=None) for event in journal]
            chain.salts, chain.pruned_at = chain.salts[:SALT_BYTES], self.clock.now()
            state.without_content.add(job.job_id)
        return len(ended)

    async def begin_erasing(
        self, job_ids: Sequence[str], *, scope_id: str, at: datetime, note: Note
    ) -> Sequence[str]:
        """Mark jobs of a scope as erased, and say so in its trail."""
        state = self._state
        marked = [
            job_id
            for job_id in dict.fromkeys(job_ids)
            if (job := state.jobs.get(job_id)) is not None
            and job.scope_id == scope_id
            and job.status.is_terminal
        ]
        for job_id in marked:
            chain = state.chains[job_id]
            chain.erased_at = chain.erased_at or at
        forget_beside(state, marked)
        if marked:
            note_in_trail(state, scope_id, at, [note])
        return marked

    async def erase_entries(self, job_id: str, *, limit: int = 500, max_bytes: int = 8 * 1024 * 1024) -> int:
        """Put digests in the place of a marked job's next entries."""
        chain = self._state.chains.get(job_id)
        if chain is None or chain.erased_at is None:
            return 0
        journal, salts = self._state.journals[job_id], Salts.read(chain.salts)
        todo = [event for event in journal if event.seq not in chain.data_digests][:limit]
        upto = last_of_page(((event.seq or 0, len(event.content or b"")) for event in todo), max_bytes)
        page = [event for event in todo if upto is not None and (event.seq or 0) <= upto]
        for event in page:
            seq = event.seq or 0
            known = chain.content_digests.get(seq)
            made = digests(salts, seq, event.operation_id, event.data, event.content, known)
            chain.data_digests[seq] = made[0]
            if made[1] is not None:
                chain.content_digests[seq] = made[1]
            journal[seq - 1] = replace(event, operation_id=None, data={}, content=None)
        return len(page)

    async def finish_erasing(self, job_ids: Sequence[str], *, pseudonym: str) -> None:
        """Forget the salts of marked jobs, and names in their rows and ledger entries."""
        empty_jobs(self._state, job_ids, pseudonym)

    async def erase_names(
        self, *, scope_id: str, principal_id: str | None, session_id: str | None, pseudonym: str
    ) -> int:
        """Put a pseudonym in the place of a person or a session, in what belongs to no job."""
        count = erase_names(self._state, scope_id, principal_id, session_id, pseudonym)
        if principal_id is None:
            return count
        person = (self._state, scope_id, principal_id, pseudonym, self.clock.now())
        return count + erase_keys(*person) + erase_schedules(*person) + erase_agents(*person)
