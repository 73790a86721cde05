"""Why a commit is refused, and what it changes.

A commit has one order of refusals on every storage; of several reasons the first is told:

1. **owner**: only a fenced commit extends a journal (`InvalidInput`), the job is there (`UnknownJob`), the fence holds
   (`FenceLost`), the status is one that is expected (`InvalidTransition`), no signals wait (`SignalsPending`);
2. **new jobs**, one after the other: the predecessor is there, has ended, has no successor and was not erased (`UnknownJob`,
   `DuplicateJob`, `InvalidTransition`, `ContentPruned`), the key is free (`DuplicateJob`, `IdempotencyConflict`), so is the id
   (`DuplicateJob`);
3. **the queue** has room for those of them that wait for a worker (`QueueFull`);
4. **questions** are pending and have the votes that were seen (`UnknownAction`, `ActionAlreadyResolved`), those that get
   a token are there (`UnknownAction`);
5. **timers** that are taken are set, **ledger entries** that must be new are (`AlreadySettled`);
6. **messages**: those that change hands are where they are thought to be (`AlreadySettled`), no message waits where none
   may (`SignalsPending`), those to be sent are new and find room (`DuplicateMessage`, `InboxFull`);
7. **budgets** have what is reserved and settled (`BudgetRejected`).

Within each, things happen one after the other: a commit finds what an earlier part of it has made. What it sends finds
the inboxes as they were before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent_runtime.errors import (
    ActionAlreadyResolved,
    AlreadySettled,
    BudgetRejected,
    ContentPruned,
    DuplicateJob,
    DuplicateMessage,
    FenceLost,
    IdempotencyConflict,
    InboxFull,
    InvalidInput,
    InvalidTransition,
    QueueFull,
    SignalsPending,
    UnknownAction,
    UnknownJob,
)
from agent_runtime.ports.commit import ActionChange, Commit, Signal
from agent_runtime.storage.families import PARENT_HAS_ENDED, parent_of, stop_with
from agent_runtime.storage.rules.view import Key, SeenJob, View
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.budget import Charge, Counters, EntryKey
from agent_runtime.values.deaths import Deaths
from agent_runtime.values.event import RuntimeEventType
from agent_runtime.values.job import READY, TERMINAL, JobRecord
from agent_runtime.values.message import Address


@dataclass(slots=True)
class Changes:
    """What a commit changes, as far as that depends on what it finds; the rest stands in the commit."""

    stands: Deaths | None = None
    """What counts against the owner's job from now on; `None` when nobody has looked."""
    forgets_waits: bool = False
    """The job may have waited for something before, which its new waits replace."""
    born_with: list[Signal] = field(default_factory=list)
    """Requests to stop for new jobs whose parent ends. They come before the signals of the commit."""
    deaf: set[str] = field(default_factory=set)
    """Jobs that signals of the commit do not reach: they have ended, or there are none such."""
    cancels: list[Signal] = field(default_factory=list)
    """Requests to stop for the children of a job that ends. They come after the signals of the commit."""
    withdrawn: list[str] = field(default_factory=list)
    """Questions that nobody waits for any more and that are still pending."""
    charges: dict[Key, Counters] = field(default_factory=dict)
    """What to add to counters."""

    def signals(self, commit: Commit) -> list[Signal]:
        """Return all signals that the commit brings about, in their order."""
        heard = [signal for signal in commit.signals if signal.job_id not in self.deaf]
        return [*self.born_with, *heard, *self.cancels]


@dataclass(slots=True)
class _Family:
    """The jobs as the commit leaves them, one new one after the other."""

    view: View
    commit: Commit
    created: dict[str, JobRecord] = field(default_factory=dict)
    keys: dict[Key, tuple[str, str | None]] = field(default_factory=dict)
    successors: dict[str, str] = field(default_factory=dict)
    stopping: set[str] = field(default_factory=set)

    def status(self, job_id: str) -> str | None:
        """Return a job's status after the commit; `None` when there is no such job."""
        if (new := self.created.get(job_id)) is not None:
            return new.status
        if (change := self.commit.job) is not None and job_id == self.commit.job_id:
            return change.status
        seen = self.view.job(job_id)
        return None if seen is None else seen.status

    def is_active(self, job_id: str) -> bool:
        """Whether a job is there and has not ended."""
        status = self.status(job_id)
        return status is not None and status not in TERMINAL

    def check(self, job: JobRecord) -> None:
        """Raise what the port promises when a job cannot be created."""
        if job.predecessor_id is not None:
            self._check_predecessor(job.predecessor_id)
        if job.idempotency_key is not None:
            key = (job.scope_id, job.idempotency_key)
            known = self.keys.get(key) or self.view.key_holder(key)
            if known is not None and known[0] != job.predecessor_id and known[0] not in self.successors:
                if known[1] == job.request_hash:
                    raise DuplicateJob(known[0])
                raise IdempotencyConflict(
                    f"key {job.idempotency_key!r} belongs to job {known[0]!r}, a different request"
                )
        if job.job_id in self.created or self.view.job(job.job_id) is not None:
            raise DuplicateJob(job.job_id)

    def _check_predecessor(self, job_id: str) -> None:
        """A job goes on as one other at most, and only when it has ended, be it by this commit."""
        status = self.status(job_id)
        if status is None:
            raise UnknownJob(f"no job {job_id!r}")
        before = self.created.get(job_id) or self.view.job(job_id)
        successor_id = self.successors.get(job_id) or (None if before is None else before.successor_id)
        if successor_id is not None:
            raise DuplicateJob(successor_id)
        if status not in TERMINAL:
            raise InvalidTransition(f"job {job_id!r} is {status}")
        if job_id not in self.created and self.view.is_erased(job_id):
            raise ContentPruned(f"job {job_id!r} was erased; no other goes on in its place")

    def add(self, job: JobRecord) -> Signal | None:
        """Let a job be there; return the request to stop that it is born with."""
        self.created[job.job_id] = job
        if job.predecessor_id is not None:
            self.successors[job.predecessor_id] = job.job_id
        if job.idempotency_key is not None:
            self.keys[job.scope_id, job.idempotency_key] = (job.job_id, job.request_hash)
        parent_id = parent_of(job)
        if parent_id is None:
            return None
        status = self.status(parent_id)
        stops = parent_id in self.stopping or (
            status is not None and parent_id not in self.created and self.view.is_stopping(parent_id)
        )
        request = stop_with(parent_id, job.job_id, status=status, is_stopping=stops)
        if request is not None:
            self.stopping.add(job.job_id)
        return request


def is_looked_at(commit: Commit) -> bool:
    """Whether a commit has a part that a rule other than that of its owner looks at or adds to."""
    return bool(
        commit.create
        or commit.signals
        or commit.charges
        or commit.action_changes
        or commit.new_tokens
        or commit.withdraw_actions
        or commit.take_timers
        or commit.unique_ledger
        or commit.cancel_children_of is not None
        or commit.messages
        or commit.message_changes
        or commit.require_empty
    )


def check(view: View, commit: Commit) -> Changes:
    """Return what `commit` changes; raise what the port promises when it cannot be made."""
    return check_parts(view, commit, check_owner(view, commit))


def check_owner(view: View, commit: Commit) -> SeenJob | None:
    """Return the job of who commits, `None` when nobody's; raise when it is not the writer's."""
    if commit.job_id is None or commit.fence is None:
        if commit.events or commit.job:
            raise InvalidInput("only a fenced commit may extend a journal or change a job")
        return None
    job = view.job(commit.job_id)
    if job is None:
        raise UnknownJob(f"no job {commit.job_id!r}")
    if job.fence != commit.fence:
        raise FenceLost
    change = commit.job
    if change is not None and change.expect is not None and job.status not in change.expect:
        raise InvalidTransition(f"job {commit.job_id!r} is {job.status}")
    if commit.require_no_signals and view.has_signals(commit.job_id):
        raise SignalsPending
    return job


def check_parts(view: View, commit: Commit, owned: SeenJob | None) -> Changes:
    """Return what `commit` changes, after its owner was checked; raise what the port promises otherwise."""
    changes, family = Changes(), _Family(view, commit)
    for job, _ in commit.create:
        family.check(job)
        if (request := family.add(job)) is not None:
            changes.born_with.append(request)
    if commit.queue_bounds:
        _check_queue(view, commit)
    changes.withdrawn = _check_actions(view, commit)
    _check_settled(view, commit)
    _check_mail(view, commit)
    changes.charges = _check_charges(view, commit.charges)
    if owned is not None:
        good_bye = commit.job is not None and commit.job.release
        changes.stands = owned.counted.after(commit.absolution, good_bye=good_bye)
        # One with its first fence, that nobody has given up, has not waited before.
        changes.forgets_waits = good_bye and (owned.fence > 1 or owned.owner is None)
    changes.deaf = {signal.job_id for signal in commit.signals if not family.is_active(signal.job_id)}
    if commit.cancel_children_of is not None:
        changes.cancels = _cancels(family, commit.cancel_children_of)
    return changes


def _cancels(family: _Family, parent_id: str) -> list[Signal]:
    """Return the requests to stop for all children that are there once the commit is made."""
    new = [
        job.job_id
        for job in family.created.values()
        if job.parent_job_id == parent_id and job.on_parent_end == "cancel" and job.status.is_active
    ]
    wanted, reason = RuntimeEventType.JOB_CANCEL_REQUESTED, {"reason": PARENT_HAS_ENDED}
    return [
        Signal(f"{parent_id}:cancel:{child}", child, wanted, None, reason)
        for child in (*family.view.family(parent_id), *new)
        if child != family.commit.job_id or family.is_active(child)
    ]


def _check_queue(view: View, commit: Commit) -> None:
    bounds = commit.queue_bounds
    added: Counter[str | None] = Counter()
    for job, _ in commit.create:
        if job.owner is not None or job.operator is None or job.status not in READY:
            continue
        for scope_id, bound in ((job.scope_id, bounds.per_scope), (None, bounds.total)):
            if bound is not None and view.waiting(scope_id, bound) + added[scope_id] >= bound:
                raise QueueFull(limit=bound, scope_id=scope_id)
            added[scope_id] += 1


def _check_actions(view: View, commit: Commit) -> list[str]:
    """Return the questions that are withdrawn."""
    known = {action.action_id: (str(action.status), len(action.votes)) for action in commit.new_actions}
    for change in commit.action_changes:
        known[change.action_id] = _check_action(
            known.get(change.action_id) or view.action(change.action_id), change
        )
    for token in commit.new_tokens:
        if token.action_id not in known and view.action(token.action_id) is None:
            raise UnknownAction(f"no action {token.action_id!r}")
    withdrawn = []
    for action_id in commit.withdraw_actions:
        found = known.get(action_id) or view.action(action_id)
        if found is not None and found[0] == ActionStatus.PENDING:
            known[action_id] = (ActionStatus.CANCELLED, found[1])
            withdrawn.append(action_id)
    return withdrawn


def _check_action(found: tuple[str, int] | None, change: ActionChange) -> tuple[str, int]:
    """Return status and number of votes of a question after a change."""
    if found is None:
        raise UnknownAction(f"no action {change.action_id!r}")
    status, votes = found
    if status != ActionStatus.PENDING or votes != change.votes_before:
        raise ActionAlreadyResolved(f"action {change.action_id!r} is {status}")
    return change.status, votes if change.votes is None else len(change.votes)


def _check_settled(view: View, commit: Commit) -> None:
    taken: set[Key] = set()
    for key in commit.take_timers:
        if key in taken or not view.has_timer(key):
            raise AlreadySettled
        taken.add(key)
    if commit.unique_ledger:
        written: set[EntryKey] = set()
        for entry in commit.ledger:
            if entry.key in written or view.has_entry(entry.key):
                raise AlreadySettled
            written.add(entry.key)


def _check_mail(view: View, commit: Commit) -> None:
    holders: dict[str, tuple[Address, str | None]] = {}
    for change in commit.message_changes:
        held = holders.get(change.message_id) or view.holder(change.message_id)
        if held != (change.address, change.before):
            raise AlreadySettled
        holders[change.message_id] = (change.address, change.after)
    if any(view.unclaimed(address) for address in commit.require_empty):
        raise SignalsPending
    known: dict[tuple[Address, str], str] = {}
    added: Counter[Address] = Counter()
    for message in commit.messages:
        if message.dedupe_key is not None:
            key = (message.address, message.dedupe_key)
            if (sent := known.get(key) or view.known_message(*key)) is not None:
                raise DuplicateMessage(sent)
            known[key] = message.message_id
        added[message.address] += 1
        bound = commit.inbox_bound
        if bound is not None and view.unclaimed(message.address) + added[message.address] > bound:
            raise InboxFull(identity=message.identity, scope_id=message.scope_id, limit=bound)


def _check_charges(view: View, charges: Sequence[Charge]) -> dict[Key, Counters]:
    """Return what is added to counters. Only those with limits are looked at."""
    added: dict[Key, Counters] = {}
    for charge in charges:
        key = (charge.budget_id, charge.window)
        before = added.get(key)
        if charge.limits is not None:
            now = view.spent(key)
            if before is not None:
                now = Counters(now.settled + before.settled, now.reserved + before.reserved)
            if charge.limits.exceeded_by(now.settled + now.reserved, charge.reserve + charge.settle):
                raise BudgetRejected(charge.budget_id, settled=now.settled, reserved=now.reserved)
        if before is None:
            added[key] = Counters(charge.settle, charge.reserve)
        else:
            added[key] = Counters(before.settled + charge.settle, before.reserved + charge.reserve)
    return added
