"""People come with tokens of their identity provider, and what they do is done in their name."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ActionSpec, OperatorContext, Role, RuntimeKernel
from agent_runtime.client import AsyncClient
from agent_runtime.server import ServerConfig
from support.identity_provider import ISSUER, PERSON, IdentityProvider
from support.service import BOUND, Service, problem_in, served, service_of


async def ask(context: OperatorContext, given: Any) -> Any:
    answer = await context.action(ActionSpec(type="confirm", payload={"message": str(given)}))
    return answer.resolution["confirmed"]


async def test_whoever_answers_with_a_token_is_named_in_the_trails(tmp_path: Path) -> None:
    kernel = RuntimeKernel(storage=f"sqlite:///{tmp_path / 'runs.db'}", operators={"ask": ask})
    async with (
        IdentityProvider() as provider,
        served(kernel, ServerConfig(jwt=provider.config())) as service,
        AsyncClient(service.url, key=provider.token(role=Role.OPERATOR, sub="ann")) as ann,
        AsyncClient(service.url, key=provider.token(role=Role.APPROVER)) as boss,
    ):
        job = await ann.jobs.submit(operator="ask", input="go on?")
        assert (job.scope_id, job.principal_id) == ("acme", f"{ISSUER}#ann")
        async with asyncio.timeout(BOUND):
            while not (found := [each async for each in boss.actions.list()]):
                await asyncio.sleep(0.01)
        answered = await boss.actions.resolve(found[0].action_id, {"confirmed": True})
        assert answered.resolved_by == PERSON
        assert (await ann.jobs.result(job.job_id, timeout=BOUND)).output is True
        events = await kernel.storage.events(job.job_id)
        assert PERSON in [event.data.get("resolved_by") for event in events]


@pytest.mark.parametrize(
    ("config", "claims", "role"),
    [
        (
            {"role_claim": "realm_access.roles"},
            {"realm_access": {"roles": ["x", "agents:viewer"]}},
            Role.VIEWER,
        ),
        (
            {"role_claim": "https://a.example/roles"},
            {"https://a.example/roles": ["agents:viewer"]},
            Role.VIEWER,
        ),
        ({"role_claim": "scope"}, {"scope": "openid agents:operator profile"}, Role.OPERATOR),
        ({"role_claim": "scp"}, {"scp": "agents:operator"}, Role.OPERATOR),
        ({"role_claim": "hd", "roles": {"acme.example": "viewer"}}, {"hd": "acme.example"}, Role.VIEWER),
        ({}, {"roles": ["agents:viewer", "agents:operator", "agents:approver"]}, Role.APPROVER),
        ({"scope_claim": "tenant.id"}, {"tenant": {"id": "acme"}, "roles": "agents:admin"}, Role.ADMIN),
        ({"scope_id": "acme"}, {"org_id": None}, Role.ADMIN),
        ({}, {"aud": ["https://agents.example.com", "https://login.example.com/userinfo"]}, Role.ADMIN),
    ],
    ids=str,
)
async def test_the_scope_and_the_role_are_in_the_claims_that_the_configuration_names(
    config: dict[str, Any], claims: dict[str, Any], role: Role
) -> None:
    async with (
        IdentityProvider() as provider,
        service_of(RuntimeKernel(), ServerConfig(jwt=provider.config(**config))) as service,
    ):
        told = await who(service, provider.token(**claims))
    assert (told["scope_id"], told["role"], told["principal_id"]) == ("acme", role, PERSON)
    assert told["name"] == f"token:{PERSON}"


async def who(service: Service, token: str) -> dict[str, Any]:
    """Return what the service says of whoever brings a token."""
    async with service.client(token) as client:
        answer = await client.get("/v1/session")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_keys_and_tokens_are_let_in_side_by_side_and_a_token_acts_for_its_person_alone() -> None:
    async with (
        IdentityProvider() as provider,
        service_of(RuntimeKernel(), ServerConfig(jwt=provider.config())) as service,
    ):
        async with service.client(await service.key(scope_id=None)) as key:
            assert (await key.get("/v1/workers")).status_code == 200
        async with service.client(provider.token()) as token:
            problem_in(await token.get("/v1/workers"), 403)  # it is for one scope
            problem_in(await token.get("/v1/jobs", params={"scope_id": "rival"}), 403)
            as_bob = {"operator": "x", "principal_id": "bob"}
            problem_in(await token.post("/v1/jobs", json=as_bob), 403)
            made = await token.post("/v1/keys", json={"name": "ci", "role": "viewer"})
            assert (made.status_code, made.json()["created_by"]) == (201, PERSON), made.text
