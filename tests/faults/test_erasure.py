"""An erasure that is killed in the middle is made again: the audit verifies at every moment, and nothing is left in the end."""

import asyncio
import os
import random
import sys
from pathlib import Path

import pytest

from agent_runtime import JobFilter, open_storage
from agent_runtime.audit.manager import AuditManager
from agent_runtime.ports.audit import AuditedJob
from agent_runtime.ports.ids import new_id
from agent_runtime.testing.erasure_contract import MARK, finished
from agent_runtime.testing.examples import job
from support.kernels import BOUND

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 6)]
FAMILIES, KILLS = 60, 6


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return f"sqlite:///{tmp_path / 'runs.db'}"


async def erasing(address: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent_runtime.cli", "erase", "--principal", MARK, "--yes", "--db", address),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )


async def audited(address: str) -> list[AuditedJob]:
    """Verify everything; return all jobs."""
    storage = open_storage(address)
    await storage.open()
    report = await AuditManager(storage).verify()
    jobs = list(await storage.audited_jobs())
    await storage.aclose()
    assert report.findings == ()
    return jobs


async def test_a_killed_erasure_is_made_again(address: str, tmp_path: Path) -> None:
    storage = open_storage(address)
    await storage.open()
    for number in range(FAMILIES):
        parent = await finished(storage, job(principal_id=MARK, identity=f"{MARK} {number}"))
        await finished(storage, job(job_id=new_id("job"), parent_job_id=parent.job_id, depth=1))
    await storage.aclose()
    chance = random.Random(3)
    for _ in range(KILLS):
        process = await erasing(address)
        done = asyncio.create_task(process.communicate())
        await asyncio.wait((done,), timeout=0.4 + chance.random() * 0.8)
        if process.returncode is None:
            process.kill()
        await done
        await audited(address)

    process = await erasing(address)
    _, said = await process.communicate()
    assert process.returncode == 0, said
    jobs = await audited(address)
    assert len(jobs) == 2 * FAMILIES
    assert all(one.erased_at is not None and one.salts == b"" for one in jobs)
    storage = open_storage(address)
    await storage.open()
    told = repr(await storage.list_jobs(JobFilter(limit=1000)))
    events = [repr(await storage.events(one.job_id)) for one in jobs]
    await storage.aclose()
    assert MARK not in told + "".join(events)
    if address.startswith("sqlite"):
        left = [path.name for path in tmp_path.glob("runs.db*") if MARK.encode() in path.read_bytes()]
        assert left == []
