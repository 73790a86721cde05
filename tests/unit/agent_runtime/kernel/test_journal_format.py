"""Journals say in which form they are written, so that nobody misreads one of a newer release."""

from typing import Any

import pytest

from agent_runtime import ExecutionRequest, OperatorContext
from agent_runtime.ports.commit import NewEvent
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.examples import commit, job
from agent_runtime.values.event import JOURNAL_FORMAT
from support.kernels import BOUND, journal, kernel, status_becomes

pytestmark = pytest.mark.timeout(BOUND * 3)


async def parent(context: OperatorContext, given: Any) -> Any:
    """Have everything done that begins a journal."""
    if given == "child":
        return "done"
    if given == "again":
        return await context.child("parent", "child")
    return await context.continue_as_new("again")


async def test_every_journal_begins_with_its_format() -> None:
    async with kernel(MemoryStorage(), operators={"parent": parent}) as k:
        handle = await k.execute(ExecutionRequest(operator="parent", input="first"))
        await handle.result(timeout=BOUND)
        jobs = await k.jobs.list()
        created = [(await journal(k.handle(record.job_id)))[0] for record in jobs]
        assert [event.data["format"] for event in created] == [JOURNAL_FORMAT] * 3


async def test_a_job_of_a_newer_format_is_blocked_with_the_reason_and_left_as_it_is() -> None:
    storage = MemoryStorage()
    await storage.open()
    newer = job(operator="parent")
    begun = NewEvent(
        "job.created", None, {"format": JOURNAL_FORMAT + 1}, b'{"what": "only the newer one reads"}'
    )
    unreadable = NewEvent("tool.resumed", f"{newer.job_id}:0", {})
    await storage.commit(commit(create=[(newer, [begun, unreadable])]))
    async with kernel(storage, operators={"parent": parent}) as k:
        handle = k.handle(newer.job_id)
        await status_becomes(handle, "blocked")
        record = await handle.job()
        assert record.error_code == "JOURNAL_FORMAT"
        assert record.error is not None
        assert f"format {JOURNAL_FORMAT + 1}" in record.error
        assert "newer workers" in record.error
        entries = await journal(handle)
        assert [entry.type for entry in entries] == [
            "job.created",
            "tool.resumed",
            "job.started",
            "job.blocked",
        ]
