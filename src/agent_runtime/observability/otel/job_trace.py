"""The spans of one job, read from its journal.

What is known of a job follows from its entries alone, from the first one on. So whoever reads them, however often and in whichever process, finds
the same spans: who was killed, stood still or was handed an entry twice reads the journal again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from agent_runtime.observability.otel.content import Texts
from agent_runtime.observability.otel.spans import Family, Span
from agent_runtime.ports.trace_context import (
    TRACEPARENT,
    TraceContext,
    own_context,
    read_traceparent,
    span_of,
)
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.event import RuntimeEventType as Type
from llm_client.json_text import JsonValue

BEGINNINGS: Final[Mapping[str, Family]] = {
    Type.MODEL_STARTED: "model",
    Type.TOOL_STARTED: "tool",
    Type.STEP_STARTED: "step",
    Type.ACTION_REQUIRED: "action",
    Type.CHILD_STARTED: "child",
    Type.TIMER_SET: "timer",
    Type.MESSAGE_AWAITED: "message",
}
ENDS: Final[Mapping[str, tuple[Family, str]]] = {
    Type.MODEL_COMPLETED: ("model", "completed"),
    Type.MODEL_FAILED: ("model", "failed"),
    Type.MODEL_LEFT: ("model", "left"),
    Type.TOOL_COMPLETED: ("tool", "completed"),
    Type.TOOL_FAILED: ("tool", "failed"),
    Type.STEP_COMPLETED: ("step", "completed"),
    Type.STEP_FAILED: ("step", "failed"),
    Type.ACTION_RESOLVED: ("action", "resolved"),
    Type.ACTION_EXPIRED: ("action", "expired"),
    Type.ACTION_CANCELLED: ("action", "cancelled"),
    Type.CHILD_ENDED: ("child", "ended"),
    Type.TIMER_FIRED: ("timer", "fired"),
    Type.MESSAGE_RECEIVED: ("message", "received"),
}
_GOOD_ENDS: Final = frozenset(
    {*(outcome for _, outcome in ENDS.values()), "succeeded", "withdrawn"} - {"failed"}
)
_WAITS: Final[tuple[Family, ...]] = ("action", "child", "timer", "message")
_LINES: Final[tuple[Family, ...]] = ("tool", "step")
"""What has steps below it while it goes on."""
NOTED: Final = frozenset(
    {
        Type.JOB_WARNING,
        Type.JOB_CANCEL_REQUESTED,
        Type.JOB_DEADLINE_REACHED,
        Type.JOB_RUNTIME_EXCEEDED,
        Type.JOB_RETRIED,
        Type.JOB_RETRY_REQUESTED,
        Type.MODEL_ATTEMPT_FAILED,
        Type.TOOL_BLOCKED,
        Type.TOOL_RESUMED,
        Type.TOOL_UNKNOWN,
        Type.STEP_BLOCKED,
        Type.STEP_RESUMED,
        Type.STEP_UNKNOWN,
        Type.BRANCH_FAILED,
        Type.BRANCH_CANCELLED,
        Type.RETRY_REPEATS,
        Type.POLICY_DECIDED,
        Type.BUDGET_WARNED,
        Type.BUDGET_DEGRADED,
        Type.BUDGET_DENIED,
        Type.BUDGET_OVERRUN,
    }
)
_TOLD_OF_NOTES: Final = (
    "name",
    "attempt",
    "error_type",
    "error_code",
    "uncertain",
    "decision",
    "rule",
    "policy",
    "from",
    "to",
)
_ABOUT: Final = (
    "name",
    "provider",
    "finish",
    "first_token_ms",
    "request_id",
    "cached",
    "uncertain",
    "effect",
    "type",
    "action_id",
    "child_job_id",
    "due_at",
    "usage",
    "status",
    "attempt",
)
"""What entries say that a span tells of."""


class JobTrace:
    """Follows a job's journal, from its first entry on.

    Args:
        job_id: The job.
        texts: Reads the texts that spans hold.
        session_id: The conversation that it belongs to.
    """

    def __init__(self, job_id: str, *, texts: Texts, session_id: str | None = None) -> None:
        self.job_id = job_id
        self.seq = 0
        """The last entry that was read."""
        self.is_over = False
        self.scope_id = ""
        self.session_id = session_id
        self.operator: str | None = None
        self._texts = texts
        self._context = own_context(job_id)
        self._job: Span | None = None
        self._run: Span | None = None
        self._runs = 0
        self._open: dict[tuple[Family, str], Span] = {}
        self._attempted: dict[str, datetime] = {}
        """When the last attempt of an open model call has begun."""
        self._reached: dict[str, datetime] = {}
        """When what was done last in a line has ended."""
        self._answered: dict[str, tuple[str, datetime]] = {}
        """By line, the last model call that has ended in it."""
        self._times: dict[tuple[Family, str], int] = {}
        """How often something has ended: what is done anew is another span."""
        self._repeats = False
        """Whether the entries that come are copies of what the job before this one has done."""
        self._ended: list[Span] = []

    def __len__(self) -> int:
        """How much is kept of it: a few hundred bytes each."""
        return len(self._open) + len(self._times) + 2

    def read(self, event: RuntimeEvent) -> list[Span]:
        """Read the next entry, and return the spans that have ended with it, inner ones first."""
        self.seq = event.seq or self.seq
        if self.is_over:
            return []
        job = self._job or self._begun(event)
        if event.type in (Type.JOB_STARTED, Type.JOB_RESUMED):
            self._repeats = False
            self._enter(event, job)
        elif event.is_terminal:
            self._end(event, job)
        elif not self._repeats:
            self._read(event, job)
        ended, self._ended = self._ended, []
        return ended

    def _read(self, event: RuntimeEvent, job: Span) -> None:
        if event.type in (Type.JOB_SUSPENDED, Type.JOB_BLOCKED):
            self._leave(event)
        elif event.type in BEGINNINGS:
            self._begin(BEGINNINGS[event.type], event, job)
        elif event.type in ENDS:
            self._close(*ENDS[event.type], event, job)
        elif event.type == Type.WAIT_WITHDRAWN:
            for family in _WAITS:
                if (family, event.operation_id or "") in self._open:
                    self._close(family, "withdrawn", event, job)
        elif event.type in NOTED:
            self._note(event, job)

    def _begun(self, event: RuntimeEvent) -> Span:
        """Begin the job's own span with its first entry."""
        data = event.data
        above = read_traceparent(data.get(TRACEPARENT))
        self._context = own_context(self.job_id, data.get(TRACEPARENT))
        self._repeats = "retries" in data
        self.scope_id = event.scope_id
        self.operator = _text(data.get("operator"))
        self._job = Span("job", self._context, above, event.timestamp, self.job_id)
        self._job.above_is_elsewhere = True
        for name in ("continues", "retries"):
            before = data.get(name)
            if isinstance(before, str):
                carried = str(above) if above is not None and not _is_of(above, before) else None
                self._job.links.append((own_context(before, carried), name))
        self._say(self._job, **self._texts.given(event))
        return self._job

    def _enter(self, event: RuntimeEvent, job: Span) -> None:
        """Begin a stretch of the run; whoever was in one before has died, and the other goes on with it."""
        if self._run is not None:
            self._run.note("agent.run.taken_over", event.timestamp)
            return
        self._run = self._span("run", str(self._runs), event.timestamp, job.context)
        self._run.facts["segment"] = self._runs
        if self._runs:
            first = self._context._replace(span_id=span_of(self.job_id, "run", "0"))
            self._run.links.append((first, "first"))
        self._runs += 1

    def _leave(self, event: RuntimeEvent) -> None:
        if self._run is None:
            return
        waits = event.data.get("waits")
        self._say(self._run, outcome=event.type.partition(".")[2], waits=waits, code=event.data.get("code"))
        self._ended.append(self._run.ended(event.timestamp))
        self._run = None

    def _end(self, event: RuntimeEvent, job: Span) -> None:
        """End everything with the job."""
        at, outcome = event.timestamp, event.type.partition(".")[2]
        for span in reversed(self._open.values()):
            self._say(span, outcome="left")
            self._ended.append(span.ended(at))
        if self._run is not None:
            self._say(self._run, outcome=outcome)
            self._ended.append(self._run.ended(at))
        turns = event.data.get("turns")
        self._say(
            job,
            outcome=outcome,
            usage=event.data.get("usage"),
            turns=turns,
            **self._texts.result(event),
        )
        for span in (job, *(() if self._run is None else (self._run,))):
            if event.type != Type.JOB_SUCCEEDED:
                _fail(span, event, otherwise=outcome)
        self._ended.append(job.ended(at))
        self._open, self._run, self.is_over = {}, None, True

    def _begin(self, family: Family, event: RuntimeEvent, job: Span) -> None:
        one = _operation(event)
        span = self._open.get((family, one))
        if span is None:
            span = self._opened(family, one, event.timestamp, job)
        if family == "model":
            self._attempted[one] = event.timestamp
            self._say(span, model=event.data.get("model"))
            self._say(span, asked=self._texts.asked(event), shared=event.data.get("shared_messages"))
        elif family in _LINES:
            self._say(span, arguments=self._texts.arguments(event))
        self._say(span, **_about(event.data))

    def _opened(self, family: Family, one: str, at: datetime, job: Span) -> Span:
        times = self._times.get((family, one), 0)
        name = f"{one}#{times}" if times else one
        span = self._span(family, name, at, self._above(one, job))
        span.operation_id = one
        self._open[family, one] = span
        return span

    def _close(self, family: Family, outcome: str, event: RuntimeEvent, job: Span) -> None:
        one, at, data = _operation(event), event.timestamp, event.data
        span = self._open.get((family, one))
        if span is None:
            if family in _WAITS:
                return  # nobody waits for it any more
            since = self._since(one, job) if family in _LINES else at
            span = self._opened(family, one, min(since, at), job)
            self._say(span, inferred=family in _LINES or None)
        self._say(span, **_about(data))
        began = self._attempted.get(one)
        duration = data.get("duration_ms")
        if family == "model":
            if began is not None and isinstance(duration, int | float):
                at = min(at, began + timedelta(milliseconds=duration))
            self._say(span, answered_model=data.get("model"))
            span.facts.setdefault("model", data.get("model"))
            self._say(span, answered=self._texts.answered(event) if outcome != "failed" else None)
            if data.get("final") is False:
                return  # a middleware has not had it yet
        elif family in _LINES:
            self._say(span, gave=self._texts.gave(event))
        if outcome == "ended":  # a child, in its own way
            outcome = _text(data.get("status")) or outcome
        if outcome not in _GOOD_ENDS:
            _fail(span, event, otherwise=outcome)
        self._say(span, outcome=outcome)
        self._open.pop((family, one), None)
        self._times[family, one] = self._times.get((family, one), 0) + 1
        self._attempted.pop(one, None)
        self._has_reached(family, one, at)
        self._ended.append(span.ended(at))

    def _note(self, event: RuntimeEvent, job: Span) -> None:
        if event.type == Type.JOB_RETRIED:
            for one in event.data.get("timers", ()):
                if ("timer", one) not in self._open:  # a sleep that goes on to its old end
                    self._opened("timer", one, event.timestamp, job)
        one = _operation(event)
        about = (self._open.get((family, one)) for family in ("model", "tool", "step") if one)
        span = next((found for found in about if found is not None), None) or self._run or job
        facts = {name: event.data[name] for name in _TOLD_OF_NOTES if _is_plain(event.data.get(name))}
        span.note(event.type, event.timestamp, facts)

    def _span(self, family: Family, name: str, at: datetime, above: TraceContext) -> Span:
        context = self._context._replace(span_id=span_of(self.job_id, family, name))
        return Span(family, context, above, at, self.job_id)

    def _above(self, one: str, job: Span) -> TraceContext:
        """Return the span below which an operation belongs: a tool that is going on around it, else the run's stretch."""
        for outer in _around(one):
            for family in _LINES:
                span = self._open.get((family, outer))
                if span is not None:
                    return span.context
        return (self._run or job).context

    def _since(self, one: str, job: Span) -> datetime:
        """Return when something may have begun of which only the end was written: after what came before it."""
        line = _line(one)
        answered = self._answered.get(_line(line))
        if answered is not None and answered[0] == line:
            return answered[1]
        return self._reached.get(line) or (self._run or job).start

    def _has_reached(self, family: Family, one: str, at: datetime) -> None:
        """Note how far a line has come."""
        line = _line(one)
        outer = self._answered.get(_line(line))
        if (
            outer is not None and outer[0] == line
        ):  # a call that an answer has asked for, perhaps beside others
            line = _line(line)
        self._reached[line] = max(at, self._reached.get(line, at))
        self._reached.pop(one, None)
        self._answered.pop(one, None)
        if family == "model":
            self._answered[line] = (one, at)

    def _say(self, span: Span, **facts: JsonValue) -> None:
        for name, value in facts.items():
            if value is not None:
                span.facts[name] = value


def _fail(span: Span, event: RuntimeEvent, *, otherwise: str) -> None:
    data = event.data
    span.error = _text(data.get("error_type")) or _text(data.get("error_code")) or otherwise
    span.error_text = _text(data.get("error"))


def _about(data: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {name: data[name] for name in _ABOUT if name in data}


def _operation(event: RuntimeEvent) -> str:
    """Return the operation that an entry tells of; a bus of somebody's own may name a call instead."""
    if event.operation_id is not None:
        return event.operation_id
    named = (event.data.get(name) for name in ("tool_call_id", "action_id", "name", "tool_name"))
    return next((one for one in named if isinstance(one, str)), "")


def _around(one: str) -> Iterable[str]:
    """Yield the operations in which one may take place, the nearest first."""
    whole = _whole(one)
    if whole != one:
        yield whole
    job_id, colon, place = whole.partition(":")
    while "." in place:
        place = place.rpartition(".")[0]
        yield f"{job_id}{colon}{place}"


def _whole(one: str) -> str:
    """Return what a question is about that has the id of an operation and a mark behind it."""
    return one.partition("!")[0].partition("?")[0]


def _line(one: str) -> str:
    """Return the line that an operation is in."""
    job_id, colon, place = _whole(one).partition(":")
    return f"{job_id}{colon}{place.rpartition('.')[0]}"


def _is_of(above: TraceContext, job_id: str) -> bool:
    return above == own_context(job_id)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | bool | int | float)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
