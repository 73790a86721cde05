"""Retrying a job that has ended: another one goes on in its place, with what still counts of its journal.

The terminal event of the ended job stays the last one of its journal. The successor's journal begins with copies of the
outcomes that it recalls; it has the same origin, so that services see the operations under the same ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from agent_runtime.errors import ContentPruned, InvalidInput, RetryRefused
from agent_runtime.execution.approvals import agreed_by, told_of_agreement
from agent_runtime.execution.journal.history import History, Step
from agent_runtime.execution.operations.effects import REPEATABLE
from agent_runtime.execution.operations.receiving import returned
from agent_runtime.execution.reopening import Reopening, is_effect, place_of, reopening, sleeps_again
from agent_runtime.execution.succession import in_place_of, traced_again
from agent_runtime.jobs.manager import deadline_timer
from agent_runtime.ports.commit import ActionChange, CommitParts, NewEvent, Timer
from agent_runtime.ports.ids import new_seed
from agent_runtime.ports.inbox import MessageChange
from agent_runtime.ports.storage import Storage
from agent_runtime.values.action import ActionRecord, ActionStatus, ActionType
from agent_runtime.values.content import encode
from agent_runtime.values.context import BudgetSpec
from agent_runtime.values.event import JOURNAL_FORMAT, RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobRecord

_PAGE: Final = 1000
_EFFECTS: Final = frozenset({"step", "tool", "model"})
_NEVER_COPIED: Final = frozenset({RuntimeEventType.BRANCH_CANCELLED, RuntimeEventType.MODEL_STARTED})
_OF_FINISHED: Final = ("completed", "failed", "left")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How a job is to be retried."""

    from_step: str | None = None
    """Place, operation id or name of a step that is done anew with all that came after it."""
    budgets: BudgetSpec | None = None
    """Instead of the job's own; of a child these are its own, as its parent asks for it now."""
    new_keys: bool = False
    parent: JobRecord | None = None
    """Whose child the successor is, and which waits for it at `operation_id`."""
    inherits_budgets: bool = True
    """Whether a child spends from what its parent spends from by now."""
    operation_id: str | None = None
    told: Mapping[str, Any] = field(default_factory=dict)
    """What `job.created` says besides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """A successor, and what the commit that creates it holds."""

    job: JobRecord
    events: Sequence[NewEvent]
    timers: Sequence[Timer]
    action_changes: Sequence[ActionChange]
    message_changes: Sequence[MessageChange]

    @property
    def parts(self) -> CommitParts:
        """Parts of the commit."""
        return {
            "create": [(self.job, self.events)],
            "set_timers": [*self.timers, *deadline_timer(self.job)],
            "action_changes": self.action_changes,
            "message_changes": self.message_changes,
        }


async def retried(storage: Storage, before: JobRecord, asked: Retry, now: datetime) -> Retried:
    """Build the successor of a job that has ended.

    Raises:
        RetryRefused: Effects would be repeated; the message lists them.
        ContentPruned: The job's content was deleted.
        InvalidInput: There is no step that `from_step` names.
    """
    journal = _Journal(await _events(storage, before.job_id), before)
    cut = journal.cut(asked.from_step)
    questions = await storage.list_actions(job_id=before.job_id, limit=10_000)
    record = await _record(storage, before, asked, now)
    copies = _Copies(journal, cut, {action.action_id: action for action in questions})
    created = journal.created(copies, asked)
    return Retried(
        job=record,
        events=[created, *copies.events()],
        timers=list(copies.timers(record.job_id)),
        action_changes=list(copies.changed_questions(record.job_id)),
        message_changes=list(copies.messages(before.job_id, record.job_id)),
    )


async def _events(storage: Storage, job_id: str) -> list[RuntimeEvent]:
    found: list[RuntimeEvent] = []
    while page := await storage.events(job_id, after_seq=len(found), limit=_PAGE):
        found += page
    return found


async def _record(storage: Storage, before: JobRecord, asked: Retry, now: datetime) -> JobRecord:
    """Return the successor as it begins; deadline and running time count from now."""
    parent_id, depth = before.parent_job_id, before.depth
    if asked.parent is not None:
        parent_id, depth = asked.parent.job_id, asked.parent.depth + 1
    elif parent_id is not None:
        parent = await storage.get_job(parent_id)
        if parent is None or parent.status.is_terminal:
            parent_id, depth = None, 0
    deadline = None if before.deadline is None else now + (before.deadline - before.created_at)
    return replace(
        in_place_of(before, now),
        parent_job_id=parent_id,
        parent_operation_id=asked.operation_id,  # a parent that has had its answer gets no other
        depth=depth,
        completed_at=None,
        deadline=deadline,
        **_budgets(before, asked),
        error=None,
        error_code=None,
        result_ref=None,
    )


def _budgets(before: JobRecord, asked: Retry) -> dict[str, Any]:
    """Return what the successor spends from: a child what its parent does now, which may have got more, or less, with its own retry."""
    if asked.parent is None:
        return {"budgets": asked.budgets or before.budgets}
    inherited = asked.parent.spends_from if asked.inherits_budgets else ()
    return {"budgets": asked.budgets, "inherited_budgets": inherited}


class _Journal:
    """What has happened in the job that is retried."""

    def __init__(self, events: Sequence[RuntimeEvent], job: JobRecord) -> None:
        self.events = events
        self.history = History()
        self.history.apply_all(events)
        if not events or events[0].content is None:
            raise ContentPruned(f"the content of job {job.job_id!r} was deleted; it cannot be retried")
        self._first = events[0]
        self._last = events[-1]

    def cut(self, from_step: str | None) -> Reopening:
        """Return what is done anew."""
        failed = self._last.data.get("failed_at")
        cut = reopening(self.history, failed)
        if from_step is None:
            in_the_way = [
                *cut.in_the_way,
                *(step.operation_id for step in self.cleaned_up() if is_effect(step)),
            ]
            if in_the_way:
                listed = ", ".join(self._named(self.history.steps[one]) for one in in_the_way)
                raise RetryRefused(
                    f"effects followed the failure, and would be repeated: {listed}; say with from_step from where to "
                    "start"
                )
            return cut
        earlier = reopening(self.history, self._found(from_step), from_here=True)
        return Reopening(
            reopened=[*cut.reopened, *earlier.reopened],
            dropped=[*cut.dropped, *earlier.dropped],
            branches=[*cut.branches, *earlier.branches],
            timers=[*cut.timers, *earlier.timers],
            children={**cut.children, **earlier.children},
        )

    def _named(self, step: Step) -> str:
        return f"{step.kind} {step.name!r} at {place_of(step)}"

    def _found(self, from_step: str) -> str:
        named = [
            step for step in self.history.steps.values() if from_step in (step.operation_id, place_of(step))
        ]
        named = named or [step for step in self.history.steps.values() if step.name == from_step]
        if len(named) == 1:
            return named[0].operation_id
        what = (
            "no step" if not named else f"{len(named)} steps: {', '.join(place_of(step) for step in named)}"
        )
        raise InvalidInput(f"from_step {from_step!r} names {what}; give the place of one")

    def cleaned_up(self) -> Iterator[Step]:
        """Yield what was done because the job was to stop; a retry takes another way."""
        for event in self.events:
            if event.type != RuntimeEventType.BRANCH_CANCELLED:
                continue
            line = (event.operation_id or "").partition(":")[2]
            for step in self.history.steps.values():
                rest = place_of(step).removeprefix(f"{line}.") if line else place_of(step)
                number = rest.partition(".")[0]
                is_later = (step.declaration.seq or 0) > (event.seq or 0)
                if is_later and number.isdecimal() and int(number) >= event.data["next"]:
                    yield step

    def created(self, copies: _Copies, asked: Retry) -> NewEvent:
        """Return the first entry of the successor's journal."""
        data = {
            "format": JOURNAL_FORMAT,
            "operator": self._first.data.get("operator"),
            "retries": self._first.job_id,
            **told_of_agreement(self._first.data),
            **traced_again(self._first),
            **asked.told,
            **self.history.spent_so_far(),
        }
        more: dict[str, Any] = {
            "children": copies.children,
            "dropped": copies.dropped,
        }
        if asked.new_keys:
            more["new_seed"] = new_seed()
        data |= {name: value for name, value in more.items() if value}
        return NewEvent(RuntimeEventType.JOB_CREATED, None, data, self._first.content)


class _Copies:
    """What of a journal still counts: what has an outcome, and is not done anew.

    Attributes:
        children: Child jobs that are retried themselves, by place.
        dropped: Kind, name, hash of the arguments and operation id of effects that may be done anew, by place: whoever does the
            same has the same key. What an earlier retry has not come to is among them.
        repeats: Of these, those that have happened: somebody is asked before they happen again.
        unknown_questions: Operation ids of the questions what became of lost effects.
    """

    def __init__(self, journal: _Journal, cut: Reopening, questions: Mapping[str, ActionRecord]) -> None:
        self._journal = journal
        self._history = journal.history
        self._cut = cut
        self._questions = {
            action.operation_id: action
            for action in questions.values()
            if action.type == ActionType.RECONCILE and action.operation_id is not None
        }
        self.unknown_questions: set[str] = set()
        self._timers = set(cut.timers)
        self._gone = {*cut.reopened, *cut.dropped, *(step.operation_id for step in journal.cleaned_up())}
        self.children = {one.partition(":")[2]: child for one, child in cut.children.items()}
        self.dropped: dict[str, list[Any]] = {
            place: noted
            for place, noted in (self._history.created_data("dropped") or {}).items()
            if place not in self._history.ids
        }
        self.repeats: list[NewEvent] = []
        for step in self._history.steps.values():
            self._judge(step)

    def _judge(self, step: Step) -> None:
        """Find out whether an operation is recalled."""
        one, place = step.operation_id, place_of(step)
        arrived = self._history.arrived.get(one)
        if one in self._gone:
            self._note_gone(step)
        if step.kind in _EFFECTS:
            if step.outcome is None and not self._is_unknown(step):
                self._gone.add(one)
            elif self._is_unknown(step) and one not in self._gone:
                self.unknown_questions.add(f"{one}!{step.unknowns - 1}")
        elif step.kind == "child" and one not in self._history.withdrawn:
            if arrived is None or arrived.data.get("status") != "succeeded":
                self.children[place] = step.declaration.data["child_job_id"]
                self._gone.add(one)
        elif one in self._history.withdrawn or arrived is not None:
            return
        elif step.kind == "message" or (step.kind == "action" and one not in self._questions):
            self._gone.add(one)
        elif step.kind == "timer":
            self._timers.add(one)
        elif step.kind == "timeout" and one not in self._history.timeouts:
            self._gone.add(one)

    def _note_gone(self, step: Step) -> None:
        if step.kind not in ("step", "tool"):
            if step.kind == "child":
                self.children[place_of(step)] = step.declaration.data["child_job_id"]
            return
        place, effect = place_of(step), step.declaration.data.get("effect", "read")
        call = self._history.call_of(step)
        data: dict[str, Any] = {} if call is None else dict(call.data)
        made = step.made_hash or data.get("made", data.get("input"))
        self.dropped[place] = [step.kind, step.name, made, step.operation_id]
        has_happened = step.outcome is not None and step.outcome.type.endswith(".completed")
        if (has_happened or (call is not None and self._is_lost(step))) and effect not in REPEATABLE:
            data |= {"kind": step.kind, "name": step.name, "effect": effect}
            data |= agreed_by(self._history, step.operation_id)
            content = None if call is None else call.content
            self.repeats.append(NewEvent(RuntimeEventType.RETRY_REPEATS, step.operation_id, data, content))

    def _is_lost(self, step: Step) -> bool:
        """Whether nobody has said what became of an effect, or that it happened."""
        if step.outcome is not None or step.may_reenter:
            return False
        asked = self._questions.get(f"{step.operation_id}!{step.unknowns - 1}")
        said = None if asked is None else asked.resolution
        return said is None or said.get("outcome") not in ("retry", "fail")

    def changed_questions(self, successor_id: str) -> Iterator[ActionChange]:
        """Yield what becomes of open questions about lost effects: they move on, or are withdrawn where the successor asks anew."""
        for one, action in self._questions.items():
            is_kept = one in self.unknown_questions
            if action.is_pending and (is_kept or one.partition("!")[0] in self._gone):
                yield ActionChange(
                    action_id=action.action_id,
                    status=ActionStatus.PENDING if is_kept else ActionStatus.CANCELLED,
                    votes_before=len(action.votes),
                    job_id=successor_id if is_kept else None,
                )

    def _is_unknown(self, step: Step) -> bool:
        effect = step.declaration.data.get("effect", "unsafe")
        return (
            step.outcome is None
            and step.state == "unknown"
            and step.kind != "model"
            and effect not in REPEATABLE
        )

    def messages(self, job_id: str, successor_id: str) -> Iterator[MessageChange]:
        """Yield what becomes of the messages that the job has: those it recalls move on with it, the others go back."""
        for step in self._history.steps.values():
            received = self._history.arrived.get(step.operation_id)
            if step.kind == "message" and received is not None:
                back = returned(received, job_id)
                is_kept = step.operation_id not in self._gone
                yield back._replace(after=successor_id, content=None) if is_kept else back

    def timers(self, job_id: str) -> Iterator[Timer]:
        """Return the timers of sleeps that go on to their old end."""
        return sleeps_again(self._history, self._timers - self._gone, job_id)

    def events(self) -> Iterator[NewEvent]:
        """Yield what may be repeated, the copies, and what has become of lost effects since the job ended."""
        yield from self.repeats
        for event in self._journal.events:
            if event.operation_id is not None and self._counts(event, event.operation_id):
                data = {name: value for name, value in event.data.items() if name != "usage"}
                yield NewEvent(event.type, event.operation_id, data, event.content)
        for one in sorted(self.unknown_questions):
            yield from self._question(one)

    def _counts(self, event: RuntimeEvent, one: str) -> bool:
        if event.type in _NEVER_COPIED or event.type.startswith("budget."):
            return False
        if event.type == RuntimeEventType.TOOL_PINNED:  # what was agreed to was agreed to for this
            return True
        asked_about, mark, _ = one.partition("!")
        if one in self._gone or (mark and asked_about in self._gone) or one in self.unknown_questions:
            return False
        if event.type == RuntimeEventType.BRANCH_FAILED:
            return one not in self._cut.branches
        if event.type == RuntimeEventType.WAIT_WITHDRAWN:
            return one not in self._timers
        step = self._history.steps.get(one)
        family, _, state = event.type.partition(".")
        if step is not None and step.kind == family and family in _EFFECTS:
            if state in _OF_FINISHED:  # an earlier one may have been an outage that was waited out
                return event is step.outcome
            return state == "started" or (step.outcome is None and state == "unknown")
        return True

    def _question(self, one: str) -> Iterator[NewEvent]:
        """Yield the question what became of a lost effect, as it moves on, and its answer if there is one by now."""
        action = self._questions.get(one)
        if action is None:
            return
        data: dict[str, Any] = {
            "name": action.type,
            "action_id": action.action_id,
            "type": action.type,
            "expires_at": None,
            "approvers": None if action.approvers is None else list(action.approvers),
            "quorum": action.quorum,
        }
        yield NewEvent(RuntimeEventType.ACTION_REQUIRED, one, data, encode(dict(action.payload)))
        if action.status is ActionStatus.RESOLVED:
            told = {"action_id": action.action_id, "resolved_by": action.resolved_by}
            yield NewEvent(RuntimeEventType.ACTION_RESOLVED, one, told, encode(dict(action.resolution or {})))
