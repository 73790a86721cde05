"""What commands work on, and what they make of what a service answers."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from decimal import Decimal

import pytest

from agent_runtime import ActionRecord, BudgetSpec, LedgerEntry, RuntimeEvent
from agent_runtime.cli.backends.address import Server
from agent_runtime.cli.backends.answered import action_of, entry_of, event_of, job_of, key_of, status_of
from agent_runtime.cli.backends.choice import Place
from agent_runtime.cli.backends.refusals import explained
from agent_runtime.client import key_models, models
from agent_runtime.errors import ServiceError, ServiceUnreachable
from agent_runtime.testing.examples import NOW, job
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.api_key import ApiKey, Role
from agent_runtime.values.content import encode
from agent_runtime.values.standing_budget import Budget, BudgetLine, BudgetStatus, WindowKind

SECRET = "ark_" + "1a22d7f722c0eec39" + "_" + "x" * 43


def over_http(
    answer: models.Job | models.Action | models.Event | models.Entry | key_models.Key | models.Budget,
) -> object:
    """Return an answer as it is after a way through JSON."""
    return type(answer).model_validate_json(answer.model_dump_json())


def test_a_job_comes_through_as_it_is_shown() -> None:
    before = job(
        budgets=BudgetSpec(max_cost="0.50", max_tokens=7),
        metadata={"big": 2**80, "list": [1, None]},
        tags={"team": "a"},
        deadline=NOW + timedelta(hours=1),
    )
    after = job_of(over_http(models.Job.of(before, "interrupted")))  # type: ignore[arg-type]  # a job
    shown = [one for one in models.Job.model_fields if one not in ("standing", "left_out")]
    assert [getattr(after, name) for name in shown] == [getattr(before, name) for name in shown]


def test_a_question_comes_through_with_its_votes() -> None:
    before = ActionRecord(
        action_id="act-1",
        type="approval",
        payload={"tool": "mail", "arguments": {"to": ["a"]}},
        created_at=NOW,
        approvers=("ann", "ben"),
        quorum=2,
        votes=({"by": "ann", "resolution": {"approved": True}},),
        status=ActionStatus.PENDING,
    )
    assert action_of(over_http(models.Action.of(before))) == before  # type: ignore[arg-type]  # a question


@pytest.mark.parametrize("content", [None, {"n": 2**80, "t": "\u65e5", "f": 0.1}, [], "text"])
def test_an_event_comes_through_with_its_content(content: object) -> None:
    before = RuntimeEvent(
        type="job.created",
        job_id="job-1",
        seq=1,
        timestamp=NOW,
        data={"a": 1},
        content=None if content is None else encode(content),
    )
    after = event_of(over_http(models.Event.of(before, content=True)))  # type: ignore[arg-type]  # an event
    assert (after, after.body()) == (before, content)


def test_an_entry_comes_through_as_it_is_added_up() -> None:
    before = LedgerEntry(
        entry_id="e",
        type="model_usage",
        timestamp=NOW,
        status="adjusted",
        cost=Decimal("-0.0000000001"),
        metadata={"was": "unpriced", "service_tier": "flex"},
    )
    assert entry_of(over_http(models.Entry.of(before))) == before  # type: ignore[arg-type]  # an entry


def test_a_key_comes_through_whole() -> None:
    before = ApiKey(key_id="1a", name="x", role=Role.VIEWER, scope_id=None, created_at=NOW, expires_at=NOW)
    assert {one.name for one in fields(ApiKey)} == set(key_models.Key.model_fields)
    assert key_of(over_http(key_models.Key.of(before))) == before  # type: ignore[arg-type]  # a key


def test_a_budget_comes_through_with_its_digits() -> None:
    lines = [
        BudgetLine(quantity="cost", window=WindowKind.DAY, starts_at=NOW, limit=Decimal("5.50"), settled=Decimal(0), reserved=Decimal(1)),
        BudgetLine(quantity="tokens", window=WindowKind.TOTAL, limit=10, settled=2**40, reserved=0),
    ]  # fmt: skip
    before = BudgetStatus(
        budget=Budget(scope_id="a", max_cost_daily="5.50", max_tokens_total=10), lines=tuple(lines)
    )
    after = status_of(over_http(models.Budget.of(before)))  # type: ignore[arg-type]  # a budget
    assert after == before
    assert [str(line.limit) for line in after.lines] == [str(line.limit) for line in lines]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ServiceUnreachable("it does not answer"), "is the service there"),
        (ServiceError("no", status=401, code="UNAUTHORIZED"), "does not know this key, or it holds no more (a.key)"),
        (ServiceError("may not", status=403, code="FORBIDDEN"), "may not; that takes another key than this one (a.key)"),
        (ServiceError("Not Found", status=404, code="NOT_FOUND"), "one of another release"),
        (ServiceError("502 Bad Gateway: <html>", status=502), "https://agents: 502 Bad Gateway"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_do_and_never_the_key(error: ServiceError, said: str) -> None:
    server = Server(url="https://agents", key=SECRET, key_from="a.key")
    told = explained(error, server)
    assert said in str(told)
    assert (type(told), told.status) == (type(error), error.status)
    assert SECRET not in f"{told} {server!r} {Place(server=server)!r}"


def test_a_refusal_that_says_enough_stays_as_it_is() -> None:
    error = ServiceError("the machine has no such state", status=409, code="SOME_KIND")
    assert explained(error, Server(url="https://agents")) is error
