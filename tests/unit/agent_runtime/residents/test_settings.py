"""How a resident agent is looked after: both spellings of names, refusals that help, JSON that says only what was said."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from agent_runtime.errors import InvalidInput
from agent_runtime.ports.agents import Priority
from agent_runtime.residents.settings import AgentSettings


def test_the_documented_config_is_understood() -> None:
    settings = AgentSettings.from_json(
        {"checkMailInterval": 30, "maxConcurrentTasks": 5, "wakeOnPriority": "high"}
    )

    assert settings.check_mail_interval == 30
    assert settings.max_concurrent_tasks == 5
    assert settings.wake_on_priority is Priority.HIGH


def test_both_spellings_of_a_name_say_the_same() -> None:
    assert AgentSettings.from_json({"maxQueueSize": 7}) == AgentSettings.from_json({"max_queue_size": 7})


def test_what_is_stored_says_only_what_differs_and_reads_as_it_was() -> None:
    settings = AgentSettings(
        max_cost_per_day="1.50",
        wake_on_priority="urgent",  # type: ignore[arg-type]  # as JSON has it
        subscriptions=("orders.*", "alarm"),
        generation_params={"temperature": 0.2},
        tools=("send_mail",),
    )

    stored = settings.to_json()

    assert stored == {
        "max_cost_per_day": "1.50",
        "wake_on_priority": "urgent",
        "subscriptions": ["alarm", "orders.*"],
        "generation_params": {"temperature": 0.2},
        "tools": ["send_mail"],
    }
    assert AgentSettings.from_json(stored) == settings
    assert AgentSettings().to_json() == {}


def test_no_priority_at_all_may_wake() -> None:
    settings = AgentSettings.from_json({"wakeOnPriority": None})

    assert settings.wake_on_priority is None
    assert settings.to_json() == {"wake_on_priority": None}


def test_dollars_are_exact() -> None:
    assert AgentSettings.from_json({"maxCostPerDay": 0.1}).max_cost_per_day == Decimal("0.1")


def test_a_name_that_is_nearly_right_is_told() -> None:
    with pytest.raises(InvalidInput, match="did you mean 'checkMailInterval'"):
        AgentSettings.from_json({"checkMailIntervall": 30})


def test_of_an_unknown_name_all_there_are_are_told_and_it_is_not_repeated() -> None:
    with pytest.raises(InvalidInput, match=r"maxConcurrentTasks, .*memoryTokens") as refused:
        AgentSettings.from_json({"zzz-secret": 1})

    assert "secret" not in str(refused.value)


def test_a_setting_in_two_spellings_is_refused() -> None:
    with pytest.raises(InvalidInput, match="max_queue_size is there in two spellings"):
        AgentSettings.from_json({"maxQueueSize": 7, "max_queue_size": 8})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_concurrent_tasks", 0),
        ("max_concurrent_tasks", True),
        ("max_queue_size", 10**9),
        ("max_attempts", 0),
        ("check_mail_interval", 0),
        ("check_mail_interval", "soon"),
        ("retry_backoff", -1),
        ("idle_timeout", float("nan")),
        ("breaker_failures", 0),
        ("max_wakes_per_day", -1),
        ("max_continuations", 101),
        ("wake_on_priority", "loud"),
        ("max_cost_per_day", "a lot"),
        ("max_cost_per_day", "nan"),
        ("max_cost_per_day", []),
        ("max_cost_per_day", -1),
        ("subscriptions", "alarm"),
        ("subscriptions", ["ala*rm"]),
        ("subscriptions", ["alarm*"]),
        ("subscriptions", ["e"] * 201),
        ("tools", "send_mail"),
        ("tools", [1]),
        ("model", "m" * 300),
        ("model", ""),
        ("provider", 7),
        ("generation_params", []),
        ("generation_params", {"stop": "x" * 20_000}),
        ("memory_messages", -1),
        ("memory_tokens", 0),
    ],
)
def test_what_a_setting_cannot_be_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=name):
        AgentSettings.from_json({name: value})


def test_a_config_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidInput, match="an object"):
        AgentSettings.from_json([])  # type: ignore[arg-type]  # as a client may send it
