"""Deleting what is old."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from agent_runtime.audit.chain import SALT_BYTES, Salts, content_digest
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.retention import Forgettable
from agent_runtime.storage.memory.forgetting import forget
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
