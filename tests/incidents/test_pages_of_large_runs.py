"""tokenjam #653: the page of a large run was 951 MB of JSON.

Here a run of ten thousand steps, each with a result, is asked for everything that the service tells of it. Every answer stays small, and
what is longer comes in pages, which together are all of it.
"""

from __future__ import annotations

from typing import Any

import pytest

from agent_runtime import OperatorContext, Role, RuntimeKernel
from agent_runtime.client import AsyncClient
from support.service import Service, service_of

STEPS = 10_000
BYTES = 200 * 1024
"""Of an answer, whatever it is about."""
ENVELOPE = 1024
"""What stands around the items of a page that is full."""


async def look_up(number: int) -> dict[str, Any]:
    return {"number": number, "found": f"{number} " * 20}


async def large(context: OperatorContext, given: int) -> int:
    for number in range(given):
        await context.step(look_up, number, effect="read")
    return given


@pytest.mark.timeout(180)
async def test_every_answer_about_a_run_of_ten_thousand_steps_is_small() -> None:
    async with service_of(RuntimeKernel(operators={"large": large})) as service:
        client = AsyncClient(service.url, await service.key(Role.ADMIN), transport=service.transport)
        job = await client.jobs.submit(operator="large", input=STEPS)
        await client.jobs.result(job.job_id)

        sizes = await _sizes(service, job.job_id)
        assert {path: size for path, size in sizes.items() if size > BYTES + ENVELOPE} == {}
        seen = [event.seq async for event in client.jobs.history(job.job_id, content=True, limit=500)]
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) > STEPS
        assert await _rows(client, job.job_id) == STEPS + 1
        await client.aclose()


async def _rows(client: AsyncClient, job_id: str) -> int:
    """Read all that is logged of a run, page by page, and return how many rows there were."""
    rows, offset = set[str](), 0
    while True:
        page = await client.execution_logs.execution(job_id, offset=offset, limit=500)
        rows.update(row.id for row in page.executions)
        if page.next_offset is None:
            assert len(rows) == page.total
            return len(rows)
        offset = page.next_offset


async def _sizes(service: Service, job_id: str) -> dict[str, int]:
    paths = (
        f"/v1/jobs/{job_id}",
        f"/v1/jobs/{job_id}/result",
        f"/v1/jobs/{job_id}/events?content=true",
        f"/v1/jobs/{job_id}/events?content=true&limit=500",
        "/v1/overview",
        "/execution-logs/executions",
        "/execution-logs/executions?include_llm_calls=true",
        f"/execution-logs/executions/{job_id}",
        f"/execution-logs/executions/{job_id}?limit=500",
        "/execution-logs/llm-calls",
        "/execution-logs/analytics/summary",
    )
    sizes = {}
    async with service.client(await service.key()) as client:
        for path in paths:
            response = await client.get(path)
            assert response.status_code == 200, (path, response.text[:200])
            sizes[path] = len(response.content)
    return sizes
