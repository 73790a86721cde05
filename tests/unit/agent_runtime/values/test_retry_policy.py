"""Retry policies: what they accept, and what they make of it."""

from typing import Any

import pytest

from agent_runtime import InvalidInput, RetryPolicy
from llm_client import RateLimited


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": 1.5},
        {"backoff": 0},
        {"backoff": float("nan")},
        {"max_backoff": -1},
        {"max_age": -1},
        {"retry_on": "rate_limited"},
        {"retry_on": [3]},
    ],
)
def test_a_policy_that_cannot_be_is_refused_with_the_name_of_the_field(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        RetryPolicy(**wrong)


def test_waits_double_up_to_their_bound() -> None:
    policy = RetryPolicy(backoff=2, max_backoff=30)
    assert [policy.wait_after(attempts) for attempts in (1, 2, 3, 4, 5, 6, 10_000)] == [
        2,
        4,
        8,
        16,
        30,
        30,
        30,
    ]


def test_errors_are_named_by_code_or_class() -> None:
    policy = RetryPolicy(retry_on=[RateLimited, "provider_unavailable", ZeroDivisionError])
    assert policy.retry_on == ("rate_limited", "provider_unavailable", "ZeroDivisionError")


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(),
        RetryPolicy.none(),
        RetryPolicy(max_attempts=3, backoff=0.5, max_age=None, retry_on=["x"]),
    ],
)
def test_a_stored_policy_is_read_as_it_was(policy: RetryPolicy) -> None:
    assert RetryPolicy.from_dict(policy.to_dict()) == policy
