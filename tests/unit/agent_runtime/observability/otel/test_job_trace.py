"""A journal becomes spans: each thing once, under an id of its own, whatever stands in it."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import OTelConfig, RuntimeEvent, RuntimeEventType
from agent_runtime.observability.otel.content import Texts
from agent_runtime.observability.otel.conventions import attributes_of, name_of
from agent_runtime.observability.otel.job_trace import JobTrace
from agent_runtime.observability.otel.spans import MAX_EVENTS, Span
from agent_runtime.values.event import TERMINAL_TYPES

CONFIG = OTelConfig(capture_input=True, capture_output=True, capture_tool_args=True)
START = datetime(2026, 3, 14, tzinfo=UTC)
Entry = tuple[str, str | None, dict[str, Any]]


def read(*entries: Entry) -> tuple[JobTrace, list[Span]]:
    """Read a journal of which an entry is written each second."""
    trace, spans = JobTrace("job-1", texts=Texts(CONFIG)), []
    for number, (type_, place, data) in enumerate(entries, start=1):
        event = RuntimeEvent(
            type=type_,
            job_id="job-1",
            seq=number,
            timestamp=START + timedelta(seconds=number),
            operation_id=None if place is None else f"job-1:{place}",
            data=data,
        )
        spans += trace.read(event)
    return trace, spans


def told(spans: Sequence[Span]) -> list[tuple[str, str | None, Any, float]]:
    return [
        (
            span.family,
            (span.operation_id or "").partition(":")[2] or None,
            span.facts.get("outcome"),
            span.seconds,
        )
        for span in spans
    ]


CREATED: Entry = ("job.created", None, {"operator": "op"})
STARTED: Entry = ("job.started", None, {})
RESUMED: Entry = ("job.resumed", None, {})
SUCCEEDED: Entry = ("job.succeeded", None, {"turns": 0, "usage": {}})


def test_a_wait_that_was_withdrawn_is_over_though_its_end_comes_later() -> None:
    _, spans = read(
        *(CREATED, STARTED),
        ("child.started", "1", {"name": "leg", "child_job_id": "job-2"}),
        ("wait.withdrawn", "1", {}),
        ("child.ended", "1", {"job_id": "job-2", "status": "cancelled"}),
        ("action.resolved", "2", {}),
        SUCCEEDED,
    )
    assert told(spans) == [
        ("child", "1", "withdrawn", 1),
        ("run", None, "succeeded", 5),
        ("job", None, "succeeded", 6),
    ]
    assert spans[0].error is None


def test_what_is_done_anew_is_another_span_and_a_sleep_that_goes_on_too() -> None:
    _, spans = read(
        *(CREATED, STARTED),
        ("step.started", "1", {"name": "pay"}),
        ("step.failed", "1", {"error": "away", "error_type": "OSError"}),
        ("timer.set", "2", {"name": "sleep"}),
        ("wait.withdrawn", "2", {}),
        ("job.retried", None, {"reopens": ["job-1:1"], "drops": [], "timers": ["job-1:2"]}),
        ("job.suspended", None, {"waits": ["retry"]}),
        RESUMED,
        ("step.started", "1", {"name": "pay"}),
        ("step.completed", "1", {}),
        ("timer.fired", "2", {}),
        SUCCEEDED,
    )
    assert told(spans) == [
        ("step", "1", "failed", 1),
        ("timer", "2", "withdrawn", 1),
        ("run", None, "suspended", 6),
        ("step", "1", "completed", 1),
        ("timer", "2", "fired", 5),
        ("run", None, "succeeded", 4),
        ("job", None, "succeeded", 12),
    ]
    assert len({span.context.span_id for span in spans}) == len(spans)
    assert [event.name for span in spans for event in span.events] == ["job.retried"]


def test_whoever_takes_a_job_over_goes_on_with_its_run() -> None:
    _, spans = read(
        *(CREATED, STARTED),
        ("tool.started", "1", {"name": "search"}),
        RESUMED,
        ("tool.started", "1", {"name": "search"}),
        ("tool.completed", "1", {}),
        SUCCEEDED,
    )
    assert told(spans) == [
        ("tool", "1", "completed", 3),
        ("run", None, "succeeded", 5),
        ("job", None, "succeeded", 6),
    ]
    assert [event.name for event in spans[1].events] == ["agent.run.taken_over"]


def test_a_call_of_a_model_is_one_span_with_all_its_attempts() -> None:
    _, spans = read(
        *(CREATED, STARTED),
        ("model.started", "1", {"attempt": 1, "model": "a", "provider": "x"}),
        ("model.attempt_failed", "1", {"attempt": 1, "error_type": "Overloaded", "duration_ms": 900}),
        ("model.started", "1", {"attempt": 2, "model": "b", "provider": "y"}),
        (
            "model.completed",
            "1",
            {"attempt": 2, "model": "b-1", "duration_ms": 250, "usage": {"input_tokens": 3}},
        ),
        SUCCEEDED,
    )
    call = spans[0]
    about = attributes_of(call, JobTrace("job-1", texts=Texts(CONFIG)), CONFIG)
    assert (call.family, call.seconds) == ("model", 2.25)
    assert (about["gen_ai.request.model"], about["gen_ai.response.model"], about["agent.model.attempts"]) == (
        "b",
        "b-1",
        2,
    )
    assert [event.name for event in call.events] == ["model.attempt_failed"]


def test_questions_about_a_tools_call_are_below_it_and_end_with_the_job() -> None:
    _, spans = read(
        *(CREATED, STARTED),
        ("tool.started", "1.0", {"name": "deploy"}),
        ("tool.unknown", "1.0", {}),
        ("action.required", "1.0!0", {"type": "reconcile", "action_id": "act-1"}),
        ("job.cancelled", None, {"error": "enough", "error_code": "JOB_CANCELLED"}),
    )
    by_family = {span.family: span for span in spans}
    assert [span.family for span in spans] == ["action", "tool", "run", "job"]  # inner ones first
    assert by_family["action"].above == by_family["tool"].context
    assert by_family["tool"].above == by_family["run"].context
    assert by_family["job"].error == "JOB_CANCELLED"


def test_what_happens_often_is_counted_and_not_kept() -> None:
    notes: list[Entry] = [("policy.decided", "9", {"rule": "r"})] * (MAX_EVENTS + 5)
    trace, spans = read(CREATED, STARTED, *notes, SUCCEEDED)
    run = spans[0]
    assert len(run.events) == MAX_EVENTS
    assert attributes_of(run, trace, CONFIG)["agent.events_left_out"] == 5


def test_after_its_end_a_job_has_nothing_to_tell() -> None:
    trace, spans = read(CREATED, SUCCEEDED, ("step.completed", "1", {}), SUCCEEDED)
    assert [span.family for span in spans] == ["job"]
    assert trace.is_over


PLACES = st.one_of(
    st.none(),
    st.sampled_from(["1", "2", "1.0", "1.0.1", "1.0!0", "1.0?ab", "1.0~2", "7.0.1", "", "k.e:y", "!"]),
    st.text(max_size=8),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    [
        "name",
        "model",
        "provider",
        "usage",
        "status",
        "operator",
        "traceparent",
        "retries",
        "continues",
        "waits",
        "attempt",
    ]
)
DATA = st.dictionaries(NAMES, ANYTHING, max_size=4)
WRITTEN = [type_.value for type_ in RuntimeEventType if type_ not in TERMINAL_TYPES]
ENTRIES = st.lists(
    st.tuples(st.sampled_from([*WRITTEN, "custom.x", "later.kind"]), PLACES, DATA), max_size=40
)


@given(ENTRIES)
def test_no_journal_gives_two_spans_one_id_nor_leaves_one_open(entries: list[Entry]) -> None:
    trace, spans = read(*entries, SUCCEEDED)
    assert trace.is_over
    assert Counter(span.context.span_id for span in spans).most_common(1)[0][1] == 1
    assert [span.family for span in spans if span.family == "job"] == ["job"]
    known = {span.context.span_id for span in spans}
    for span in spans:
        assert span.end is not None
        assert span.family == "job" or (span.above is not None and span.above.span_id in known)
        name_of(span, trace, CONFIG)
