"""How many jobs of a scope run and wait, as far as a batch has to know: for caps and for bounded queues.

Who counts takes the scope's lock first, for as long as the transaction lasts, so that no two transactions count the same
free slot. The locks come before all rows, in one order everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.values import from_text, to_text
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import QueueBounds, ScopeCaps

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]


def able_parameters(ability: Ability | None) -> tuple[list[str] | None, list[str]]:
    """Return the parameters that say what whoever asks can run."""
    if ability is None:
        return None, []
    return list(map(to_text, sorted(ability.operators))), list(map(to_text, ability.versions))


Capped = dict[tuple[str, str], int]
"""Caps by scope and queue."""


@dataclass(slots=True)
class SlotNeeds:
    """What the claims of a batch have to count."""

    claims: dict[str, ScopeCaps] = field(default_factory=dict)
    """Caps by the job that is to be claimed."""
    ability: Ability | None = None
    """What whoever claims can run; all claims of a process are made with the same."""


@dataclass(slots=True)
class Slots:
    """The counts, as the operations of the batch leave them. Scopes that nobody asked about are missing."""

    running: dict[str, int] = field(default_factory=dict)
    waiting: dict[str | None, int] = field(default_factory=dict)
    """By scope; that of `None` is the number in all scopes."""
    first: set[str] = field(default_factory=set)
    """The jobs that come first for the slots there were when the batch began."""

    def has_room(self, scope_id: str, cap: int, job_id: str) -> bool:
        """Whether a job of a scope with a cap may be claimed. What is not known is tried again later."""
        return job_id in self.first and self.running.get(scope_id, cap) < cap

    def move(self, scope_id: str, *, running: int, waiting: int) -> None:
        """Count a job that has begun or stopped to run or wait."""
        if scope_id in self.running:
            self.running[scope_id] += running
        for key in (scope_id, None):
            if key in self.waiting:
                self.waiting[key] += waiting


async def lock_scopes(connection: Connection, needs: SlotNeeds, queues: Mapping[str, QueueBounds]) -> Capped:
    """Take the locks of everything that is counted; return the scopes and queues of the claims under a cap."""
    capped: Capped = {}
    if needs.claims:
        found = await connection.fetch(sql.SCOPES_OF_JOBS, [to_text(job_id) for job_id in needs.claims])
        for job_id, scope_id, queue in (map(from_text, row) for row in found):
            cap = needs.claims[job_id].of(scope_id)
            if cap is not None:
                capped[scope_id, queue] = cap
    names = {f"run:{scope_id}" for scope_id, _ in capped}
    if any(bounds.total is not None for bounds in queues.values()):
        names.add("queue")
    names |= {f"queue:{scope}" for scope, bounds in queues.items() if bounds.per_scope is not None}
    if names:
        await connection.execute(sql.LOCK_NAMES, sorted(map(_lock_number, names)))
    return capped


async def count_slots(
    connection: Connection, needs: SlotNeeds, queues: Mapping[str, QueueBounds], capped: Capped
) -> Slots:
    """Count, under the locks and after the batch's jobs are locked, so that nothing counted can change but by us."""
    slots = Slots(running=dict.fromkeys((scope_id for scope_id, _ in capped), 0))
    if capped:
        found = await connection.fetch(sql.RUNNING_IN, list(map(to_text, slots.running)))
        slots.running.update((from_text(scope_id), number) for scope_id, number in found)
    for (scope_id, queue), cap in capped.items():
        first = await connection.fetch(
            sql.NEXT_JOBS, to_text(scope_id), cap, [to_text(queue)], *able_parameters(needs.ability)
        )
        slots.first.update(from_text(row[0]) for row in first)
    bounded = [scope for scope, bounds in queues.items() if bounds.per_scope is not None]
    if bounded:
        most = max(queues[scope].per_scope or 0 for scope in bounded)
        for scope, number in await connection.fetch(sql.WAITING_IN, list(map(to_text, bounded)), most):
            slots.waiting[from_text(scope)] = number
    totals = [bounds.total for bounds in queues.values() if bounds.total is not None]
    if totals:
        slots.waiting[None] = await connection.fetchval(sql.WAITING, max(totals))
    return slots


def _lock_number(name: str) -> int:
    """Return the number of an advisory lock; two names with one number only wait for each other."""
    digest = hashlib.blake2b(name.encode(), digest_size=8, person=b"agent-run").digest()
    return int.from_bytes(digest, "big", signed=True)
