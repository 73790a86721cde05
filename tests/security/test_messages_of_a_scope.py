"""A message belongs to its scope: nobody else's job receives it, and nobody else reads, counts or forestalls it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ExecutionRequest, OperatorContext, RuntimeKernel
from agent_runtime.errors import InboxFull, UnknownMessage
from support.kernels import BOUND, QUICK, kernel, opened

pytestmark = pytest.mark.timeout(BOUND * 3)


async def desk(context: OperatorContext, _: Any) -> Any:
    """Take one message of a name that every scope may use."""
    return (await context.receive("desk")).body


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database")) if request.param == "postgres" else str(request.param)


@pytest.fixture
async def k(kind: str, tmp_path: Path) -> AsyncIterator[RuntimeKernel]:
    options = replace(QUICK, max_inbox=2)
    async with (
        opened(kind, tmp_path) as storage,
        kernel(storage, operators={"desk": desk}, options=options) as made,
    ):
        yield made


async def test_a_job_receives_messages_of_its_own_scope_alone(k: RuntimeKernel) -> None:
    await k.send("desk", "for a", scope_id="a")
    handle = await k.execute(ExecutionRequest(operator="desk", scope_id="b"))
    await k.send("desk", "for c", scope_id="c")
    await k.send("desk", "for b", scope_id="b")

    assert (await handle.result(timeout=BOUND)).output == "for b"
    assert [await k.inbox.count("desk", scope_id=scope) for scope in "abc"] == [1, 0, 1]


async def test_a_message_is_read_and_listed_in_its_scope_alone(k: RuntimeKernel) -> None:
    ours = await k.send("desk", "for a", scope_id="a")

    assert (await k.inbox.get(ours.message_id, scope_id="a")).body == "for a"
    for scope in ("b", "default"):
        with pytest.raises(UnknownMessage):
            await k.inbox.get(ours.message_id, scope_id=scope)
        assert await k.inbox.list_waiting("desk", scope_id=scope) == []
        assert await k.inbox.count("desk", scope_id=scope) == 0


async def test_a_key_of_one_scope_forestalls_no_message_of_another(k: RuntimeKernel) -> None:
    first = await k.send("desk", "for a", dedupe_key="order-17", scope_id="a")
    second = await k.send("desk", "for b", dedupe_key="order-17", scope_id="b")

    assert (first.body, second.body) == ("for a", "for b")
    assert first.message_id != second.message_id


async def test_a_full_inbox_of_one_scope_refuses_no_message_of_another(k: RuntimeKernel) -> None:
    for number in range(2):
        await k.send("desk", number, scope_id="a")
    with pytest.raises(InboxFull):
        await k.send("desk", 2, scope_id="a")

    assert (await k.send("desk", "for b", scope_id="b")).body == "for b"
