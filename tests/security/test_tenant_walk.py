"""Every route of the service, walked as another tenant, with every role, and without a key: generated from the routes themselves.

A route that is new is walked, too: one that declares no permission, or takes an id that nothing here has, fails the walk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.routing import APIRoute

from agent_runtime import (
    ActionSpec,
    Budget,
    ExecutionRequest,
    OperatorContext,
    Permission,
    PolicyEngine,
    Role,
    RuntimeKernel,
    Timing,
)
from agent_runtime.server import create_app
from agent_runtime.server.access import HEALTH, OPEN
from support.identity_provider import IdentityProvider
from support.kernels import opened
from support.log_rows import call as logged_call
from support.log_rows import write
from support.service import BOUND, FAST, Service, problem_in, served

MARK = "belongs-to-acme"
"""Stands in everything that the first tenant has, and must not stand in any answer to another one."""
BODIES: Mapping[str, Any] = {
    "POST /v1/jobs": {"operator": "ask", "input": 1},
    "POST /v1/messages": {"to": "somebody", "message": 1},
    "POST /v1/actions/{action_id}/resolve": {"resolution": {"confirmed": True}},
    "POST /v1/policies/explain": {"action": "tool", "name": "x"},
    "PUT /v1/budgets": {"scope_id": "acme", "max_cost_daily": "1000000"},
    "PUT /v1/schedules/{schedule_id}": {"timing": {"every": 3600}, "job": {"operator": "ask"}},
    "POST /v1/keys": {"name": "x", "role": "viewer"},
    "POST /v1/session": {"key": "ark_x_y"},
    "POST /v1/ag-ui/{operator}": {"threadId": "t", "runId": "r", "messages": []},
}
"""What is sent where something has to be; every other route takes nothing, or an empty object."""
UNSCOPED = frozenset({"GET /v1/session", "GET /v1/operators"})
"""What is about the caller alone, or about the code that workers have: no tenant's."""
ENDLESS = frozenset({"/v1/events", "/v1/ag-ui/ask"})
EVERYBODYS = re.compile("{operator}|(?<=^PUT /v1/schedules/){schedule_id}")
"""What is named in a path and belongs to no tenant, or is made under this name in the caller's own scope."""
BY_QUERY = frozenset(
    {"PUT /v1/schedules/{schedule_id}", "POST /v1/pause-schedules", "POST /v1/resume-schedules"}
)
"""What makes or changes something of the scope that its query names."""
MAKES: frozenset[str] = frozenset(
    {
        "POST /v1/jobs",
        "POST /v1/messages",
        "POST /v1/policies/explain",
        "POST /v1/keys",
        "POST /v1/ag-ui/{operator}",
    }
)
"""What makes something of the caller's own scope."""


async def ask(context: OperatorContext, given: Any) -> Any:
    return await context.action(ActionSpec(type="confirm", payload={"message": str(given)}))


APP = create_app(RuntimeKernel())


def routes(router: Any = APP) -> Iterator[APIRoute]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            assert route.include_in_schema or (route.methods == {"HEAD"} and route.path in HEALTH)
            if route.include_in_schema:
                yield route
        elif hasattr(route, "original_router"):
            yield from routes(route.original_router)


def documented() -> set[str]:
    return {f"{method.upper()} {path}" for path, item in APP.openapi()["paths"].items() for method in item}


def permission_of(route: APIRoute) -> tuple[Permission, bool] | None:
    """Return what a route takes, and whether a key for all scopes; `None` for one that takes nothing."""
    calls = [dependency.call for dependency in route.dependant.dependencies]
    found = [call for call in calls if hasattr(call, "permission")]
    assert len(found) <= 1, f"{route.path} takes two permissions"
    return (found[0].permission, found[0].all_scopes) if found else None


PERMISSIONS = {
    f"{method} {route.path}": permission_of(route) for route in routes() for method in sorted(route.methods)
}


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    async with IdentityProvider() as provider:
        yield provider


@pytest.fixture
async def service(place: str, tmp_path: Path, provider: IdentityProvider) -> AsyncIterator[Service]:
    config = replace(FAST, jwt=provider.config())
    async with (
        opened(place, tmp_path) as storage,
        served(RuntimeKernel(storage=storage, operators={"ask": ask}), config) as service,
    ):
        yield service


async def belongings(service: Service) -> dict[str, str]:
    """Let the first tenant have one of everything, and return the ids by the names that routes give them."""
    async with service.client(await service.key(Role.ADMIN, "acme")) as acme:
        job = (
            await acme.post(
                "/v1/jobs",
                json={
                    "operator": "ask",
                    "input": MARK,
                    "tags": {"mark": MARK},
                    "principal_id": MARK,
                    "idempotency_key": MARK,
                },
            )
        ).json()
        async with asyncio.timeout(BOUND):
            while (await acme.get(f"/v1/jobs/{job['job_id']}")).json()["status"] != "waiting_action":
                await asyncio.sleep(0.01)
        items = (await acme.get("/v1/actions")).json()["items"]
    budget = Budget(scope_id="acme", name=MARK, max_cost_daily="5")
    await service.kernel.ledger.save_budget(budget)
    await service.kernel.schedules.put(
        "beat",
        ExecutionRequest(operator="ask", input=MARK, scope_id="acme", tags={"mark": MARK}),
        Timing(cron="@yearly"),
    )
    key, _ = await service.kernel.keys.create(name=MARK, role=Role.VIEWER, scope_id="acme")
    asked = logged_call(scope_id="acme", prompt=MARK, principal_id=MARK)
    await write(service.kernel.storage, [asked])
    return {
        "job_id": job["job_id"],
        "action_id": items[0]["action_id"],
        "key_id": key.key_id,
        "execution_id": job["job_id"],
        "call_id": asked.id,
        "schedule_id": "beat",
    }


async def call(
    client: httpx2.AsyncClient, name: str, ids: Mapping[str, str], **headers: str
) -> httpx2.Response:
    method, path = EVERYBODYS.sub("ask", name).split(" ")
    wanted = re.findall(r"{(\w+)", path)
    assert set(wanted) <= set(ids), f"{name}: give the first tenant one of these, in `belongings`"
    for each in wanted:
        path = path.replace("{" + each + "}", ids[each])
    body = BODIES.get(name, {} if method in ("POST", "PUT") else None)
    return await answer(client, method, path, json=body, headers=headers)


async def answer(client: httpx2.AsyncClient, method: str, path: str, **more: Any) -> httpx2.Response:
    """Return an answer, and of one without an end what comes in a moment."""
    content = b""
    async with client.stream(method, path, **more) as response:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3 if path in ENDLESS else BOUND):
                async for each in response.aiter_bytes():
                    content += each
    return httpx2.Response(response.status_code, headers=response.headers, content=content)


def names_something(name: str) -> bool:
    """Whether a route names what belongs to somebody."""
    return "{" in EVERYBODYS.sub("", name)


def test_every_route_says_what_it_takes_and_only_health_takes_nothing() -> None:
    assert set(PERMISSIONS) == documented()
    unasked = {tuple(name.split(" ")) for name, wanted in PERMISSIONS.items() if wanted is None}
    assert unasked == {("GET", path) for path in HEALTH} | OPEN
    assert {path for _, path in OPEN} == {"/v1/session"}
    reading = {name for name, wanted in PERMISSIONS.items() if wanted and wanted[0] is Permission.READ}
    changing = {name for name in PERMISSIONS if not name.startswith("GET")}
    assert reading & changing == {"POST /v1/policies/explain"}  # which changes nothing
    assert set(BODIES) <= set(PERMISSIONS)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("by", ["key", "token"])
async def test_another_tenant_finds_nothing_anywhere(
    service: Service, provider: IdentityProvider, by: str
) -> None:
    ids = await belongings(service)
    before = await stored(service)
    token = provider.token(role=Role.ADMIN, org_id="rival")
    async with service.client(await service.key(Role.ADMIN, "rival") if by == "key" else token) as rival:
        for name, wanted in PERMISSIONS.items():
            for accept in ("application/json", "text/event-stream"):
                response = await call(rival, name, ids, Accept=accept)
                assert MARK not in response.text, name
                if wanted is not None and wanted[1]:
                    problem_in(response, 403)
                elif names_something(name):
                    problem_in(response, 404)
                else:
                    assert response.status_code < 300 or name == "POST /v1/session", (name, response.text)
        for name, wanted in PERMISSIONS.items():
            if wanted is not None and not (wanted[1] or names_something(name) or name in UNSCOPED):
                await refused_to_name_another_scope(rival, name)
        for cursor in (ids["job_id"], ids["action_id"], json.dumps(["acme", "x"])):
            for name in PERMISSIONS:
                if name.startswith("GET") and "{" not in name:
                    path = name.split(" ")[1]
                    response = await answer(rival, "GET", path, params={"cursor": cursor, "after": 0})
                    assert MARK not in response.text, name
    assert await stored(service) == before


async def refused_to_name_another_scope(rival: httpx2.AsyncClient, name: str) -> None:
    params = {"scope_id": "acme"}
    method, path = EVERYBODYS.sub("ask", name).split(" ")
    if method == "GET":
        problem_in(await answer(rival, method, path, params=params), 403)
    elif name in MAKES:
        said = {**BODIES[name], **params}
        problem_in(await rival.request(method, path, json=said, params=params), 403)
    elif name in BY_QUERY:
        problem_in(await rival.request(method, path, json=BODIES.get(name, {}), params=params), 403)


async def stored(service: Service) -> tuple[Any, ...]:
    """Return what the first tenant has, as it stands."""
    storage = service.kernel.storage
    jobs = await service.kernel.jobs.list()
    return (
        [job for job in jobs if job.scope_id == "acme"],
        await storage.list_actions(scope_id="acme"),
        await storage.standing_budgets(),
        await storage.list_schedules("acme"),
        [key for key in await service.kernel.keys.list(scope_id="acme") if key.name == MARK],
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("by", ["key", "token"])
@pytest.mark.parametrize("role", Role)
async def test_a_role_may_do_what_it_is_for_and_nothing_else(
    service: Service, provider: IdentityProvider, role: Role, by: str
) -> None:
    ids = await belongings(service)
    token = provider.token(role=role)
    async with service.client(await service.key(role, "acme") if by == "key" else token) as client:
        for name, wanted in PERMISSIONS.items():
            if wanted is None:
                continue
            refused = wanted[1] or not role.allows(wanted[0])
            response = await call(client, name, ids)
            assert (response.status_code == 403) == refused, (name, response.status_code, response.text)
            assert response.status_code < 500, name


async def test_nobody_without_a_key_is_told_anything(service: Service, provider: IdentityProvider) -> None:
    ids = await belongings(service)
    key, text = await service.kernel.keys.create(name="gone", role=Role.ADMIN, scope_id="acme")
    await service.kernel.keys.revoke(key.key_id)
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    expired = provider.token(exp=1)
    for given in (None, "", text, wrong, "ark_x_y", "x" * 10_000, expired):
        headers = {} if given is None else {"X-API-Key": given}
        async with service.client(**headers) as client:
            for name, wanted in PERMISSIONS.items():
                response = await call(client, name, ids)
                if wanted is not None:
                    told = problem_in(response, 401)
                    assert told["detail"] == "a valid API key or token is needed"
                    assert response.headers["www-authenticate"].startswith("Bearer")
            for path in ("/nothing", "/openapi.json", "/docs", "/redoc"):
                problem_in(await client.get(path), 401)


async def test_a_persons_key_acts_for_that_person_alone(service: Service) -> None:
    ids = await belongings(service)
    async with service.client(await service.key(Role.ADMIN, "acme", principal_id="ann")) as ann:
        as_bob = await ann.post("/v1/jobs", json={"operator": "ask", "principal_id": "bob"})
        problem_in(as_bob, 403)
        own = await ann.post("/v1/jobs", json={"operator": "ask"})
        assert own.json()["principal_id"] == "ann"
        beat = {"timing": {"every": 3600}, "job": {"operator": "ask", "principal_id": "bob"}}
        problem_in(await ann.put("/v1/schedules/hers", json=beat), 403)
        hers = await ann.put("/v1/schedules/hers", json={**beat, "job": {"operator": "ask"}})
        assert (hers.json()["principal_id"], hers.json()["created_by"]) == ("ann", "ann")
        answer = {"resolution": {"confirmed": True}, "resolved_by": "bob"}
        problem_in(await ann.post(f"/v1/actions/{ids['action_id']}/resolve", json=answer), 403)
    async with service.client(await service.key(Role.ADMIN, "acme")) as program:
        answered = await program.post(f"/v1/actions/{ids['action_id']}/resolve", json=answer)
        assert answered.json()["resolved_by"] == "bob"


async def test_a_policy_is_explained_without_the_rules_for_others() -> None:
    rules = [
        {"name": f"no-mail-for-{MARK}", "tool": ["mail"], "when": {"scopes": [MARK]}, "decision": "deny"},
        {
            "name": f"mail-of-{MARK}-herself",
            "tool": ["mail"],
            "when": {"principals": [MARK]},
            "decision": "deny",
        },
        {
            "name": f"all-but-{MARK}",
            "tool": ["mail"],
            "when": {"except_scopes": ["rival"]},
            "decision": "deny",
        },
        {"name": "no-mail", "tool": ["mail"], "when": {"scopes": ["rival"]}, "decision": "deny"},
        {"name": "no-files", "tool": ["files"], "decision": "deny"},
    ]
    engine = PolicyEngine.from_dict({"policy": "house", "rules": rules})
    kernel = RuntimeKernel(policy_engine=engine, operators={"ask": ask})
    async with served(kernel) as service:
        told = {}
        for scope in ("rival", None):
            async with service.client(await service.key(Role.VIEWER, scope)) as client:
                asked = {"action": "tool", "name": "mail", "scope_id": "rival"}
                told[scope] = (await client.post("/v1/policies/explain", json=asked)).text
    assert "no-mail" in told["rival"]
    assert "no-files" in told["rival"]
    assert MARK not in told["rival"]
    assert told[None].count(MARK) == 3
