"""The story of a team that deploys the service: it migrates, makes keys, serves beside a worker, is asked over HTTP, and stops it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from agent_runtime import Role
from support.identity_provider import AUDIENCE, ISSUER, PERSON, IdentityProvider
from support.kernels import BOUND
from support.service import Reading

pytestmark = pytest.mark.timeout(BOUND * 3)
SHOP = """
import asyncio
import os
from agent_runtime import ActionSpec, RuntimeKernel

async def ship(context, given):
    answer = await context.action(ActionSpec(type="approval", payload={"message": f"ship {given}?"}))
    pid = await context.step(where, name="where", effect="idempotent")
    return {"order": given, "approved": answer.resolution["approved"], "pid": pid}

async def where():
    return os.getpid()

def served():
    return RuntimeKernel(storage=os.environ["AGENT_RUNTIME_STORAGE"], worker=False)

def worked():
    return RuntimeKernel(storage=os.environ["AGENT_RUNTIME_STORAGE"], operators={"ship": ship})
"""


JWT = ("--jwt-issuer", "https://x", "--jwt-audience", "y", "--jwt-jwks-url", "https://x/keys")


class Place:
    """A folder with an application, and its database."""

    def __init__(self, folder: Path, storage: str) -> None:
        (folder / "shop.py").write_text(SHOP)
        self._folder = folder
        self._environment = {**os.environ, "AGENT_RUNTIME_STORAGE": storage}

    async def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command, and return what it prints."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent_runtime.cli", *arguments),
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        async with asyncio.timeout(BOUND):
            out, err = await process.communicate()
        assert process.returncode == code, (out, err)
        return (out or err).decode()

    @contextlib.asynccontextmanager
    async def going_on(
        self, *arguments: str, **environment: str
    ) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
        """Start a command that goes on, give it with its first line, and stop it as a supervisor does."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent_runtime.cli", *arguments),
            cwd=self._folder,
            env={**self._environment, **environment},
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(BOUND):
                line = (await process.stdout.readline()).decode()
            yield process, line
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(BOUND):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_a_team_serves_its_jobs_beside_a_worker(postgres_dsn: str, tmp_path: Path) -> None:
    place = Place(tmp_path, postgres_dsn)
    assert "agent-runtime migrate" in await place.run("serve", "--app", "shop:served", "--port", "0", code=3)
    await place.run("migrate")
    operator = (await place.run("keys", "create", "shop", "--role", "operator", "--scope", "acme")).strip()
    approver = await place.run(
        "keys", "create", "ann", "--role", "approver", "--scope", "acme", "--principal", "ann"
    )
    async with (
        place.going_on("worker", "--app", "shop:worked") as (worker, told),
        place.going_on("serve", "--app", "shop:served", "--port", "0") as (_, line),
    ):
        assert "executes ship" in told
        assert "other processes execute the jobs" in line
        url = line.split()[2].rstrip(";")
        shop, ann = (
            httpx2.AsyncClient(base_url=url, headers={"X-API-Key": key.strip()}, timeout=BOUND)
            for key in (operator, approver)
        )
        async with shop, ann:
            assert (await shop.get("/health/ready")).json() == {"status": "ok"}
            job = (await shop.post("/v1/jobs", json={"operator": "ship", "input": 17})).json()["job_id"]
            reader = Reading()
            reading = asyncio.ensure_future(reader.connect(shop, f"/v1/jobs/{job}/events"))
            asked: list[dict[str, str]] = []
            async with asyncio.timeout(BOUND):
                while not asked:
                    asked = (await ann.get("/v1/actions", params={"job_id": job})).json()["items"]
            answer = {"resolution": {"approved": True, "reason": "paid"}}
            answered = await ann.post(f"/v1/actions/{asked[0]['action_id']}/resolve", json=answer)
            assert answered.json()["resolved_by"] == "ann"
            result = (await shop.get(f"/v1/jobs/{job}/result", params={"wait": BOUND})).json()
            assert result["output"] == {"order": 17, "approved": True, "pid": worker.pid}
            await reading
            assert reader.ended
            assert reader.seen[-1][1] == "job.succeeded"


async def test_on_one_machine_one_process_serves_and_executes(tmp_path: Path) -> None:
    place = Place(tmp_path, f"sqlite:///{tmp_path}/runs.db")
    async with place.going_on("serve", "--app", "shop:worked", "--port", "0", "--no-auth") as (_, line):
        assert "executes ship" in line
        async with httpx2.AsyncClient(base_url=line.split()[2].rstrip(";"), timeout=BOUND) as client:
            job = await client.post("/v1/jobs", json={"operator": "ship", "input": 1})
            assert job.status_code == 202
            waiting = await client.get(f"/v1/jobs/{job.json()['job_id']}/result", params={"wait": 0.2})
            assert waiting.status_code == 202


async def test_people_come_with_tokens_of_the_provider_that_options_and_variables_name(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path, f"sqlite:///{tmp_path}/runs.db")
    async with IdentityProvider() as provider:
        named = {
            "AGENT_RUNTIME_JWT_AUDIENCE": AUDIENCE,
            "AGENT_RUNTIME_JWT_JWKS_URL": f"{provider.url}/jwks.json",
            "AGENT_RUNTIME_JWT_ROLES": "agents:admin=admin agents:viewer=viewer",
            "AGENT_RUNTIME_JWT_SCOPE": "",
        }
        options = ("--jwt-issuer", ISSUER, "--jwt-scope-claim", "org_id")
        async with place.going_on("serve", "--port", "0", "--no-worker", *options, **named) as (_, line):
            url = line.split()[2].rstrip(";")
            async with httpx2.AsyncClient(base_url=url, timeout=BOUND) as client:
                for role in ("admin", "viewer"):
                    sent = {"Authorization": f"Bearer {provider.token(role=Role(role))}"}
                    told = (await client.get("/v1/session", headers=sent)).json()
                    assert (told["role"], told["scope_id"], told["principal_id"]) == (role, "acme", PERSON)
                sent = {"Authorization": f"Bearer {provider.token(role=Role.OPERATOR)}"}
                assert (await client.get("/v1/session", headers=sent)).status_code == 401


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--jwt-issuer", "https://x"), "tokens need --jwt-audience as well"),
        (("--jwt-role", "a=viewer"), "tokens need --jwt-issuer as well"),
        ((*JWT, "--jwt-scope", "acme", "--jwt-role", "a=boss"), "--jwt-role is VALUE=ROLE"),
        ((*JWT, "--jwt-scope", "acme"), "tokens need --jwt-role as well"),
        ((*JWT, "--jwt-role", "a=viewer"), "either scope_claim or scope_id says"),
        (
            (*JWT, "--jwt-role", "a=viewer", "--jwt-scope", "acme", "--no-auth"),
            "jwt says whose tokens are taken",
        ),
        (("--no-auth", "--host", "0.0.0.0"), "--no-auth is for addresses that only this machine can reach"),
        (("--no-auth", "--host", "example.com"), "--no-auth is for addresses"),
        (("--app", "shop:worked", "--no-worker"), "an application says itself whether it executes"),
        (("--cors-origin", "*"), "cors_origins are origins"),
        (("--port", "70000"), "70000 is not in the range"),
        (("--host", "203.0.113.1", "--port", "1"), "nobody can listen on 203.0.113.1 port 1"),
    ],
)
async def test_what_cannot_be_served_is_said_in_a_sentence(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    place = Place(tmp_path, f"sqlite:///{tmp_path}/runs.db")
    told = await place.run("serve", *arguments, code=2)
    assert said in told
    assert "Traceback" not in told
