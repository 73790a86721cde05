"""What a job's journal says has happened, indexed for a run that follows it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal

from agent_runtime.errors import NondeterminismError
from agent_runtime.values.event import EPOCH, JOURNAL_FORMAT, STOP_REQUESTS, RuntimeEvent, RuntimeEventType
from agent_runtime.values.public_data import public_name
from llm_client.codec import load_usage
from llm_client.turns import in_chunks
from llm_client.usage import Usage

StepKind = Literal[
    "model", "tool", "step", "action", "timer", "timeout", "child", "message", "branches", "value"
]
StepState = Literal["new", "started", "blocked", "resumed", "attempted", "unknown", "finished"]

_SPENT: Final = "spent"
"""In `job.created`: what the jobs that this one retries have paid for models, in dollars."""

_DECLARING: Mapping[str, StepKind] = {
    RuntimeEventType.ACTION_REQUIRED: "action",
    RuntimeEventType.TIMER_SET: "timer",
    RuntimeEventType.CHILD_STARTED: "child",
    RuntimeEventType.MESSAGE_AWAITED: "message",
    RuntimeEventType.TIMEOUT_STARTED: "timeout",
    RuntimeEventType.BRANCH_OPENED: "branches",
}
"""Everything else that has an operation id – recorded values, progress, events of the application – is a value."""
_STEP_KINDS: Mapping[str, StepKind] = {"model": "model", "tool": "tool", "step": "step"}
_STATES: Mapping[str, StepState] = {
    "started": "started",
    "blocked": "blocked",
    "resumed": "resumed",
    "attempt_failed": "attempted",
    "unknown": "unknown",
    "completed": "finished",
    "failed": "finished",
    "left": "finished",
}
_ARRIVALS = frozenset(
    {
        RuntimeEventType.ACTION_RESOLVED,
        RuntimeEventType.ACTION_EXPIRED,
        RuntimeEventType.ACTION_CANCELLED,
        RuntimeEventType.TIMER_FIRED,
        RuntimeEventType.CHILD_ENDED,
        RuntimeEventType.TIMEOUT_DUE,
        RuntimeEventType.MESSAGE_RECEIVED,
    }
)
SIGNALS = (_ARRIVALS - {RuntimeEventType.MESSAGE_RECEIVED}) | STOP_REQUESTS
"""Entries that come from outside and mean something to a run; learning of one twice does nothing."""

_ABOUT_LINES = frozenset(
    {
        RuntimeEventType.BRANCH_FAILED,
        RuntimeEventType.BRANCH_CANCELLED,
        RuntimeEventType.BRANCH_LEFT,
        RuntimeEventType.TIMEOUT_EXPIRED,
        RuntimeEventType.TIMEOUT_LEFT,
        RuntimeEventType.WAIT_WITHDRAWN,
    }
)
_ABOUT_CONSENT = frozenset({RuntimeEventType.POLICY_DECIDED, RuntimeEventType.TOOL_PINNED})
_ABOUT_MONEY = frozenset(
    {
        RuntimeEventType.BUDGET_WARNED,
        RuntimeEventType.BUDGET_DEGRADED,
        RuntimeEventType.BUDGET_DENIED,
        RuntimeEventType.BUDGET_OVERRUN,
    }
)
"""Told to people under the step that they are about; a run that is followed again needs none of them."""


def newer_format(events: Sequence[RuntimeEvent]) -> int | None:
    """Return the format of a journal that this version cannot read, before anything in it is interpreted."""
    if not events or events[0].type != RuntimeEventType.JOB_CREATED:
        return None
    written: int = events[0].data.get("format", JOURNAL_FORMAT)
    return written if written > JOURNAL_FORMAT else None


@dataclass(slots=True, eq=False)
class Step:
    """One operation of the job, as far as it has come."""

    operation_id: str
    kind: StepKind
    name: str
    input_hash: str | None
    declaration: RuntimeEvent
    """The event that began it."""
    state: StepState = "new"
    attempts: int = 0
    """Intents so far."""
    attempt: int = 1
    """In which attempt its function stands still, or stood when it went on."""
    unknowns: int = 0
    """How often a crash left it unknown whether the effect happened."""
    open_intent: Mapping[str, Any] | None = None
    """`data` of the newest intent, while no outcome or failure follows it."""
    intended: RuntimeEvent | None = None
    """The newest intent, whatever has followed: its content is with what the effect was called last."""
    made_hash: str | None = None
    """Hash of the arguments that it was called with last: after rulings and edits, with defaults filled in."""
    outcome: RuntimeEvent | None = None
    """`completed` or `failed`."""
    resumed: frozenset[str] = frozenset()
    """Waits inside it that had returned to its function when the run ended."""

    @property
    def may_reenter(self) -> bool:
        """Whether its function stood still in a durable wait, so that running it again repeats nothing."""
        return self.state == "blocked"


class History:
    """An index over a job's events; grows with every event that is applied."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self.ids: dict[str, str] = {}
        self.repeats: dict[str, RuntimeEvent] = {}  # effects of the job retried, by place
        self.arrived: dict[str, RuntimeEvent] = {}
        """Answers to waits, by operation id."""
        self.decisions: dict[str, dict[tuple[str, str, str | None], Mapping[str, Any]]] = {}
        """What a policy has said, by operation id, then by action, name (`provider:model`) and hash of the arguments."""
        self.definitions: dict[str, list[tuple[str, str]]] = {}
        """What foreign servers have said of their tools, by name: in which operations, and the hash of it."""
        self.models: set[str] = set()
        """Model calls that have been let through or begun."""
        self.tools: set[str] = set()
        """Tool calls likewise."""
        self.stop_request: RuntimeEvent | None = None
        """The first request to cancel, or the reached deadline."""
        self.created: RuntimeEvent | None = None
        self.retried_children: dict[str, str] = {}
        """Child jobs that are retried where the code starts them again, by place."""
        self._superseded: set[str] = set()
        """Of the child jobs of this job, those in whose place others go on; their ends come late, and answer nothing."""
        self.outage: Mapping[str, Any] | None = None
        """What the last `job.retried` says, until something succeeds."""
        self.room_wanted: Mapping[str, Any] | None = None
        """What the job has last waited for in a budget, until a step begins."""
        self.has_waited_for_room = False
        self.kinds: set[StepKind] = set()
        """Kinds of the steps there are."""
        self.warned: set[str] = set()
        """Steps whose changed input has been recorded."""
        self.furthest: dict[str, int] = {}
        """The last numbered place that is recorded, by the place of its line."""
        self.failed_branches: dict[str, int] = {}
        """Which branch has failed and ended the others, by the operation that opened them."""
        self.left: dict[str, Mapping[str, Any]] = {}
        """How the readers of streams have left them, by the operation that opened them."""
        self.timeouts: dict[str, Literal["expired", "left"]] = {}
        """How a bound on time has ended, by operation id."""
        self.expired_at: dict[str, int] = {}
        """The number of the place that the line had reached when a bound on time was up."""
        self.cancelled: dict[str, int] = {}
        """In which line the job's cancellation was raised, and the number of the place at which it went on."""
        self.withdrawn: set[str] = set()
        """Waits that nobody waits for any more."""
        self.patches: dict[str, bool] = {}
        """What `patched` has answered, by change."""
        self.artifacts: list[Mapping[str, Any]] = []
        self.usage = Usage()
        """What every attempt of a model call has used."""
        self.children_usage = Usage()
        """What ended children have used, with theirs."""
        self.turns = 0
        """Answers of models."""
        self._clean_up_began_at: datetime | None = None
        self._clean_up_ended_at: datetime | None = None
        """The last entry of an earlier run that cleaned up."""
        self._active = timedelta()
        self._active_since: datetime | None = None
        self.last_moment = EPOCH
        """When the last entry was written."""

    @classmethod
    async def of(cls, events: Sequence[RuntimeEvent]) -> History:
        """Return the history of a whole journal, which may be long: others get their turns meanwhile."""
        history = cls()
        async for part in in_chunks(events):
            history.apply_all(part)
        return history

    def apply_all(self, events: Iterable[RuntimeEvent]) -> None:
        """Learn from events, in their order."""
        for event in events:
            self.apply(event)

    def apply(self, event: RuntimeEvent) -> None:
        """Learn from one event."""
        self._measure(event)
        operation_id = event.operation_id
        if operation_id is None:
            self._apply_job_event(event)
            return
        if event.type in _ABOUT_CONSENT:
            self._apply_consent(operation_id, event)
            return
        if event.type in _ABOUT_MONEY:
            return
        if event.type == RuntimeEventType.RETRY_REPEATS:
            self.repeats[operation_id.partition(":")[2]] = event
            return
        if event.type in _ARRIVALS and self.is_superseded(event):
            return
        if event.type in _ARRIVALS:
            if self.arrived.setdefault(operation_id, event) is event:
                for name in ("usage", "children_usage"):
                    if name in event.data:
                        self.children_usage += load_usage(event.data[name])
            return
        if event.type in _ABOUT_LINES:
            self._apply_to_line(operation_id, event)
            return
        family, _, state = event.type.partition(".")
        if family in _STEP_KINDS and state in _STATES:
            self._apply_step(operation_id, _STEP_KINDS[family], _STATES[state], event)
        else:
            self._declare(operation_id, _DECLARING.get(event.type, "value"), event)

    def _apply_job_event(self, event: RuntimeEvent) -> None:
        if event.type == RuntimeEventType.JOB_CREATED:
            self.created = event
            self.retried_children = dict(event.data.get("children", {}))
        elif "room" in event.data:
            self.room_wanted, self.has_waited_for_room = event.data["room"], True
        elif event.type == RuntimeEventType.JOB_RETRIED:
            self._reopen(event.data)
        elif event.type == RuntimeEventType.JOB_WARNING:
            self.warned.add(event.data["step"])
        elif event.type in STOP_REQUESTS:
            self.stop_request = self.stop_request or event

    def _reopen(self, data: Mapping[str, Any]) -> None:
        """Forget what is to be done anew, and what came after it."""
        if "since" in data:
            self.outage = data
        for operation_id in data.get("timers", ()):
            self.withdrawn.discard(operation_id)
        for operation_id, child in data.get("children", {}).items():
            self.retried_children[operation_id.partition(":")[2]] = child
            self._superseded.add(child)
        for operation_id in data["reopens"]:
            step = self.steps[operation_id]
            step.outcome, step.open_intent, step.state = None, None, "attempted"
            step.intended = None  # it has failed, and may be asked something else now
            around = [one for one in self.failed_branches if operation_id.startswith(f"{one}.")]
            for branches in around:
                self._take_up_again(branches)
        for operation_id in data["drops"]:
            self._forget(operation_id)
        self.furthest.clear()
        for operation_id in self.steps:
            self._advance_line(operation_id)

    def _take_up_again(self, branches: str) -> None:
        """Forget that one of these branches has failed and ended the others, and what was withdrawn with them."""
        del self.failed_branches[branches]
        for operation_id in [one for one in self.withdrawn if one.startswith(f"{branches}.")]:
            self._forget(operation_id)

    def _forget(self, operation_id: str) -> None:
        self.withdrawn.discard(operation_id)
        known: tuple[dict[str, Any], ...] = (self.steps, self.arrived, self.timeouts, self.left)
        for index in known:
            index.pop(operation_id, None)
        self.ids.pop(operation_id.partition(":")[2], None)

    def _apply_consent(self, operation_id: str, event: RuntimeEvent) -> None:
        if event.type == RuntimeEventType.TOOL_PINNED:
            for name, definition in event.body().items():
                self.definitions.setdefault(name, []).append((operation_id, definition))
            return
        data = event.data
        about = (data["action"], data.get("called", data["name"]), data.get("input"))
        self.decisions.setdefault(operation_id, {})[about] = data
        if data["decision"] != "deny" and data["action"] in ("model", "tool"):
            (self.models if data["action"] == "model" else self.tools).add(operation_id)

    def _apply_to_line(self, operation_id: str, event: RuntimeEvent) -> None:
        match event.type:
            case RuntimeEventType.BRANCH_FAILED:
                self.failed_branches.setdefault(operation_id, event.data["branch"])
            case RuntimeEventType.BRANCH_CANCELLED:
                self.cancelled.setdefault(operation_id, event.data["next"])
                self._clean_up_began_at = self._clean_up_began_at or event.timestamp
            case RuntimeEventType.BRANCH_LEFT:
                self.left.setdefault(operation_id, event.data)
            case RuntimeEventType.WAIT_WITHDRAWN:
                self.withdrawn.add(operation_id)
                if operation_id in self.steps and self.steps[operation_id].kind == "message":
                    self.arrived.pop(operation_id, None)  # it has gone back into its inbox
            case RuntimeEventType.TIMEOUT_EXPIRED:
                self.timeouts.setdefault(operation_id, "expired")
                if "next" in event.data:
                    self.expired_at.setdefault(operation_id, event.data["next"])
            case _:
                self.timeouts.setdefault(operation_id, "left")

    def _declare(self, operation_id: str, kind: StepKind, event: RuntimeEvent) -> Step:
        step = self.steps.get(operation_id)
        if step is None:
            data = event.data
            step = Step(operation_id, kind, data.get("name", event.type), data.get("input"), event)
            self.steps[operation_id] = step
            self.ids[operation_id.partition(":")[2]] = operation_id
            self.kinds.add(kind)
            if "retries" in data and kind == "child":
                self._superseded.add(data["retries"])
            self._advance_line(operation_id)
            if event.type == RuntimeEventType.VALUE_RECORDED and "change" in data:
                self.patches[data["change"]] = data["value"]
            if kind in ("model", "tool"):
                (self.models if kind == "model" else self.tools).add(operation_id)
            elif event.type == RuntimeEventType.ARTIFACT_CREATED:
                self.artifacts.append(data)
        return step

    def _advance_line(self, operation_id: str) -> None:
        """Remember how far a line has come: the place `3.0.2` is the second of the line `3.0`."""
        place = operation_id.partition(":")[2]
        line, _, number = place.rpartition(".")
        if number.isdecimal() and int(number) > self.furthest.get(line, 0):
            self.furthest[line] = int(number)

    def _apply_step(self, operation_id: str, kind: StepKind, state: StepState, event: RuntimeEvent) -> None:
        step = self._declare(operation_id, kind, event)
        data = event.data
        step.state = state
        if "input" in data:
            step.made_hash = data.get("made", data["input"])
        if state == "started":
            step.intended = event
            step.attempts += 1
            step.open_intent = data
            self.room_wanted = None
        elif state in ("attempted", "finished"):
            step.open_intent = None
        elif state == "resumed":
            step.resumed |= {data["wait"]}
        elif state == "blocked":
            step.resumed -= {data["wait"]}
            step.attempt = data.get("attempt", 1)
            if not data.get("whole", True):
                step.state = "resumed"
        elif state == "unknown":
            step.unknowns += 1
            step.open_intent = None
        if state == "finished":
            step.outcome = event
            if event.type.endswith(".completed"):
                self.outage = None
            if event.type == RuntimeEventType.MODEL_COMPLETED:
                self.turns += 1
        if "usage" in data:
            self.usage += load_usage(data["usage"])

    def is_superseded(self, event: RuntimeEvent) -> bool:
        """Whether an event is the end of a child in whose place another one goes on."""
        return event.type == RuntimeEventType.CHILD_ENDED and event.data.get("job_id") in self._superseded

    def created_data(self, name: str) -> Any:
        """Return what `job.created` says, `None` when it says nothing of this."""
        return None if self.created is None else self.created.data.get(name)

    @property
    def spent(self) -> Decimal:
        """What is known to have been paid for models, by the jobs too that this one retries or goes on for."""
        return (self.usage.cost or Decimal(0)) + Decimal(self.created_data(_SPENT) or 0)

    def spent_so_far(self) -> dict[str, str]:
        """Return what `job.created` says of it to the job that goes on in this one's place."""
        return {_SPENT: str(self.spent)} if self.spent else {}

    def match(self, operation_id: str, kind: StepKind, name: str) -> Step | None:
        """Return the recorded step at this place, if any.

        Raises:
            NondeterminismError: Another kind of step, or one of another name, was recorded there.
        """
        step = self.steps.get(operation_id)
        if step is not None and (step.kind != kind or step.name != public_name(name)):
            raise NondeterminismError(
                f"at {operation_id!r} the code asks for {kind} {name!r}, but the journal records {step.kind} "
                f"{step.name!r}; guard the new code with context.patched(...), or let the version that began this job "
                "finish it"
            )
        return step

    def recorded_at(self, operation_id: str) -> Step | None:
        """Return the step that is recorded at an operation's place, perhaps under another id: a retry recalls what others named."""
        return self.steps.get(self.ids.get(operation_id.partition(":")[2], operation_id))

    def call_of(self, step: Step) -> RuntimeEvent | None:
        """Return the entry that holds what an effect was called with: its newest intent, or that in the job retried."""
        if step.attempts:
            return step.intended
        return self.repeats.get(step.operation_id.partition(":")[2]) if step.unknowns else None

    def lost_model_attempts(self) -> list[Step]:
        """Return the model calls whose answer was lost with the process that asked."""
        return [step for step in self.steps.values() if step.kind == "model" and step.open_intent is not None]

    def open_operations(self) -> frozenset[str]:
        """Return the effects that have begun and not ended; one that stands still in a wait is not under way."""
        return frozenset(
            step.operation_id
            for step in self.steps.values()
            if step.attempts and step.outcome is None and step.state != "blocked"
        )

    def has_arrived(self, step: Step) -> bool:
        """Whether what an operation waits for has come."""
        return step.operation_id in self.arrived

    def has_ended(self, operation_id: str) -> bool:
        """Whether an operation has an outcome."""
        step = self.steps.get(operation_id)
        return step is not None and step.outcome is not None

    @property
    def clean_up_seconds(self) -> float:
        """How long earlier runs of the job have cleaned up."""
        if self._clean_up_began_at is None or self._clean_up_ended_at is None:
            return 0.0
        return (self._clean_up_ended_at - self._clean_up_began_at).total_seconds()

    def active_seconds(self, now: datetime) -> float:
        """Return how long the job has run so far, waits while suspended left out."""
        running = now - self._active_since if self._active_since is not None else timedelta()
        return (self._active + running).total_seconds()

    def _measure(self, event: RuntimeEvent) -> None:
        """Add up active time; a crashed stretch counts up to its last entry."""
        if event.type in (RuntimeEventType.JOB_STARTED, RuntimeEventType.JOB_RESUMED):
            if self._clean_up_began_at is not None:
                self._clean_up_ended_at = self.last_moment
            if self._active_since is not None:
                self._active += self.last_moment - self._active_since
            self._active_since = event.timestamp
        elif (
            event.type in (RuntimeEventType.JOB_SUSPENDED, RuntimeEventType.JOB_BLOCKED)
            and self._active_since
        ):
            self._active += event.timestamp - self._active_since
            self._active_since = None
        self.last_moment = max(self.last_moment, event.timestamp)
