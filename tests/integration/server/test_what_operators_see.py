"""What people who operate jobs see of them over HTTP: who works on what, what was corrected, and budgets changed together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from agent_runtime import Budget, LedgerEntry, OperatorContext, Role, RuntimeKernel
from agent_runtime.client import AsyncClient, key_models, models
from agent_runtime.errors import ServiceError, UnknownKey
from agent_runtime.ports.commit import Commit
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.server.standing import standing_of
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.examples import NOW, job
from agent_runtime.values.job import JobStatus
from support.service import Service, served


async def echo(context: OperatorContext, given: Any) -> Any:
    return given


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with served(RuntimeKernel(operators={"echo": echo})) as service:
        yield service


async def test_a_job_that_runs_on_paper_alone_is_told_as_interrupted() -> None:
    async with RuntimeKernel(storage=MemoryStorage(), worker=False) as kernel:
        running = replace(job(), status=JobStatus.RUNNING, owner="worker-gone")
        assert await standing_of(kernel, running) == "interrupted"
        alive = WorkerRecord(worker_id="worker-gone", started_at=NOW, heartbeat_at=NOW)
        await kernel.storage.register_worker(alive)
        assert await standing_of(kernel, running) == "running"
        assert await standing_of(kernel, replace(running, owner=kernel.worker_id)) == "running"
        assert await standing_of(kernel, replace(running, status=JobStatus.SLEEPING)) == "sleeping"


async def test_what_workers_know_is_told_to_every_key(service: Service) -> None:
    async with AsyncClient(service.url, await service.key(Role.VIEWER)) as viewer:
        found = await viewer.executed()
    assert (found.operators, found.is_executing) == (["echo"], True)


async def test_a_message_has_its_place_and_the_number_of_those_that_wait(service: Service) -> None:
    async with AsyncClient(service.url, await service.key(Role.OPERATOR)) as client:
        sent = [await client.messages.send("ada", number) for number in range(2)]
        again = await client.messages.send("ada", 0, dedupe_key="k")
        assert (await client.messages.send("ada", 0, dedupe_key="k")) == again
    assert [(one.position, one.waiting) for one in (*sent, again)] == [(1, 1), (2, 2), (3, 3)]


async def test_an_entry_tells_its_tier_and_what_it_corrects(service: Service) -> None:
    entry = LedgerEntry(
        entry_id="e",
        type="model_usage",
        scope_id="acme",
        timestamp=datetime(2026, 11, 1, tzinfo=UTC),
        status="adjusted",
        cost=Decimal("-0.1"),
        metadata={"was": "uncertain", "service_tier": "priority", "other": 1},
    )
    await service.kernel.storage.commit(Commit(at=entry.timestamp, ledger=[entry]))
    async with AsyncClient(service.url, await service.key(Role.VIEWER)) as viewer:
        (found,) = [one async for one in viewer.ledger.entries()]
    assert (found.was, found.service_tier) == ("uncertain", "priority")


async def test_budgets_are_changed_together_or_not_at_all(service: Service) -> None:
    async with AsyncClient(service.url, await service.key(Role.ADMIN, None)) as admin:
        await admin.budgets.change(save=[models.NewBudget(scope_id="acme", max_cost_daily=Decimal(5))])
        (first,) = [one async for one in admin.budgets.list()]
        wrong = models.NewBudget(max_cost_daily=Decimal(1), timezone="Nowhere/At_all")
        with pytest.raises(ServiceError, match="Nowhere"):
            await admin.budgets.change(save=[wrong], delete=[first.budget_id])
        assert [one.budget_id async for one in admin.budgets.list()] == [first.budget_id]
        second = models.NewBudget(scope_id="acme", name="second", max_tokens_total=1)
        await admin.budgets.change(save=[second], delete=[first.budget_id])
        assert [one.budget["name"] async for one in admin.budgets.list()] == ["second"]
    async with AsyncClient(service.url, await service.key(Role.ADMIN)) as own:
        with pytest.raises(ServiceError, match="all scopes"):
            await own.budgets.change(delete=[first.budget_id])


async def test_budgets_of_all_scopes_together_are_seen_by_those_alone_who_see_all_scopes(
    service: Service,
) -> None:
    await service.kernel.ledger.save_budget(Budget(max_cost_total=9))
    await service.kernel.ledger.save_budget(Budget(scope_id="acme", max_cost_total=5))
    await service.kernel.ledger.save_budget(Budget(scope_id="*", principal_id="*", max_cost_total=1))
    async with (
        AsyncClient(service.url, await service.key(Role.VIEWER, None)) as everywhere,
        AsyncClient(service.url, await service.key(Role.VIEWER)) as own,
    ):
        asked = {one.budget.get("scope_id"): one async for one in everywhere.budgets.list(scope_id="acme")}
        assert set(asked) == {None, "acme", "*"}
        assert not asked["*"].lines
        seen = [one async for one in own.budgets.list(principal_id="ann")]
    assert {one.budget.get("scope_id") for one in seen} == {"acme", "*"}
    assert all(one.lines for one in seen)


async def test_one_key_is_looked_at_and_its_successor_says_when_it_ends(service: Service) -> None:
    async with (
        AsyncClient(service.url, await service.key(Role.ADMIN)) as admin,
        AsyncClient(service.url, await service.key(Role.ADMIN, "other")) as other,
    ):
        made = await admin.keys.create(key_models.NewKey(name="x", role=Role.VIEWER))
        assert (await admin.keys.get(made.key_id)).name == "x"
        with pytest.raises(UnknownKey):
            await other.keys.get(made.key_id)
        rotated = await admin.keys.rotate(made.key_id, overlap_seconds=60)
        assert rotated.replaced_expires_at == (await admin.keys.get(made.key_id)).expires_at is not None
        assert [one.key_id async for one in admin.keys.list(after=made.key_id)] == [rotated.key_id]
