"""Random commits, valid and refused ones, played on several storages side by side.

Everything is decided by one source of chance and by what the first storage has answered, so a seed tells the whole story.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any

from agent_runtime.audit.manager import AuditManager
from agent_runtime.errors import BudgetRejected, StorageError
from agent_runtime.ports.commit import ActionChange, Commit, JobChange, NewEvent, Signal, StoredPolicy, Timer
from agent_runtime.ports.inbox import MessageChange
from agent_runtime.ports.retention import Forgettable
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW, action, job
from agent_runtime.values.action import ActionStatus, ActionToken
from agent_runtime.values.budget import Amount, Charge, LedgerEntry, LedgerFilter, Limits
from agent_runtime.values.capacity import QueueBounds
from agent_runtime.values.deaths import OpenClaim
from agent_runtime.values.job import JobFilter, JobStatus
from agent_runtime.values.message import Address, InboxMessage, Receiver
from agent_runtime.values.opening import Floor
from agent_runtime.values.standing_budget import Budget
from agent_runtime.values.waits import WaitSet

SCOPES = ("a", "b")
JOB_IDS = tuple(f"job-{n}" for n in range(16))
ACTIONS = tuple(f"act-{n}" for n in range(12))
KEYS = ("k1", "k2", "k3", *(None,) * 9)
TIMERS = ("t1", "t2")
BUDGETS = ("b1", "b2")
WINDOWS = ("", "day:01", "day:02", "day:03")
OPERATIONS = ("op-1", "op-2", "op-3")
MESSAGES = tuple(f"msg-{n}" for n in range(16))
DESKS = tuple(Address(scope, name) for scope in SCOPES for name in ("desk", "door"))
ENTRIES = tuple(f"e{n}" for n in range(10))
RETAINED: tuple[Forgettable, ...] = ("ledger", "actions", "policies", "messages")
LATER = NOW + timedelta(days=9)


@dataclass(slots=True)
class Chance:
    """What is done next."""

    random: Random
    fences: dict[str, int] = field(default_factory=dict)
    """Of the jobs that were claimed, by the last claim."""
    number: int = 0
    there: dict[str, dict[str, None]] = field(default_factory=dict)
    """What is there, or was: ids of jobs, questions, timers and messages."""
    sent: list[Commit] = field(default_factory=list)

    def some(self, odds: float) -> bool:
        """Whether something happens."""
        return self.random.random() < odds

    def job_id(self) -> str:
        """Name a job, perhaps one that is not there."""
        return str(self.random.choice(JOB_IDS))

    def one_of(self, kind: str, names: Sequence[Any]) -> Any:
        """Name something, mostly one that is there."""
        known = list(self.there.get(kind, ()))
        return self.random.choice(known) if known and self.some(0.9) else self.random.choice(names)

    def new(self, names: Sequence[str], kind: str) -> str:
        """Name something that is not there, mostly."""
        free = [one for one in names if one not in self.there.get(kind, ())]
        return self.random.choice(free if free and self.some(0.93) else names)

    def learn(self, made: Commit) -> None:
        """Remember what a commit has made."""
        ids = {
            "jobs": [record.job_id for record, _ in made.create],
            "actions": [one.action_id for one in made.new_actions],
            "timers": [(one.job_id, one.key) for one in made.set_timers],
            "message ids": [one.message_id for one in made.messages],
            "messages": [(one.message_id, one.address) for one in made.messages],
        }
        for kind, names in ids.items():
            self.there.setdefault(kind, {}).update(dict.fromkeys(names))

    def few(self, make: Callable[[], Any], odds: float = 0.12) -> list[Any]:
        """Make nothing, mostly; otherwise one or two."""
        return [make() for _ in range(1 + self.some(0.35))] if self.some(odds) else []

    def event(self) -> NewEvent:
        """Make an entry of a journal."""
        return NewEvent(
            self.random.choice(("custom.a", "custom.b")),
            self.random.choice((None, *OPERATIONS)),
            {"n": self.number},
            b"x",
        )

    def new_job(self) -> tuple[Any, list[NewEvent]]:
        """Make a job, perhaps one that is there already."""
        choose = self.random.choice
        status = choose((JobStatus.QUEUED,) * 4 + (JobStatus.SUCCEEDED, JobStatus.SLEEPING))
        ended = {"completed_at": NOW} if status.is_terminal else {}
        before = self.one_of("jobs", JOB_IDS) if self.some(0.1) else None
        job_id = self.new(JOB_IDS, "jobs")
        parent = self.job_id() if self.some(0.4) else None
        record = job(
            job_id=job_id,
            scope_id=choose(SCOPES),
            operator=choose(("op", "op", None)),
            status=status,
            idempotency_key=choose(KEYS),
            request_hash=choose(("h1", "h1", "h2")),
            parent_job_id=None if parent == job_id else parent,
            on_parent_end=choose(("cancel", "cancel", "keep")),
            predecessor_id=before,
            priority=choose((0, 1)),
            **ended,
        )
        if (
            status is JobStatus.QUEUED and record.operator is not None and self.some(0.2)
        ):  # taken by its creator
            record = replace(
                record,
                status=JobStatus.RUNNING,
                owner="w",
                fence=1,
                started_at=NOW,
                open_claim=OpenClaim.PLAIN,
            )
            self.fences.setdefault(job_id, 1)
        return record, [self.event() for _ in range(self.random.randrange(3))]

    def signal(self) -> Signal:
        """Make a signal."""
        kind = self.random.choice(
            ("custom.wake", "job.cancel_requested", "child.ended", "job.retry_requested")
        )
        data = {"status": self.random.choice(("succeeded", "failed"))}
        return Signal(
            f"s{self.random.randrange(5)}", self.job_id(), kind, self.random.choice((None, *OPERATIONS)), data
        )

    def charge(self) -> Charge:
        """Make a charge."""
        window = self.random.choice(WINDOWS)
        limits = Limits(tokens=self.random.randrange(5, 60)) if self.some(0.6) else None
        settle, reserve = (Amount(tokens=self.random.randrange(-4, 12)) for _ in range(2))
        before = window if window and self.some(0.3) else ""
        return Charge(self.random.choice(BUDGETS), window, reserve, settle, limits, before)

    def entry(self) -> LedgerEntry:
        """Make a ledger entry."""
        return LedgerEntry(
            entry_id=self.random.choice(ENTRIES),
            type="model_usage",
            timestamp=NOW,
            scope_id=self.random.choice(SCOPES),
            input_tokens=self.number,
        )

    def change(self) -> ActionChange:
        """Make a change of a question."""
        votes: tuple[dict[str, str], ...] | None = ({"by": "x"},) if self.some(0.4) else None
        status = self.random.choice((ActionStatus.PENDING, ActionStatus.RESOLVED, ActionStatus.EXPIRED))
        return ActionChange(
            action_id=self.one_of("actions", ACTIONS),
            status=status,
            votes=votes,
            votes_before=int(self.some(0.2)),
            resolved_by="somebody" if self.some(0.5) else None,
            resolution={"value": self.number} if self.some(0.5) else None,
            job_id=self.job_id() if self.some(0.1) else None,
        )

    def message(self) -> InboxMessage:
        """Make a message."""
        scope_id, identity = self.random.choice(DESKS)
        return InboxMessage(
            message_id=self.new(MESSAGES, "message ids"),
            scope_id=scope_id,
            identity=identity,
            priority=self.random.choice((0, 0, 5)),
            dedupe_key=self.random.choice(KEYS),
            sent_at=NOW,
            content=b'"hello"',
        )

    def hand_over(self) -> MessageChange:
        """Make a change of who has a message."""
        before, after = (self.random.choice((None, None, "job-1")) for _ in range(2))
        content = b'"back"' if after is None else None
        message_id, address = self.one_of("messages", [(MESSAGES[0], DESKS[0])])
        return MessageChange(message_id, address if self.some(0.95) else DESKS[0], before, after, content)

    def job_change(self) -> JobChange:
        """Make a change of the owner's job."""
        status = self.random.choice(
            (JobStatus.RUNNING, JobStatus.WAITING, JobStatus.SLEEPING, JobStatus.SUCCEEDED, JobStatus.FAILED)
        )
        return JobChange(
            status=status,
            expect=frozenset({JobStatus.RUNNING, JobStatus.WAITING}) if self.some(0.5) else None,
            release=status != JobStatus.RUNNING or self.some(0.2),
            error="because" if self.some(0.2) else None,
            result_ref=f"r{self.number}" if self.some(0.2) else None,
            started_at=LATER if self.some(0.2) else None,
            completed_at=NOW if status.is_terminal else None,
            failed_versions=("v1",) if self.some(0.1) else None,
            retry_at=LATER if self.some(0.1) else None,
        )

    def owners_part(self) -> dict[str, Any]:
        """Make what only the owner of a job may commit; sometimes it is somebody else."""
        job_id = self.random.choice(sorted(self.fences)) if self.some(0.97) else self.job_id()
        change = self.job_change() if self.some(0.3) else None
        ends = change is not None and change.status.is_terminal
        return {
            "job_id": job_id,
            "fence": self.fences.get(job_id, 1) - self.some(0.05),
            "events": [self.event() for _ in range(self.random.randrange(3))],
            "job": change,
            "progress": 0.5 if self.some(0.1) else None,
            "absolution": self.random.choice(("deaths", "slot")) if self.some(0.1) else None,
            "require_no_signals": self.some(0.15),
            "waits": self.few(
                lambda: WaitSet(
                    operation_ids=tuple(self.random.sample(OPERATIONS, 2)), ends_with_failure=self.some(0.3)
                ),
                0.5,
            ),
            "cancel_children_of": job_id if ends and self.some(0.8) else None,
            "cancel_actions_of": job_id if ends and self.some(0.8) else None,
            "clear_timers_of": job_id if ends and self.some(0.8) else None,
        }

    def commit(self) -> Commit:
        """Make a commit."""
        self.number += 1
        if self.sent and self.some(0.04):
            return self.random.choice(self.sent)
        choose = self.random.choice
        parts: dict[str, Any] = self.owners_part() if self.fences and self.some(0.6) else {}
        if not parts and self.some(0.03):
            parts = {"job_id": self.job_id(), "events": [self.event()]}
        parts["create"] = self.few(self.new_job, 0.15 if len(self.there.get("jobs", ())) > 6 else 0.8)
        if self.some(0.3):
            parts["queue_bounds"] = QueueBounds(total=choose((None, 2, 5)), per_scope=choose((None, 2, 3)))
        parts["signals"] = self.few(self.signal)
        parts["unblock"] = self.few(self.job_id, 0.05)
        parts["new_actions"] = self.few(
            lambda: action(
                self.job_id(),
                action_id=self.new(ACTIONS, "actions"),
                scope_id=choose(SCOPES),
                token_hash=None,
                type=choose(("confirm", "reconcile")),
            )
        )
        parts["new_tokens"] = self.few(
            lambda: ActionToken(f"hash-{self.random.randrange(99)}", self.one_of("actions", ACTIONS)), 0.05
        )
        parts["action_changes"] = self.few(self.change, 0.08)
        parts["withdraw_actions"] = self.few(lambda: choose(ACTIONS), 0.05)
        parts["set_timers"] = self.few(
            lambda: Timer(
                self.job_id(), choose(TIMERS), LATER, "timer.fired", None, {"outlives": self.some(0.3)}
            )
        )
        parts["take_timers"] = self.few(lambda: self.one_of("timers", [("job-0", "t1")]), 0.06)
        parts["clear_timers"] = self.few(lambda: (self.job_id(), choose(TIMERS)), 0.06)
        parts["charges"] = self.few(self.charge, 0.25)
        parts["ledger"] = self.few(self.entry)
        parts["unique_ledger"] = self.some(0.3)
        parts["floors"] = self.few(
            lambda: Floor(choose(BUDGETS), choose(WINDOWS), Amount(tokens=self.random.randrange(40))), 0.05
        )
        parts["budgets"] = self.few(lambda: Budget(scope_id=choose(SCOPES), max_cost_daily=self.number), 0.05)
        parts["policies"] = self.few(lambda: StoredPolicy("p", choose("12"), {"rules": [self.number]}), 0.05)
        parts["messages"] = self.few(self.message, 0.15)
        parts["inbox_bound"] = choose((None, None, 3))
        parts["message_changes"] = self.few(self.hand_over, 0.08)
        parts["receivers"] = self.few(
            lambda: Receiver(self.job_id(), choose(OPERATIONS), choose(DESKS)), 0.06
        )
        parts["drop_receivers"] = self.few(
            lambda: Receiver(self.job_id(), choose(OPERATIONS), choose(DESKS)), 0.04
        )
        parts["require_empty"] = self.few(lambda: choose(DESKS), 0.04)
        made = Commit(commit_id=f"commit-{self.number}", at=NOW + timedelta(seconds=self.number), **parts)
        self.sent.append(made)
        return made


@dataclass(slots=True)
class World:
    """Storages that must not be told apart."""

    storages: Sequence[Storage]
    chance: Chance
    commits: int = 0
    done: str = ""
    read: dict[str, int] = field(default_factory=dict)
    """How far each journal was compared."""
    told: dict[str, int] = field(default_factory=dict)
    """How many commits were made, and how many refused, by the kind of the refusal."""

    async def verify(self) -> None:
        """Compute the links of all entries again, as each storage has them now."""
        for one in self.storages:
            report = await AuditManager(one).verify()
            assert report.is_intact, (type(one).__name__, report.findings)

    async def step(self) -> None:
        """Do one thing on all of them, and compare answers and states."""
        chance = self.chance
        if chance.some(0.18):
            job_id = chance.one_of("jobs", JOB_IDS)
            at = NOW + timedelta(seconds=chance.number)
            said = await self.all(f"claim {job_id}", lambda one: one.claim(job_id, owner="w", at=at))
            if "fence" in said:
                chance.fences[job_id] = said["fence"]
        elif chance.some(0.08) and chance.fences:
            job_id = chance.random.choice(sorted(chance.fences))
            fence = chance.fences[job_id] - chance.some(0.1)
            held = Commit(
                commit_id=f"held-{chance.number}-{job_id}",
                at=NOW,
                job_id=job_id,
                fence=fence,
                events=[chance.event()],
            )
            held_ = held if chance.some(0.5) else None
            chance.number += 1
            await self.all(
                f"drain {job_id} {held_}",
                lambda one: one.drain_signals(job_id, fence=fence, at=NOW, held=held_),
            )
        elif chance.some(0.03) and chance.fences:
            job_id = chance.random.choice(sorted(chance.fences))
            await self.all(f"free {job_id}", lambda one: one.free_job(job_id, fence=chance.fences[job_id]))
        elif chance.some(0.02):
            what = chance.random.choice(RETAINED)
            await self.all(f"forget {what}", lambda one: one.forget(what, before=LATER, limit=2))
        elif chance.some(0.02):
            self.read.clear()
            chance.sent.clear()  # with a journal, it is forgotten which commits were made
            await self.all("prune", lambda one: one.prune(before=LATER, limit=2))
        elif chance.some(0.15):
            together = [chance.commit() for _ in range(chance.random.randrange(2, 6))]
            if len({one.commit_id for one in together}) == len(together):
                self.commits += len(together)
                await self.all(f"together {together}", lambda one: _together(one, together))
        else:
            made = chance.commit()
            self.commits += 1
            said = await self.all(f"{made}", lambda one: one.commit(made))
            if "error" not in said:
                chance.learn(made)
        await self.compare()

    async def compare(self) -> None:
        """Compare all that the storages have. What stands in a journal stays: of it, only what is new is read."""
        first, *others = [await self.state(one) for one in self.storages]
        for other, storage in zip(others, self.storages[1:], strict=True):
            for name, expected in first.items():
                assert other[name] == expected, (
                    f"{type(storage).__name__} has other {name} after {self.done}:\n{other[name]}\n{expected}"
                )
        self.read = {one.job_id: one.last_seq for one in first["jobs"]}

    async def state(self, storage: Storage) -> dict[str, Any]:
        """Return all that a storage has, as its readers tell it."""
        jobs = sorted(await storage.list_jobs(JobFilter(limit=1000)), key=lambda one: one.job_id)
        read = [(one.job_id, self.read.get(one.job_id, 0)) for one in jobs]
        keys = [(budget, window) for budget in BUDGETS for window in WINDOWS]
        sent = self.chance.there.get("message ids", ())
        grown = [(job_id, seq) for (job_id, seq), one in zip(read, jobs, strict=True) if one.last_seq != seq]
        return {
            "jobs": jobs,
            "events": [list(await storage.events(job_id, after_seq=seq)) for job_id, seq in grown],
            "due jobs": sorted(await storage.due_jobs()),  # in which order they run is no matter of commits
            "jobs with signals": sorted(await storage.jobs_with_signals("w")),
            "questions": sorted(await storage.list_actions(limit=1000), key=lambda one: one.action_id),
            "timers": sorted(await storage.due_timers(LATER), key=lambda one: (one.job_id, one.key)),
            "counters": list(await storage.counters(keys)),
            "ledger": list(await storage.ledger_entries(LedgerFilter())),
            "budgets": sorted(await storage.standing_budgets(), key=lambda one: one.budget_id),
            "policies": [await storage.get_policy("p", version) for version in "12"],
            "messages that wait": [list(await storage.list_messages(desk)) for desk in DESKS],
            "messages": [await storage.get_message(one, scope_id=scope) for one in sent for scope in SCOPES],
        }

    async def all(self, what: str, ask: Callable[[Storage], Awaitable[Any]]) -> dict[str, Any]:
        """Ask every storage the same and return the answer."""
        self.done = what
        kind = what.split("(")[0].split(" ")[0]
        said = [await answer(ask(one)) for one in self.storages]
        for other, one in zip(said[1:], self.storages[1:], strict=True):
            assert other == said[0], f"{type(one).__name__} answers otherwise: {what}\n{other}\n{said[0]}"
        if kind == "Commit":
            told = said[0].get("error", "made")
            self.told[told] = self.told.get(told, 0) + 1
        return said[0]


async def _together(storage: Storage, commits: Sequence[Commit]) -> list[Any]:
    return list(await asyncio.gather(*(answer(storage.commit(one)) for one in commits)))


async def answer(asked: Awaitable[Any]) -> Any:
    """Return an answer in a form that can be compared, be it a refusal."""
    try:
        found = await asked
    except StorageError:
        return {"error": "StorageError"}
    except Exception as error:
        more = [error.settled, error.reserved] if isinstance(error, BudgetRejected) else []
        return {"error": type(error).__name__, "text": str(error), "more": more}
    if hasattr(found, "job"):
        return {"fence": found.job.fence, "job": found.job, "events": list(found.events)}
    return {"value": list(found) if isinstance(found, Sequence) else found}
