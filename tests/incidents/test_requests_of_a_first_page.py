"""litellm #20720, clawmetry #5957: showing one page took 51 to 103 requests.

Here is what a console's first page shows – who one is, how jobs stand, what waits for people, what was spent, the newest jobs, the budgets, and what
happens from then on – in a handful of requests, however many jobs there are, and each of a size that does not grow with them.
"""

import asyncio
from typing import Any

import pytest

from agent_runtime import ActionSpec, Budget, OperatorContext, RuntimeKernel
from support.service import BOUND, frames, served

pytestmark = pytest.mark.timeout(BOUND * 3)
MOST_REQUESTS = 8
MOST_BYTES = 200 * 1024


async def ask(context: OperatorContext, given: Any) -> Any:
    return await context.action(ActionSpec(type="confirm", payload={"message": f"go on with {given}?"}))


async def test_a_first_page_takes_a_handful_of_requests() -> None:
    async with served(RuntimeKernel(operators={"ask": ask})) as service:
        key = await service.key()
        await service.kernel.ledger.save_budget(Budget(scope_id="acme", max_cost_daily=5))  # type: ignore[arg-type]  # whole dollars
        async with service.client(key) as client:
            for number in range(120):
                await client.post("/v1/jobs", json={"operator": "ask", "input": number})
            async with asyncio.timeout(BOUND):
                while (await client.get("/v1/overview")).json()["jobs"]["waiting_action"] < 120:
                    await asyncio.sleep(0.05)

        sent: list[str] = []
        async with service.client() as browser:
            opened = await browser.post("/v1/session", json={"key": key})
            browser.cookies.set("agent_runtime_session", opened.cookies["agent_runtime_session"])
            sent.append("/v1/session")
            page: dict[str, Any] = {}
            for path in ("/v1/session", "/v1/overview", "/v1/budgets", "/v1/jobs?limit=50"):
                response = await browser.get(path)
                assert response.status_code == 200, path
                assert len(response.content) < MOST_BYTES, path
                page[path] = response.json()
                sent.append(path)
            sent.append("/v1/events")
            async with browser.stream(
                "GET", "/v1/events", params={"after": 0}, headers={"Accept": "text/event-stream"}
            ) as stream:
                async for frame in frames(stream):
                    if frame.id is not None:
                        break

        assert len(sent) <= MOST_REQUESTS
        told = page["/v1/overview"]
        assert told["jobs"]["waiting_action"] == 120
        assert len(told["pending_actions"]) == len(told["newest_jobs"]) == 10
        assert told["spent_today"]["cost"] == "0"
        assert page["/v1/budgets"]["items"][0]["lines"][0]["left"] == "5"
        assert page["/v1/session"]["scope_id"] == "acme"
        assert len(page["/v1/jobs?limit=50"]["items"]) == 50
