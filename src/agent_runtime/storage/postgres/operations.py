"""What a writer is asked to do: make a commit, claim a job, drain its signals. Each knows which rows it needs locked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from operator import attrgetter
from typing import Final, Generic, TypeVar

from agent_runtime.ports.commit import Commit
from agent_runtime.storage.handed import Handed
from agent_runtime.storage.postgres.apply import Claimed, apply_claim, apply_commit, apply_fold
from agent_runtime.storage.postgres.locked_rows import EncodedCommit, LockedRows, Needs
from agent_runtime.storage.postgres.statements import SIGNAL
from agent_runtime.storage.postgres.values import encode, to_json
from agent_runtime.storage.rows import (
    ACTION,
    BUDGET,
    JOB,
    LEDGER,
    POLICY,
    TIMER,
    TOKEN,
    action_row,
    budget_row,
    job_row,
    ledger_row,
    policy_row,
)
from agent_runtime.storage.rules import check
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from agent_runtime.values.event import RuntimeEvent

T_co = TypeVar("T_co", covariant=True)
_JOURNAL_ALONE: Final = {
    "commit_id",
    "at",
    "job_id",
    "fence",
    "depth",
    "scope_id",
    "events",
    "progress",
    "ledger",
}
_more_than_journal: Final = attrgetter(
    *(part.name for part in fields(Commit) if part.name not in _JOURNAL_ALONE)
)
"""Everything else a commit can hold, also what it may come to hold one day; empty when it is not used."""


@dataclass(slots=True, eq=False)
class Operation(Handed, ABC, Generic[T_co]):
    """One request to the writer."""

    @property
    def commit_id(self) -> str | None:
        """The id under which the journal remembers it, if it does."""
        return None

    @abstractmethod
    def need(self, needs: Needs) -> None:
        """Say which rows are read or changed."""

    @abstractmethod
    def apply(self, rows: LockedRows) -> T_co:
        """Make the changes in memory and return the result; raises before anything is changed."""


@dataclass(slots=True, eq=False)
class CommitOperation(Operation[int]):
    """Makes a commit."""

    commit: Commit = field(kw_only=True)
    encoded: EncodedCommit = field(init=False)
    cancelled: list[str] = field(init=False, default_factory=list)
    """Children that were sent a cancel signal."""
    mailed: list[str] = field(init=False, default_factory=list)
    """Jobs for which messages were left."""

    def __post_init__(self) -> None:
        commit, at = self.commit, self.commit.at
        self.encoded = EncodedCommit(
            events=[to_json(event.data) for event in commit.events],
            created=[
                (encode(JOB, job_row(replace(job, last_seq=len(events)))), [to_json(e.data) for e in events])
                for job, events in commit.create
            ],
            signals=[encode(SIGNAL, [*signal, signal.is_failure]) for signal in commit.signals],
            actions=[encode(ACTION, action_row(action)) for action in commit.new_actions],
            tokens=[encode(TOKEN, token) for token in commit.new_tokens],
            timers=[encode(TIMER, timer) for timer in commit.set_timers],
            ledger=[encode(LEDGER, ledger_row(entry)) for entry in commit.ledger],
            budgets=[encode(BUDGET, budget_row(budget, at)) for budget in commit.budgets],
            policies=[encode(POLICY, policy_row(policy, at)) for policy in commit.policies],
        )

    @property
    def commit_id(self) -> str | None:
        """Its own, when it has events: an entry of the journal carries it."""
        return self.commit.commit_id if self.commit.events and self.commit.fence is not None else None

    @property
    def only_extends(self) -> bool:
        """Whether it appends to one journal, with what that bills, and does nothing else."""
        return self.commit_id is not None and not any(_more_than_journal(self.commit))

    def need(self, needs: Needs) -> None:
        """Need whatever the commit mentions."""
        needs.add(self.commit)

    def apply(self, rows: LockedRows) -> int:
        """Apply the commit."""
        changes = check(rows, self.commit)
        first_seq = apply_commit(rows, self.commit, changes, self.encoded)
        self.mailed = rows.mail.apply(self.commit)
        self.cancelled = [signal.job_id for signal in changes.cancels]
        return first_seq


@dataclass(slots=True, eq=False)
class ClaimOperation(Operation[Claimed | None]):
    """Takes a job."""

    job_id: str = field(kw_only=True)
    owner: str = field(kw_only=True)
    at: datetime = field(kw_only=True)
    caps: ScopeCaps = field(kw_only=True, default=NO_CAPS)
    suspects: bool = field(kw_only=True, default=True)
    ability: Ability | None = field(kw_only=True, default=None)

    def need(self, needs: Needs) -> None:
        """Need the job and its signals, and to know how many others of its scope run."""
        needs.jobs.add(self.job_id)
        needs.signals_of.add(self.job_id)
        needs.woken.add(self.job_id)
        if self.caps:
            needs.slots.claims[self.job_id] = self.caps
            needs.slots.ability = self.ability

    def apply(self, rows: LockedRows) -> Claimed | None:
        """Apply the claim."""
        return apply_claim(
            rows, self.job_id, self.owner, self.at, self.caps, suspects=self.suspects, ability=self.ability
        )


@dataclass(slots=True, eq=False)
class DrainOperation(Operation[Sequence[RuntimeEvent]]):
    """Takes the waiting signals into a journal, after what its owner has not written yet."""

    job_id: str = field(kw_only=True)
    fence: int = field(kw_only=True)
    at: datetime = field(kw_only=True)
    held: CommitOperation | None = field(kw_only=True, default=None)
    held_seq: int = field(init=False, default=0)
    """The position of the first entry of `held`."""

    @property
    def commit_id(self) -> str | None:
        """That of what is held."""
        return None if self.held is None else self.held.commit_id

    def need(self, needs: Needs) -> None:
        """Need the job and its signals, and what the commit before needs."""
        if self.held is not None:
            self.held.need(needs)
        needs.jobs.add(self.job_id)
        needs.signals_of.add(self.job_id)

    def apply(self, rows: LockedRows) -> Sequence[RuntimeEvent]:
        """Apply the commit, then drain the signals, which the same fence lets through."""
        if self.held is not None:
            self.held_seq = self.held.apply(rows)
        return apply_fold(rows, self.job_id, self.fence, self.at)
