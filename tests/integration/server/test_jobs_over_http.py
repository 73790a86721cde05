"""Jobs over HTTP: submitted, found, followed, stopped, retried."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agent_runtime import ActionSpec, OperatorContext, Role, RuntimeKernel
from support.kernels import opened
from support.service import Service, problem_in, service_of

tries = {"count": 0}


async def echo(context: OperatorContext, given: Any) -> Any:
    return {"got": given}


async def fail_once(context: OperatorContext, given: Any) -> Any:
    tries["count"] += 1
    if tries["count"] == 1:
        raise ValueError("not today")
    return "well"


async def ask(context: OperatorContext, given: Any) -> Any:
    return await context.action(ActionSpec(type="confirm", payload={"message": "go on?"}))


async def wait(context: OperatorContext, given: Any) -> Any:
    await context.sleep(3600)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


@pytest.fixture
async def service(place: str, tmp_path: Path) -> AsyncIterator[Service]:
    tries["count"] = 0
    async with opened(place, tmp_path) as storage:
        operators = {"echo": echo, "fail_once": fail_once, "ask": ask, "wait": wait}
        async with service_of(RuntimeKernel(storage=storage, operators=operators)) as service:
            yield service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    async with service.client(await service.key(Role.ADMIN)) as client:
        yield client


async def submit(client: httpx2.AsyncClient, operator: str, **more: Any) -> Any:
    response = await client.post("/v1/jobs", json={"operator": operator, **more})
    assert response.status_code == 202, response.text
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['job_id']}"
    return job


async def ended(client: httpx2.AsyncClient, job_id: str) -> Any:
    response = await client.get(f"/v1/jobs/{job_id}/result", params={"wait": 20})
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_job_is_submitted_and_its_result_waited_for(client: httpx2.AsyncClient) -> None:
    job = await submit(client, "echo", input={"n": 1.50, "big": 2**70}, tags={"team": "red"}, priority=3)

    assert (job["operator"], job["scope_id"], job["tags"], job["priority"]) == (
        "echo",
        "acme",
        {"team": "red"},
        3,
    )
    result = await ended(client, job["job_id"])
    assert (result["status"], result["output"]) == ("succeeded", {"got": {"n": 1.5, "big": 2**70}})
    assert result["usage"] == {"input_tokens": 0, "output_tokens": 0, "requests": 0, "cost": "0"}
    assert (await client.get(f"/v1/jobs/{job['job_id']}")).json()["status"] == "succeeded"


async def test_a_key_gives_the_same_job_and_another_request_a_conflict(client: httpx2.AsyncClient) -> None:
    first = await submit(client, "echo", input=1, idempotency_key="k")
    again = await client.post(
        "/v1/jobs", json={"operator": "echo", "input": 1}, headers={"Idempotency-Key": "k"}
    )

    assert again.json()["job_id"] == first["job_id"]
    other = await client.post(
        "/v1/jobs", json={"operator": "echo", "input": 2}, headers={"Idempotency-Key": "k"}
    )
    assert problem_in(other, 409)["code"] == "IDEMPOTENCY_CONFLICT"
    both = await client.post(
        "/v1/jobs", json={"operator": "echo", "idempotency_key": "a"}, headers={"Idempotency-Key": "b"}
    )
    assert problem_in(both, 422)["code"] == "INVALID_INPUT"


async def test_a_list_goes_on_where_its_page_says_whatever_comes_meanwhile(
    client: httpx2.AsyncClient,
) -> None:
    made = [(await submit(client, "echo", input=n, session_id=f"s{n % 2}"))["job_id"] for n in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/v1/jobs", params=params)).json()
        seen += [job["job_id"] for job in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
        await submit(client, "echo", input="later")

    assert seen == made[::-1]
    odd = (await client.get("/v1/jobs", params={"session_id": "s1", "tag": []})).json()["items"]
    assert [job["job_id"] for job in odd] == [made[5], made[3], made[1]]
    problem_in(await client.get("/v1/jobs", params={"cursor": "\n"}), 422)


async def test_events_come_in_pages_and_their_content_is_asked_for(client: httpx2.AsyncClient) -> None:
    job = await submit(client, "echo", input="a text")
    await ended(client, job["job_id"])
    path = f"/v1/jobs/{job['job_id']}/events"

    first = (await client.get(path, params={"limit": 2})).json()
    assert [event["seq"] for event in first["items"]] == [1, 2]
    rest = (await client.get(path, params={"after_seq": first["next"], "content": True})).json()
    assert rest["next"] is None
    assert rest["items"][-1]["type"] == "job.succeeded"
    assert "a text" in json.dumps(rest["items"][-1]["content"])
    whole = (await client.get(path)).json()["items"]
    assert all(event["content"] is None for event in whole)


async def test_what_failed_is_told_and_retried(client: httpx2.AsyncClient) -> None:
    job = await submit(client, "fail_once")
    result = await ended(client, job["job_id"])
    assert (result["status"], result["error_code"]) == ("failed", "EXECUTION_ERROR")
    assert "not today" in result["error"]

    retried = await client.post(f"/v1/jobs/{job['job_id']}/retry")
    assert retried.status_code == 202
    assert retried.json()["predecessor_id"] == job["job_id"]
    again = await ended(client, job["job_id"])
    assert (again["job_id"], again["status"]) == (retried.json()["job_id"], "succeeded")
    refused = await client.post(f"/v1/jobs/{(await submit(client, 'echo'))['job_id']}/unblock")
    assert problem_in(refused, 409)["code"] == "INVALID_TRANSITION"


async def test_a_job_that_waits_has_no_result_yet_and_is_cancelled(client: httpx2.AsyncClient) -> None:
    job = await submit(client, "wait")
    path = f"/v1/jobs/{job['job_id']}"

    pending = await client.get(f"{path}/result", params={"wait": 0.3})
    assert (pending.status_code, pending.headers["retry-after"]) == (202, "1")
    cancelled = await client.post(f"{path}/cancel", json={"reason": "too long"})
    assert cancelled.status_code == 202
    assert (await ended(client, job["job_id"]))["status"] == "cancelled"
    assert (await client.post(f"{path}/cancel")).json()["status"] == "cancelled"


async def test_a_question_is_listed_and_answered_once_by_who_the_key_names(
    service: Service, client: httpx2.AsyncClient
) -> None:
    job = await submit(client, "ask")
    items: list[Any] = []
    async with asyncio.timeout(20):
        while not items:
            items = (await client.get("/v1/actions", params={"job_id": job["job_id"]})).json()["items"]
    path = f"/v1/actions/{items[0]['action_id']}"
    assert items[0]["payload"] == {"message": "go on?"}

    async with service.client(await service.key(Role.APPROVER, principal_id="ann")) as ann:
        posed = await ann.post(
            f"{path}/resolve", json={"resolution": {"confirmed": True}, "resolved_by": "bob"}
        )
        assert problem_in(posed, 403)["detail"].startswith("this key answers for nobody else")
        wrong = await ann.post(f"{path}/resolve", json={"resolution": {"confirmed": "perhaps"}})
        assert problem_in(wrong, 422)["code"] == "INVALID_INPUT"
        answered = await ann.post(f"{path}/resolve", json={"resolution": {"confirmed": True}})
        assert (answered.json()["status"], answered.json()["resolved_by"]) == ("resolved", "ann")
        late = await ann.post(f"{path}/resolve", json={"resolution": {"confirmed": False}})
        assert problem_in(late, 409)["code"] == "ACTION_ALREADY_RESOLVED"
    assert (await ended(client, job["job_id"]))["output"]["resolution"]["confirmed"] is True
    assert (await client.get("/v1/actions")).json()["items"] == []
    assert len((await client.get("/v1/actions", params={"all": True})).json()["items"]) == 1


async def test_a_first_page_is_one_request(client: httpx2.AsyncClient) -> None:
    for operator in ("echo", "ask"):
        await submit(client, operator)
    async with asyncio.timeout(20):
        while True:
            told = (await client.get("/v1/overview")).json()
            if told["jobs"]["succeeded"] == 1 and told["jobs"]["waiting_action"] == 1:
                break
    assert len(told["newest_jobs"]) == 2
    assert len(told["pending_actions"]) == 1
    assert (told["scope_id"], told["workers"], told["spent_today"]["cost"]) == ("acme", None, "0")
