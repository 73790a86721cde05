"""Failures as sentences and exit codes."""

import pytest

from agent_runtime import (
    BudgetExceededError,
    ExecutorBusy,
    JobCancelled,
    JobFailed,
    JobTimedOut,
    PolicyDenied,
    QueueFull,
    ServiceError,
    ServiceUnreachable,
    StorageError,
    UnknownJob,
)
from agent_runtime.cli.exit_codes import FAILED, LIMIT, STORAGE, USAGE, describe
from llm_client import ConfigurationError, RateLimited


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (JobFailed("no", error_code="EXECUTION_ERROR"), FAILED),
        (JobFailed("no", error_code="BUDGET_EXCEEDED"), LIMIT),
        (JobFailed("no", error_code="POLICY_DENIED"), LIMIT),
        (JobCancelled("no"), FAILED),
        (JobTimedOut("no"), LIMIT),
        (BudgetExceededError("no"), LIMIT),
        (PolicyDenied("no"), LIMIT),
        (UnknownJob("no"), USAGE),
        (ConfigurationError("no"), USAGE),
        (StorageError("no"), STORAGE),
        (ExecutorBusy("no"), STORAGE),
        (ServiceUnreachable("no"), STORAGE),
        (ServiceError("no", status=200), STORAGE),
        (ServiceError("no", status=401), USAGE),
        (ServiceError("no", status=403), USAGE),
        (ServiceError("no", status=404), STORAGE),
        (ServiceError("no", status=409), FAILED),
        (ServiceError("no", status=429), LIMIT),
        (ServiceError("no", status=502), STORAGE),
        (RateLimited("no"), FAILED),
        (FileNotFoundError("no"), FAILED),
    ],
)
def test_an_expected_failure_has_a_sentence_and_a_code(error: Exception, code: int) -> None:
    assert describe(error) == ("no", code)


def test_a_full_queue_is_a_limit_that_says_which_bound_and_when_to_come_again() -> None:
    said = (
        "7 or more jobs of scope 'a' wait for a worker already (max_queued_per_scope is 7); try again in 5 s"
    )
    assert describe(QueueFull(limit=7, scope_id="a", retry_after=5.0)) == (said, LIMIT)
    assert "jobs wait for a worker already (max_queued is 7);" in str(QueueFull(limit=7))


def test_a_defect_of_the_program_is_not_dressed_up() -> None:
    assert describe(ZeroDivisionError("division by zero")) == (None, FAILED)


def test_a_sentence_is_one_line_names_its_job_and_holds_no_secret() -> None:
    key = "sk-proj-" + "aB3dE5fG7hJ9kL1m" * 3

    sentence, _ = describe(JobFailed(f"refused:\n  api_key={key}", job_id="job-7"))

    assert sentence is not None
    assert sentence.startswith("job-7: refused: api_key=")
    assert key not in sentence
