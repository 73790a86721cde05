"""Which rows a commit makes a back end look at or change, for one that loads and locks them beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_runtime.ports.commit import Commit
from agent_runtime.ports.inbox import mailed_inboxes
from agent_runtime.storage.families import parent_of
from agent_runtime.storage.rules.view import Key
from agent_runtime.values.budget import EntryKey
from agent_runtime.values.capacity import QueueBounds
from agent_runtime.values.job import JobRecord
from agent_runtime.values.message import Address
from agent_runtime.values.opening import Floor, OpeningBalance


@dataclass(slots=True)
class MailNeeds:
    """Which rows of inboxes are looked at or changed."""

    addresses: set[Address] = field(default_factory=set)
    messages: set[str] = field(default_factory=set)
    """Messages that change hands."""
    keys: set[tuple[Address, str]] = field(default_factory=set)
    """Inboxes and dedupe keys of messages to be sent."""
    mailed: set[Address] = field(default_factory=set)
    """Inboxes in which messages may be left to those who wait."""

    def add(self, commit: Commit) -> None:
        """Need what a commit mentions."""
        self.addresses.update(message.address for message in commit.messages)
        self.addresses.update(change.address for change in commit.message_changes)
        self.addresses.update(one.address for one in (*commit.receivers, *commit.drop_receivers))
        self.addresses.update(commit.require_empty)
        self.messages.update(change.message_id for change in commit.message_changes)
        self.keys.update(
            (message.address, message.dedupe_key)
            for message in commit.messages
            if message.dedupe_key is not None
        )
        self.mailed.update(mailed_inboxes(commit.messages, commit.message_changes, commit.drop_receivers))


@dataclass(slots=True)
class Needs:
    """Which rows are looked at or changed. Those of several commits add up."""

    jobs: set[str] = field(default_factory=set)
    children_of: dict[str, int] = field(default_factory=dict)
    """Jobs that end with their families, with their depth."""
    keys: set[Key] = field(default_factory=set)
    """(scope, idempotency key) pairs of jobs to be created."""
    signals_of: set[str] = field(default_factory=set)
    queues: dict[str, QueueBounds] = field(default_factory=dict)
    """Bounds by the scope in which a job is to be created."""
    actions: set[str] = field(default_factory=set)
    timers: set[Key] = field(default_factory=set)
    """(job, key) pairs that are taken."""
    entries: set[EntryKey] = field(default_factory=set)
    """Ledger entries that must not be there."""
    counters: set[Key] = field(default_factory=set)
    """(budget, window) pairs."""
    floors: list[Floor] = field(default_factory=list)
    openings: list[OpeningBalance] = field(default_factory=list)
    mail: MailNeeds = field(default_factory=MailNeeds)

    def add(self, commit: Commit) -> None:
        """Need whatever a commit mentions."""
        self.jobs.update(signal.job_id for signal in commit.signals)
        self.jobs.update(commit.unblock)
        if commit.job_id is not None and commit.fence is not None:
            self.jobs.add(commit.job_id)
            if commit.require_no_signals:
                self.signals_of.add(commit.job_id)
        for job, _ in commit.create:
            self._add_new(job, commit.queue_bounds)
        if commit.cancel_children_of is not None:
            self.children_of[commit.cancel_children_of] = commit.depth
        self.actions.update(change.action_id for change in commit.action_changes)
        self.actions.update(token.action_id for token in commit.new_tokens)
        self.actions.update(commit.withdraw_actions)
        self.counters.update((charge.budget_id, charge.window) for charge in commit.charges)
        self.floors.extend(commit.floors)
        self.openings.extend(commit.openings)
        self.timers.update(commit.take_timers)
        self.mail.add(commit)
        if commit.unique_ledger:
            self.entries.update(entry.key for entry in commit.ledger)

    def _add_new(self, job: JobRecord, bounds: QueueBounds) -> None:
        self.jobs.add(job.job_id)
        if job.predecessor_id is not None:
            self.jobs.add(job.predecessor_id)
        if (parent := parent_of(job)) is not None:
            self.jobs.add(parent)
            self.signals_of.add(parent)
        if bounds:
            known = self.queues.get(job.scope_id)
            self.queues[job.scope_id] = bounds if known is None else _wider(known, bounds)
        if job.idempotency_key is not None:
            self.keys.add((job.scope_id, job.idempotency_key))


def _wider(one: QueueBounds, other: QueueBounds) -> QueueBounds:
    """Return bounds that count far enough for both."""
    return QueueBounds(
        total=max((bound for bound in (one.total, other.total) if bound is not None), default=None),
        per_scope=max(
            (bound for bound in (one.per_scope, other.per_scope) if bound is not None), default=None
        ),
    )
