"""The service as its OpenAPI document describes it: whatever is sent, what comes back is in the document, and never a 5xx."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    ignored_auth,
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
)

from agent_runtime import ActionSpec, OperatorContext, Role, RuntimeKernel
from agent_runtime.server import create_app
from support.service import BOUND, Service, served

# What has no end is read in test_many_jobs.
SCHEMA = schemathesis.openapi.from_dict(create_app(RuntimeKernel()).openapi())
LEFT_OUT = [
    ignored_auth,  # it leaves the key where it is; the walk of the tenants does better
    positive_data_acceptance,  # no schema says which operators, budgets and cursors there are
    negative_data_rejection,  # a query that nobody knows is no mistake
    unsupported_method,  # without a key nothing is told, not even that
]


async def echo(context: OperatorContext, given: Any) -> Any:
    return given


async def ask(context: OperatorContext, given: Any) -> Any:
    return await context.action(ActionSpec(type="confirm", payload={"message": "go on?"}))


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[str, str]]:
    """Serve from another thread; schemathesis calls from this one."""
    told: list[tuple[str, str]] = []
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with served(RuntimeKernel(operators={"echo": echo, "ask": ask, "agent": echo})) as service:
            told.append((service.url, await _key(service)))
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(BOUND)
    yield told[0]
    stop.set()
    thread.join(BOUND)


async def _key(service: Service) -> str:
    async with service.client(await service.key(Role.ADMIN)) as client:
        for operator in ("echo", "ask"):
            assert (await client.post("/v1/jobs", json={"operator": operator})).status_code == 202
    return await service.key(Role.ADMIN, None)


@SCHEMA.exclude(path="/v1/events").parametrize()
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.timeout(180)
def test_what_comes_back_is_in_the_document_and_never_a_mistake_of_ours(
    case: schemathesis.Case, service: tuple[str, str]
) -> None:
    url, key = service
    case.call_and_validate(base_url=url, headers={"X-API-Key": key}, timeout=BOUND, excluded_checks=LEFT_OUT)


def test_the_document_is_of_the_version_that_is_told() -> None:
    document = create_app(RuntimeKernel()).openapi()

    assert document["openapi"].startswith("3.1")
    operations = [
        (path, method, told) for path, item in document["paths"].items() for method, told in item.items()
    ]
    assert all(told["description"] and told["summary"] for _, _, told in operations)
    assert len({told["operationId"] for _, _, told in operations}) == len(operations)
    secured = {path for path, _, told in operations if told.get("security")}
    assert {path for path, _, _ in operations} - secured == {"/health/live", "/health/ready"}
