"""What Prometheus reads, as Prometheus reads it."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent_runtime import ActionSpec, ExecutionContext, OperatorContext, Role, RuntimeKernel
from agent_runtime.server import metrics
from llm_client.usage import Usage
from support.kernels import opened
from support.service import BOUND, Service, problem_in, service_of


async def ask(context: OperatorContext, given: Any) -> Any:
    return await context.action(ActionSpec(type="confirm", payload={"message": "go on?"}))


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


async def read(service: Service) -> dict[tuple[str, ...], float]:
    """Return every sample by its name and the values of its labels, in the order of their names."""
    async with service.client(await service.key(Role.VIEWER, None)) as prometheus:
        response = await prometheus.get("/metrics")
    assert response.headers["content-type"] == metrics.CONTENT_TYPE
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


async def spend(service: Service, model: str, cost: str, scope: str = "acme") -> None:
    usage = Usage(input_tokens=10, output_tokens=5, requests=1).with_cost(Decimal(cost), "test")
    await service.kernel.ledger.record_model_usage(
        ExecutionContext(scope_id=scope), usage, provider="openai", model=model
    )


async def test_jobs_people_and_spending_are_told_as_they_stand(
    monkeypatch: pytest.MonkeyPatch, place: str, tmp_path: Path
) -> None:
    monkeypatch.setattr(metrics, "AT_ONCE", 2)
    async with (
        opened(place, tmp_path) as storage,
        service_of(RuntimeKernel(storage=storage, operators={"ask": ask})) as service,
    ):
        async with service.client(await service.key()) as client:
            for _ in range(2):
                await client.post("/v1/jobs", json={"operator": "ask"})
            async with asyncio.timeout(BOUND):
                while len((await client.get("/v1/jobs?status=waiting_action")).json()["items"]) < 2:
                    await asyncio.sleep(0.01)
            problem_in(await client.get("/metrics"), 403)
            await client.get("/v1/jobs/none")
        for _ in range(3):
            await spend(service, "gpt-5", "0.25")
        await spend(service, "gpt-5-mini", "0.01", "rival")
        told = await read(service)

        assert told["agent_runtime_jobs", "waiting_action"] == 2
        assert told["agent_runtime_jobs", "queued"] == 0
        assert told["agent_runtime_pending_actions",] == 2
        assert told["agent_runtime_oldest_action_seconds",] >= 0
        assert told["agent_runtime_workers",] == 1
        assert told["agent_runtime_spent_dollars_total", "gpt-5", "openai"] == 0.75
        assert told["agent_runtime_tokens_total", "gpt-5", "openai"] == 45
        assert told["agent_runtime_model_requests_total", "gpt-5-mini", "openai"] == 1
        assert told["agent_runtime_http_requests_total", "POST", "/v1/jobs", "202"] == 2
        assert told["agent_runtime_http_requests_total", "GET", "/v1/jobs/{job_id}", "404"] == 1
        assert told["agent_runtime_http_request_seconds_count", "POST", "/v1/jobs"] == 2

        await spend(service, "gpt-5", "0.25")
        assert (await read(service))["agent_runtime_spent_dollars_total", "gpt-5", "openai"] == 1


async def test_strangers_make_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_MODELS", 2)
    async with service_of(RuntimeKernel()) as service:
        async with service.client() as stranger:
            for number in range(5):
                await stranger.request(f"M{number}", f"/path{number}")
                await stranger.request(f"M{number}", "/health/live")
        for number in range(5):
            await spend(service, f"model-{number}", "1")
        told = await read(service)
    requests = [key for key in told if key[0] == "agent_runtime_http_requests_total"]
    assert {(*key[1:],) for key in requests} == {("other", "", "401"), ("other", "/health/live", "405")}
    models = {key[1]: value for key, value in told.items() if key[0] == "agent_runtime_spent_dollars_total"}
    assert (len(models), sum(models.values())) == (3, 5)
    assert models["other"] == 3
