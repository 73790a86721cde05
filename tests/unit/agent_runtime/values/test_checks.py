"""What is asked for is checked where it is written down: one `InvalidInput` that names the field, and nothing is stored."""

from decimal import Decimal
from typing import Any

import pytest

from agent_runtime import ActionSpec, BudgetSpec, ExecutionRequest, JobSpec, KernelOptions
from agent_runtime.errors import ContentTooLarge, InvalidInput
from agent_runtime.policy.rule import PolicyRule
from agent_runtime.values.checks import MAX_SECONDS, MAX_TEXT_BYTES
from agent_runtime.values.context import PolicyRef, RunVersions
from agent_runtime.values.policy import Approval, PolicyAction, PolicyDecision

NAN, INF = float("nan"), float("inf")
BAD_TEXTS = ["", "\ud800", "a\x00b", "line\nbreak", "\x85", "x" * 513, "ü" * 257, 7, b"bytes"]
BAD_SECONDS = [NAN, INF, -INF, -1, 1e300, 2**70, "60", True, Decimal(1)]
TEXTS = ("scope_id", "principal_id", "session_id", "run_id", "idempotency_key")


def refused(kind: type, name: str, value: Any, /, **others: Any) -> None:
    with pytest.raises(InvalidInput, match=rf"^{name} ") as error:
        kind(**{**others, name: value})
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("kind", [ExecutionRequest, JobSpec])
@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("value", BAD_TEXTS)
def test_ids_and_keys_are_short_printable_text(kind: type, name: str, value: Any) -> None:
    refused(kind, name, value)


@pytest.mark.parametrize("kind", [ExecutionRequest, JobSpec])
@pytest.mark.parametrize(
    "value", ["x" * MAX_TEXT_BYTES, "ü" * (MAX_TEXT_BYTES // 2), "ann@example.com", "日本 1"]
)
def test_what_people_use_as_ids_is_accepted(kind: type, value: str) -> None:
    asked = kind(**dict.fromkeys(TEXTS, value))
    assert asked.scope_id == asked.idempotency_key == value


@pytest.mark.parametrize("value", BAD_TEXTS)
def test_so_is_the_name_of_a_queue(value: Any) -> None:
    refused(ExecutionRequest, "queue", value)
    refused(KernelOptions, "queues", (value,))


@pytest.mark.parametrize(
    "value",
    [2**31, -(2**31) - 1, 2**70, pytest.param(10**5000, id="5,000 digits"), NAN, 1.0, "1", True, None],
)
def test_a_priority_is_a_whole_number_of_32_bits(value: Any) -> None:
    refused(ExecutionRequest, "priority", value)


def test_the_largest_and_the_smallest_priority_are_accepted() -> None:
    for value in (2**31 - 1, -(2**31)):
        assert ExecutionRequest(priority=value).priority == value


@pytest.mark.parametrize("kind", [ExecutionRequest, JobSpec])
@pytest.mark.parametrize("value", [*BAD_SECONDS, 0])
def test_a_deadline_is_a_duration_that_a_date_can_be_added_to(kind: type, value: Any) -> None:
    refused(kind, "deadline_seconds", value)
    assert kind(deadline_seconds=MAX_SECONDS).deadline_seconds == MAX_SECONDS


@pytest.mark.parametrize("kind", [ExecutionRequest, JobSpec])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metadata", {"a": object()}),
        ("metadata", {"a": "\ud800"}),
        ("metadata", {"a": 2**70}),
        ("metadata", {1: 2}),
        ("metadata", [1]),
        ("tags", {"a": 1}),
        ("tags", {"\ud800": "a"}),
        ("tags", None),
        ("budgets", {"max_tokens": 5}),
        ("policy_ref", "house"),
        ("versions", "1.0"),
    ],
)
def test_the_other_parts_of_a_request_are_what_they_are_said_to_be(kind: type, name: str, value: Any) -> None:
    refused(kind, name, value)


@pytest.mark.parametrize("kind", [ExecutionRequest, JobSpec])
def test_metadata_and_tags_are_bounded(kind: type) -> None:
    for name in ("metadata", "tags"):
        with pytest.raises(ContentTooLarge, match=f"^{name} "):
            kind(**{name: {"a": "x" * 1024 * 1024}})


@pytest.mark.parametrize("name", ["max_tokens", "max_tool_calls", "max_turns"])
@pytest.mark.parametrize("value", [2**70, -1, 1.5, NAN, "5", True])
def test_the_counts_of_a_budget_are_whole_numbers_that_every_storage_holds(name: str, value: Any) -> None:
    refused(BudgetSpec, name, value)
    assert BudgetSpec(max_tokens=2**53 - 1, max_turns=0).max_turns == 0


@pytest.mark.parametrize("value", [NAN, INF, "NaN", -1, "-0.01", "1e30", "much", [], Decimal("sNaN")])
def test_the_cost_of_a_budget_is_an_amount_that_units_can_hold(value: Any) -> None:
    refused(BudgetSpec, "max_cost", value)


@pytest.mark.parametrize("value", BAD_SECONDS)
def test_the_running_time_of_a_budget_is_a_duration(value: Any) -> None:
    refused(BudgetSpec, "max_runtime_seconds", value)


def test_the_choices_of_a_budget_are_those_there_are() -> None:
    refused(BudgetSpec, "mode", "soft")
    refused(BudgetSpec, "unpriced", "allow")


@pytest.mark.parametrize("value", BAD_SECONDS)
def test_the_time_for_an_answer_is_a_duration(value: Any) -> None:
    refused(ActionSpec, "timeout_seconds", value, type="input")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("quorum", bad) for bad in (0, -1, 1.5, True, 2**70)],
        *[(name, bad) for name in ("type", "scope_id", "job_id") for bad in BAD_TEXTS],
        *[("approvers", bad) for bad in ("ann", ["\ud800"], [""], [7])],
        *[(name, {"a": "\ud800"}) for name in ("payload", "metadata", "default_resolution")],
    ],
)  # fmt: skip
def test_a_question_is_one_that_can_be_stored_and_answered(name: str, value: Any) -> None:
    refused(ActionSpec, name, value, **({} if name == "type" else {"type": "input"}))


def test_names_of_policies_and_versions_are_text() -> None:
    refused(PolicyRef, "name", "\ud800")
    refused(PolicyRef, "version", "\x00", name="house")
    refused(RunVersions, "operator_version", "x" * 513)


@pytest.mark.parametrize(
    ("name", "value"), [("timeout_seconds", NAN), ("timeout_seconds", INF), ("quorum", 2**70)]
)
def test_so_is_the_approval_that_a_rule_asks_for(name: str, value: Any) -> None:
    approval = Approval(**{name: value})
    with pytest.raises(InvalidInput, match=f"^{name} "):
        PolicyRule(
            name="ask", action=PolicyAction.TOOL, decision=PolicyDecision.REQUIRE_APPROVAL, approval=approval
        )


_DURATIONS = (
    "suspend_after", "drain_timeout", "cancel_timeout", "storage_patience", "reservation_wait",
    "heartbeat_interval", "worker_timeout", "sweep_interval",
)  # fmt: skip
_COUNTS = ("max_concurrency", "max_crashes", "max_events", "default_max_tokens", "max_child_depth")
_BOUNDS = ("max_concurrency_per_scope", "max_queued", "max_queued_per_scope")
BAD_OPTIONS: list[tuple[str, Any]] = [
    *[(name, bad) for name in _DURATIONS for bad in BAD_SECONDS],
    *[(name, bad) for name in _COUNTS for bad in (-1, 1.5, 2**31, True, None)],
    *[(name, bad) for name in _BOUNDS for bad in (-1, 0, 1.5, 2**63, True)],
    *[("strict", 1), ("strict", "yes"), ("queues", "mail"), ("queues", ["mail"])],
]


@pytest.mark.parametrize(("name", "value"), BAD_OPTIONS)
def test_an_option_of_the_kernel_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    refused(KernelOptions, name, value)


@pytest.mark.parametrize("name", ["max_concurrency", "max_crashes", "max_events", "default_max_tokens", "worker_timeout",
                                  "heartbeat_interval", "sweep_interval"])  # fmt: skip
def test_so_is_a_zero_with_which_nothing_would_ever_happen(name: str) -> None:
    refused(KernelOptions, name, 0)


def test_a_worker_that_could_be_taken_for_dead_between_two_signs_of_life_is_refused() -> None:
    with pytest.raises(InvalidInput, match="worker_timeout is at least twice heartbeat_interval"):
        KernelOptions(heartbeat_interval=2.0, worker_timeout=3.9)
    assert KernelOptions(heartbeat_interval=2.0, worker_timeout=4.0).worker_timeout == 4.0


@pytest.mark.parametrize(
    "caps", [{"a": -1}, {"a": 1.5}, {"a": 2**63}, {"a": True}, {"": 1}, {7: 1}, [("a", 1)]]
)
def test_so_is_a_bound_of_a_scope_that_no_storage_could_count_to(caps: Any) -> None:
    with pytest.raises(InvalidInput, match="scope_concurrency"):
        KernelOptions(scope_concurrency=caps)
    assert KernelOptions(scope_concurrency={"a": 0}).caps.of("a") == 0
