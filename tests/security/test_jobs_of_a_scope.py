"""Who knows the id of another scope's job adds nothing to it: no child, and no question to those who answer for it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    ExecutionHandle,
    ExecutionRequest,
    JobFilter,
    JobSpec,
    OperatorContext,
    RuntimeKernel,
)
from agent_runtime.errors import InvalidInput, UnknownJob
from support.kernels import BOUND, kernel, opened, until

pytestmark = pytest.mark.timeout(BOUND * 3)


async def asks(context: OperatorContext, _: Any) -> Any:
    """Wait for a person."""
    answered = await context.action(ActionSpec(type="approval", payload={"what": "mine"}))
    return answered.resolution


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database")) if request.param == "postgres" else str(request.param)


@pytest.fixture
async def k(kind: str, tmp_path: Path) -> AsyncIterator[RuntimeKernel]:
    async with opened(kind, tmp_path) as storage, kernel(storage, operators={"asks": asks}) as made:
        yield made


@pytest.fixture
async def theirs(k: RuntimeKernel) -> ExecutionHandle:
    handle = await k.execute(ExecutionRequest(operator="asks", scope_id="theirs"))
    await until(handle.get_pending_actions)
    return handle


async def test_no_question_is_put_to_another_scopes_job(k: RuntimeKernel, theirs: ExecutionHandle) -> None:
    spec = {"type": "approval", "payload": {"what": "pay me"}, "job_id": theirs.job_id}
    with pytest.raises(UnknownJob):
        await k.actions.require_action(ActionSpec(**spec, scope_id="ours"))

    assert [asked.payload for asked in await theirs.get_pending_actions()] == [{"what": "mine"}]
    own = await k.actions.require_action(ActionSpec(**spec, scope_id="theirs"))
    assert own.scope_id == "theirs"


async def test_no_job_is_made_the_child_of_another_scopes(k: RuntimeKernel, theirs: ExecutionHandle) -> None:
    with pytest.raises(UnknownJob):
        await k.jobs.create(JobSpec(scope_id="ours", parent_job_id=theirs.job_id))

    own = await k.jobs.create(JobSpec(scope_id="theirs", parent_job_id=theirs.job_id))
    assert [job.job_id for job in await k.jobs.list(JobFilter(parent_job_id=theirs.job_id))] == [own.job_id]


@pytest.mark.parametrize("limit", [-1, 10**30, True, "5", 1.5, None])
async def test_a_page_of_any_length_gets_the_same_refusal_on_every_store(
    k: RuntimeKernel, limit: Any
) -> None:
    """SQLite takes -1 for all there is, Postgres for a mistake, and neither can count to 10 ** 30."""
    with pytest.raises(InvalidInput, match="limit is a whole number"):
        await k.actions.list_pending(limit=limit)
    with pytest.raises(InvalidInput, match="limit is a whole number"):
        await k.jobs.list(JobFilter(limit=limit))
    with pytest.raises(InvalidInput, match="limit is a whole number"):
        await k.ledger.entries(limit=limit)


async def test_jobs_are_found_by_a_few_tags_on_every_store(k: RuntimeKernel) -> None:
    """A thousand of them were a database that cannot be used, and hundreds kept its reader for seconds."""
    tags = {f"t{number}": "x" for number in range(20)}
    found = await k.jobs.create(JobSpec(scope_id="ours", tags=tags))
    assert [job.job_id for job in await k.jobs.list(JobFilter(tags=tags))] == [found.job_id]
    with pytest.raises(InvalidInput, match="found by 20 tags at most"):
        JobFilter(tags={**tags, "more": "x"})


async def test_a_waiting_job_is_resumed_in_its_scope_alone(k: RuntimeKernel, theirs: ExecutionHandle) -> None:
    with pytest.raises(UnknownJob):
        await k.jobs.resume(theirs.job_id, scope_id="ours")
