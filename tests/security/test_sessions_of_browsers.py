"""A browser's session: a cookie that scripts do not see, that another site cannot use, and that ends with its key."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent_runtime import ApiKey, JobSpec, Role, RuntimeKernel
from agent_runtime.keys.text import SessionText, read_session_text
from agent_runtime.server import ServerConfig
from agent_runtime.server.access import COOKIE, OWN_PAGE
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.clock import FakeClock
from llm_client.redaction import redact
from support.service import Reading, Service, problem_in, served, service_of


async def logged_in(service: Service, **more: object) -> tuple[ApiKey, str]:
    """Return a key, and the cookie that a browser has been given for it."""
    key, text = await service.kernel.keys.create(name="me", role=Role.ADMIN, scope_id="acme", **more)  # type: ignore[arg-type]
    async with service.client() as browser:
        answer = await browser.post("/v1/session", json={"key": text})
        assert answer.status_code == 204
        said = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(said.split("; "))
    return key, said.partition(";")[0].partition("=")[2]


async def test_a_cookie_reads_and_changes_nothing_that_a_page_of_another_site_sends() -> None:
    async with service_of(RuntimeKernel()) as service:
        _, cookie = await logged_in(service)
        async with service.client(Cookie=f"{COOKIE}={cookie}") as browser:
            told = (await browser.get("/v1/session")).json()
            assert (told["role"], told["scope_id"]) == ("admin", "acme")
            assert "approve" in told["permissions"]
            message = {"to": "somebody", "message": 1}
            refused = problem_in(await browser.post("/v1/messages", json=message), 403)
            assert OWN_PAGE in refused["detail"]
            cancelling = await browser.get(
                "/v1/jobs/x/events", params={"cancel_on_leave": True}, headers={"Accept": "text/event-stream"}
            )
            problem_in(cancelling, 404)
            own = await browser.post("/v1/messages", json=message, headers={OWN_PAGE: "1"})
            assert own.status_code == 202
            ended = await browser.delete("/v1/session", headers={OWN_PAGE: "1"})
            assert f'{COOKIE}=""' in ended.headers["set-cookie"]
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": OWN_PAGE}
        async with service.client(Origin="https://evil.example.com", **asked) as other:
            leave = await other.options("/v1/messages")
            assert "access-control-allow-headers" not in leave.headers


async def test_a_browser_follows_a_job_with_its_cookie() -> None:
    async with served(RuntimeKernel()) as service:
        _, cookie = await logged_in(service)
        job = await service.kernel.jobs.create(JobSpec(scope_id="acme"))
        await service.kernel.jobs.start(job.job_id)
        await service.kernel.jobs.complete(job.job_id)
        async with service.client(Cookie=f"other=1; {COOKIE}={cookie}") as browser:
            reader = Reading()
            await reader.connect(browser, f"/v1/jobs/{job.job_id}/events")
            assert reader.ended


async def test_a_stream_that_would_cancel_takes_the_header_too() -> None:
    async with served(RuntimeKernel()) as service:
        _, cookie = await logged_in(service)
        job = await service.kernel.jobs.create(JobSpec(scope_id="acme"))
        path, asked = f"/v1/jobs/{job.job_id}/events", {"Accept": "text/event-stream"}
        async with service.client(Cookie=f"{COOKIE}={cookie}") as browser:
            told = await browser.get(path, params={"cancel_on_leave": True}, headers=asked)
            assert OWN_PAGE in problem_in(told, 403)["detail"]


NO_KEYS = ServerConfig(authenticate=False)


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Host": "localhost:8321"}, True),
        ({"Host": "127.0.0.1"}, True),
        ({"Host": "[::1]:8321"}, True),
        ({"Host": "LOCALHOST"}, True),
        ({"Host": "localhost:8321", "Origin": "http://localhost:8321"}, True),
        ({"Host": "localhost:8321", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Host": "evil.example.com"}, False),
        ({"Host": "localhost.evil.example.com"}, False),
        ({"Host": "127.0.0.1.nip.io:8321"}, False),
        ({"Host": ""}, False),
        ({"Host": "localhost:8321", "Origin": "https://evil.example.com"}, False),
        ({"Host": "localhost:8321", "Origin": "http://localhost:3000"}, False),
        ({"Host": "localhost:8321", "Origin": "null"}, False),
        ({"Host": "localhost:8321", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Host": "localhost:8321", "Sec-Fetch-Site": "same-site"}, False),
    ],
)
async def test_without_keys_no_page_of_another_site_is_answered(
    headers: dict[str, str], allowed: bool
) -> None:
    async with service_of(RuntimeKernel(), NO_KEYS) as service, service.client(**headers) as client:
        for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs/none/cancel")):
            response = await client.request(method, path)
            assert (response.status_code == 403) != allowed, response.text


async def test_without_a_key_none_is_made() -> None:
    async with service_of(RuntimeKernel(), NO_KEYS) as service:
        key, _ = await service.kernel.keys.create(name="x", role=Role.VIEWER, scope_id="acme")
        async with service.client(Host="localhost") as client:
            new = {"name": "x", "role": "admin", "all_scopes": True}
            problem_in(await client.post("/v1/keys", json=new), 403)
            problem_in(await client.post(f"/v1/keys/{key.key_id}/rotate"), 403)


async def test_a_session_ends_with_its_time_and_with_its_key() -> None:
    clock = FakeClock()
    async with service_of(RuntimeKernel(storage=MemoryStorage(), clock=clock)) as service:
        keys = service.kernel.keys
        key, cookie = await logged_in(service)
        assert await keys.authenticate_session(cookie) is not None
        clock.move(hours=11, minutes=59)
        assert await keys.authenticate_session(cookie) is not None
        clock.move(minutes=2)
        assert await keys.authenticate_session(cookie) is None

        key, cookie = await logged_in(service)
        await keys.revoke(key.key_id)
        assert await keys.authenticate_session(cookie) is None

        _, cookie = await logged_in(service, expires_at=clock.now() + timedelta(minutes=5))
        clock.move(minutes=4)
        assert await keys.authenticate_session(cookie) is not None
        clock.move(minutes=2)
        assert await keys.authenticate_session(cookie) is None


async def test_nobody_makes_a_session_without_the_key() -> None:
    async with service_of(RuntimeKernel()) as service:
        key, cookie = await logged_in(service)
        session = read_session_text(cookie)
        assert session is not None
        forged = [
            str(session._replace(ends_at=session.ends_at + 1)),
            str(session._replace(key_id="0" * 17)),
            str(SessionText.made(key.key_id, session.ends_at, "")),
            cookie[:-1] + ("A" if cookie[-1] != "A" else "B"),
            cookie.upper(),
            "x" * 1_000_000,
            "",
            "\x00",
        ]
        for text in forged:
            assert await service.kernel.keys.authenticate_session(text) is None
        assert await service.kernel.keys.authenticate(cookie) is None  # nor is it a key
        async with service.client(cookie) as client:
            problem_in(await client.get("/v1/jobs"), 401)
        assert cookie not in redact(f"Cookie: {COOKIE}={cookie}")
        assert cookie not in redact(f"the browser has sent {cookie}")


@pytest.mark.parametrize("body", [{}, {"key": 1}, {"key": "x" * 3_801}, {"key": "ark_x_y", "more": 1}])
async def test_what_is_no_key_opens_no_session(body: dict[str, object]) -> None:
    async with service_of(RuntimeKernel()) as service, service.client() as browser:
        problem_in(await browser.post("/v1/session", json=body), 422)
        refused = await browser.post("/v1/session", json={"key": "ark_x_y"})
        problem_in(refused, 401)
        assert "set-cookie" not in refused.headers
