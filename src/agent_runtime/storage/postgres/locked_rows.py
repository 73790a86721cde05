"""The rows a batch has locked.

It sees them as they are while its operations are applied one after the other, and keeps what is to be written at its
end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from agent_runtime.audit.chain import links
from agent_runtime.ports.commit import NewEvent
from agent_runtime.storage import rules
from agent_runtime.storage.postgres.inbox import Mail
from agent_runtime.storage.postgres.locks import SlotNeeds, Slots
from agent_runtime.storage.postgres.values import from_json
from agent_runtime.storage.rules import Key
from agent_runtime.values.ability import Ability
from agent_runtime.values.budget import Amount, Counters, EntryKey
from agent_runtime.values.deaths import Deaths
from agent_runtime.values.event import STOP_REQUESTS
from agent_runtime.values.job import READY, TERMINAL
from agent_runtime.values.message import Address

Row = list[object]


@dataclass(slots=True)
class Needs(rules.Needs):
    """Which rows a batch looks at or changes: those of its commits, and of its claims."""

    woken: set[str] = field(default_factory=set)
    """Jobs of which it counts whether the signals that wait for them wake them."""
    slots: SlotNeeds = field(default_factory=SlotNeeds)


@dataclass(slots=True, kw_only=True)
class EncodedCommit:
    """The rows of a commit as the driver takes them.

    They are made where the commit is handed in, so that what cannot be encoded concerns nobody else.
    """

    events: Sequence[str]
    """JSON of each event's data."""
    created: Sequence[tuple[Row, Sequence[str]]]
    """Row of each new job, and JSON of its events' data."""
    signals: Sequence[Row]
    actions: Sequence[Row]
    tokens: Sequence[Row]
    timers: Sequence[Row]
    ledger: Sequence[Row]
    budgets: Sequence[Row]
    policies: Sequence[Row]


@dataclass(slots=True, kw_only=True)
class LockedJob:
    """A job's row, locked by this transaction, with the changes made to it so far."""

    job_id: str
    scope_id: str
    fence: int
    owner: str | None
    operator: str | None
    status: str
    last_seq: int
    deaths: int
    lone_deaths: int
    open_claim: int
    failed_versions: str | None
    retry_at: datetime | None
    progress: float
    error: str | None
    error_code: str | None
    result_ref: str | None
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime
    audit_head: bytes
    audit_salt: bytes
    successor_id: str | None = None
    fence_before: int = -1
    """The fence under which the row was locked."""
    placed: tuple[bool, bool] = (False, False)
    """Whether it is counted as running, and as waiting for a worker."""

    def can_be_run(self, ability: Ability | None, *, is_stopping: bool) -> bool:
        """Whether whoever asks can run the job."""
        if ability is None:
            return True
        failed = from_json(self.failed_versions or "[]")
        return ability.can_run(self.operator, failed, is_stopping=is_stopping)

    @property
    def counted(self) -> Deaths:
        """What counts against the job."""
        return Deaths(self.deaths, self.lone_deaths, self.open_claim)

    @counted.setter
    def counted(self, stands: Deaths) -> None:
        self.deaths, self.lone_deaths, self.open_claim = stands

    @property
    def is_active(self) -> bool:
        """Whether the job has not ended."""
        return self.status not in TERMINAL

    def standing(self) -> tuple[bool, bool]:
        """Return whether it runs, and whether it waits for a worker."""
        waits = self.owner is None and self.operator is not None and self.status in READY
        return self.owner is not None, waits


@dataclass(slots=True)
class LockedRows:
    """The state that operations check and change. An operation checks everything before it changes anything.

    It is what the rules look at (`rules.View`), as the operations before have left it.
    """

    jobs: dict[str, LockedJob] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    by_key: dict[Key, tuple[str, str | None]] = field(default_factory=dict)
    """Job id and request hash, by scope and idempotency key."""
    signals: dict[str, list[tuple[int, NewEvent]]] = field(default_factory=dict)
    """Waiting signals of the jobs that asked for them, by job."""
    actions: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Status and number of votes, by action."""
    woken: set[str] = field(default_factory=set)
    """Those of the asked-for jobs that signals have woken."""
    timers: set[Key] = field(default_factory=set)
    """Those of the asked-for timers that are there."""
    entries: set[EntryKey] = field(default_factory=set)
    """Those of the asked-for ledger entries that are there."""
    counters: dict[Key, Counters] = field(default_factory=dict)
    empty_counters: set[Key] = field(default_factory=set)
    """Counters that were inserted to be locked, or forgotten, and in which nothing has been counted since: they do not stay."""
    slots: Slots = field(default_factory=Slots)
    opened: dict[Key, Amount] = field(default_factory=dict)
    """What the ledger has of the windows of budgets that begin, and their counters had not."""
    mail: Mail = field(default_factory=Mail)

    changed_jobs: dict[str, LockedJob] = field(default_factory=dict)
    event_rows: list[Row] = field(default_factory=list)
    job_rows: dict[str, Row] = field(default_factory=dict)
    """New jobs, by id."""
    successors: list[Row] = field(default_factory=list)
    """(job, the one that goes on in its place) pairs."""
    signal_rows: list[Row] = field(default_factory=list)
    forgotten_waits: list[str] = field(default_factory=list)
    wait_rows: list[Row] = field(default_factory=list)
    folded_signals: list[int] = field(default_factory=list)
    ended_jobs: list[str] = field(default_factory=list)
    action_rows: list[Row] = field(default_factory=list)
    token_rows: list[Row] = field(default_factory=list)
    action_changes: list[Row] = field(default_factory=list)
    cancel_actions_of: list[Row] = field(default_factory=list)
    timer_rows: dict[Key, Row | None] = field(default_factory=dict)
    """The last word on each timer: its row, or that it goes."""
    clear_timers_of: list[str] = field(default_factory=list)
    charges: dict[Key, tuple[Amount, Amount]] = field(default_factory=dict)
    """What to add to settled and reserved."""
    forget_counters: list[Row] = field(default_factory=list)
    ledger_rows: dict[EntryKey, Row] = field(default_factory=dict)
    budget_rows: dict[str, Row | None] = field(default_factory=dict)
    """The last word on each standing budget."""
    policy_rows: dict[Key, Row] = field(default_factory=dict)

    def job(self, job_id: str) -> LockedJob | None:
        """Return a locked job."""
        return self.jobs.get(job_id)

    def is_erased(self, job_id: str) -> bool:
        """Whether the salts of a locked job are gone."""
        return not self.jobs[job_id].audit_salt

    def key_holder(self, key: Key) -> tuple[str, str | None] | None:
        """Return the job that has a key."""
        return self.by_key.get(key)

    def has_signals(self, job_id: str) -> bool:
        """Whether signals wait."""
        return bool(self.signals.get(job_id))

    def is_stopping(self, job_id: str) -> bool:
        """Whether one of them is a request to stop."""
        return any(event.type in STOP_REQUESTS for _, event in self.signals.get(job_id, ()))

    def family(self, parent_id: str) -> list[str]:
        """Return the children that have not ended."""
        return [
            child
            for child in self.children.get(parent_id, ())
            if (job := self.jobs.get(child)) is not None and job.is_active
        ]

    def waiting(self, scope_id: str | None, most: int) -> int:
        """Return how many jobs wait, counted as far as the widest bound of the batch."""
        return self.slots.waiting[scope_id]

    def action(self, action_id: str) -> tuple[str, int] | None:
        """Return a question."""
        return self.actions.get(action_id)

    def has_timer(self, key: Key) -> bool:
        """Whether a timer is set."""
        return key in self.timers

    def has_entry(self, key: EntryKey) -> bool:
        """Whether an entry is there."""
        return key in self.entries

    def spent(self, key: Key) -> Counters:
        """Return counters."""
        return self.counters[key]

    def unclaimed(self, address: Address) -> int:
        """Return how many messages wait."""
        return self.mail.inboxes[address].unclaimed

    def holder(self, message_id: str) -> tuple[Address, str | None] | None:
        """Return where a message is."""
        return self.mail.holders.get(message_id)

    def known_message(self, address: Address, dedupe_key: str) -> str | None:
        """Return the message with a key."""
        return self.mail.known.get((address, dedupe_key))

    def append(
        self,
        job: LockedJob,
        events: Sequence[NewEvent],
        data: Sequence[str],
        at: datetime,
        commit_id: str | None,
    ) -> int:
        """Extend a journal; return the seq of the first new entry. Only that one carries the commit's id."""
        first_seq = job.last_seq + 1
        chain = links(job.audit_head, job.audit_salt, first_seq, events, at)
        job.audit_head = chain[-1] if chain else job.audit_head
        self.event_rows.extend(
            [
                job.job_id,
                seq,
                commit_id if seq == first_seq else None,
                event.type,
                at,
                event.operation_id,
                text,
                event.content,
                link,
            ]
            for seq, event, text, link in zip(
                range(first_seq, first_seq + len(events)), events, data, chain, strict=True
            )
        )
        job.last_seq += len(events)
        return first_seq

    def change(self, job: LockedJob) -> None:
        """Remember that a job's row is to be written."""
        self.changed_jobs[job.job_id] = job
        self.count(job)

    def count(self, job: LockedJob) -> None:
        """Count a job where it stands now."""
        before, job.placed = job.placed, job.standing()
        (ran, waited), (runs, waits) = before, job.placed
        self.slots.move(job.scope_id, running=runs - ran, waiting=waits - waited)
