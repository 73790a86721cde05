"""What a client sends again, and what it makes of what a service refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import pytest

from agent_runtime import (
    IdempotencyConflict,
    InboxFull,
    InvalidInput,
    QueueFull,
    RetryRefused,
    ServiceError,
    ServiceUnreachable,
    StorageError,
    UnknownJob,
)
from agent_runtime.client import AnswerTexts, AsyncClient, key_models, models

JOB: Mapping[str, Any] = {
    **dict.fromkeys(models.Job.model_fields),
    "job_id": "job-1",
    "status": "queued",
    "standing": "queued",
    "scope_id": "acme",
    "queue": "default",
    "priority": 0,
    "chain_id": "job-1",
    "depth": 0,
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "progress": 0.0,
    "metadata": {},
    "tags": {},
    "last_seq": 1,
}
Reply = Callable[[httpx2.Request], httpx2.Response]


class Service(httpx2.AsyncBaseTransport):
    """Answers one thing after the other, the last one for ever."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        return reply(request)

    def client(self, **options: Any) -> AsyncClient:
        return AsyncClient("http://service", "a key", transport=self, **options)


def job(_: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(202, json=dict(JOB))


def refused(status: int, code: str, **more: Any) -> Reply:
    said = {"type": "x", "title": "x", "status": status, "detail": f"no: {code}", "code": code, **more}
    headers = {"Retry-After": "0"} if status in (429, 503) else {}
    return lambda _: httpx2.Response(status, json=said, headers=headers)


def lost(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ReadError("the connection is gone", request=request)


def shut(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("nobody listens", request=request)


@pytest.mark.parametrize(
    "first",
    [lost, shut, refused(503, "STORAGE_ERROR"), refused(502, "BAD_GATEWAY"), refused(429, "QUEUE_FULL")],
)
async def test_a_submission_is_sent_again_with_the_same_key(first: Reply) -> None:
    service = Service(first, job)
    async with service.client() as client:
        submitted = await client.jobs.submit(operator="ship", input={"order": 17})

    assert submitted.job_id == "job-1"
    keys = [request.headers["idempotency-key"] for request in service.requests]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert json.loads(service.requests[0].content) == {"operator": "ship", "input": {"order": 17}}
    assert service.requests[0].headers["authorization"] == "Bearer a key"


async def test_a_key_that_is_given_is_sent() -> None:
    service = Service(job)
    async with service.client() as client:
        await client.jobs.submit(prompt="x", idempotency_key="order-17")
    assert service.requests[0].headers["idempotency-key"] == "order-17"


@pytest.mark.parametrize("first", [lost, refused(503, "STORAGE_ERROR")])
async def test_what_must_not_be_done_twice_is_not_sent_twice(first: Reply) -> None:
    service = Service(first, job)
    async with service.client() as client:
        with pytest.raises((ServiceUnreachable, StorageError)):
            await client.jobs.retry("job-1")
        with pytest.raises(ServiceError):
            await Service(lost).client().keys.create(key_models.NewKey(name="x", role="viewer"))
    assert len(service.requests) == 1


@pytest.mark.parametrize("first", [shut, refused(429, "TOO_MANY_REQUESTS")])
async def test_what_was_not_done_at_all_is_sent_again_in_any_case(first: Reply) -> None:
    service = Service(first, job)
    async with service.client() as client:
        await client.jobs.retry("job-1")
    assert len(service.requests) == 2


async def test_tries_and_patience_are_bounded() -> None:
    service = Service(lost)
    async with service.client(patience=0.7) as client:
        with pytest.raises(ServiceUnreachable, match="the connection is gone") as raised:
            await client.jobs.get("job-1")
    assert 3 <= len(service.requests) <= 8  # at once, after waits that grow, and when patience ends
    assert "a key" not in str(raised.value)
    harmful = Service(shut)
    async with harmful.client(tries=2) as client:
        with pytest.raises(ServiceUnreachable, match="nobody listens"):
            await client.jobs.retry("job-1")
    assert len(harmful.requests) == 2
    bounded = Service(lost)
    async with bounded.client(tries=3) as client:
        with pytest.raises(ServiceUnreachable):
            await client.jobs.get("job-1")
    assert len(bounded.requests) == 3
    once = Service(lost)
    async with once.client(tries=1) as client:
        with pytest.raises(ServiceUnreachable):
            await client.jobs.get("job-1")
        assert not await client.is_ready()
    assert len(once.requests) == 2

    long = Service(lambda _: httpx2.Response(503, headers={"Retry-After": "3600"}))
    async with long.client() as client:
        with pytest.raises(ServiceError) as away:
            await client.jobs.get("job-1")
    assert (len(long.requests), away.value.status, away.value.retry_after) == (1, 503, 3600.0)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, UnknownJob),
        (409, IdempotencyConflict),
        (409, RetryRefused),
        (422, InvalidInput),
        (503, StorageError),
    ],
)
async def test_what_is_refused_is_the_runtimes_own_error(status: int, kind: Any) -> None:
    service = Service(refused(status, kind.code, instance="problem-1"))
    async with service.client(tries=1) as client:
        with pytest.raises(kind, match=f"no: {kind.code}") as raised:
            await client.jobs.get("job-1")
    cause = raised.value.__cause__
    assert isinstance(cause, ServiceError)
    assert (cause.status, cause.code, cause.instance) == (status, kind.code, "problem-1")


async def test_a_full_queue_says_when_another_try_makes_sense() -> None:
    full = Service(
        lambda _: httpx2.Response(
            429,
            json={"type": "x", "title": "x", "status": 429, "detail": "full", "code": "QUEUE_FULL"},
            headers={"Retry-After": "7"},
        )
    )
    async with full.client(tries=1) as client:
        with pytest.raises(QueueFull, match="full") as raised:
            await client.jobs.submit(prompt="x")
    assert raised.value.retry_after == 7.0
    async with Service(refused(429, "INBOX_FULL")).client(tries=1) as client:
        with pytest.raises(InboxFull, match="no: INBOX_FULL"):
            await client.messages.send("me", 1)


async def test_what_the_service_does_not_know_by_a_name_of_ours_has_its_code() -> None:
    said = refused(401, "UNAUTHORIZED", errors=[{"place": "query.limit", "message": "too large"}])
    async with Service(said).client() as client:
        with pytest.raises(ServiceError) as raised:
            await client.overview()
    assert (raised.value.code, raised.value.fields) == ("UNAUTHORIZED", {"query.limit": "too large"})


async def test_an_answer_of_somebody_else_is_said_to_be_one() -> None:
    async with Service(lambda _: httpx2.Response(502, text="<h1>Bad gateway</h1>")).client(tries=1) as client:
        with pytest.raises(ServiceError, match="502 Bad Gateway: <h1>"):
            await client.jobs.get("x")
    async with Service(lambda _: httpx2.Response(200, text="<h1>Welcome</h1>")).client() as client:
        with pytest.raises(ServiceError, match="is this the service"):
            await client.jobs.get("x")
        assert not await client.is_ready()


async def test_a_field_that_cannot_be_is_refused_before_it_is_sent() -> None:
    service = Service(job)
    async with service.client() as client:
        with pytest.raises(InvalidInput, match="priority"):
            await client.jobs.submit(prompt="x", priority="high")  # type: ignore[arg-type]  # on purpose
        with pytest.raises(InvalidInput, match="promt"):
            await client.jobs.submit(promt="x")  # type: ignore[call-arg]  # on purpose
    assert service.requests == []


async def test_ids_stay_in_their_place_of_the_address() -> None:
    service = Service(job)
    async with service.client() as client:
        await client.jobs.get("../keys?x=1#")
    assert service.requests[0].url.raw_path == b"/v1/jobs/..%2Fkeys%3Fx%3D1%23"


def test_live_texts_are_joined_as_they_are_told() -> None:
    def event(type_: str, text: str, operation: str = "o", **data: Any) -> models.Event:
        return models.Event(
            seq=None,
            type=type_,
            job_id="j",
            scope_id="acme",
            timestamp="2026-01-01T00:00:00Z",
            operation_id=operation,
            data={"text": text, **data},
        )

    texts = AnswerTexts()
    assert texts.add(event("model.token", "lo")) == "lo"
    assert texts.add(event("model.partial", "Hello")) == "Hello"
    assert texts.add(event("model.token", ", hm", reasoning=True)) is None
    assert texts.add(event("model.token", ", you")) == "Hello, you"
    assert texts.add(event("custom.note", "no")) is None
    assert texts.add(event("model.token", "other", "p")) == "other"
    assert dict(texts) == {"o": "Hello, you", "p": "other"}


async def test_a_wait_for_a_result_is_shorter_than_an_answer_may_take() -> None:
    """Otherwise a job that takes its time is a service that does not answer."""
    done = {"job_id": "job-1", "status": "succeeded", "content": "well"}
    for timeout, longest in ((5.0, 2.5), (60.0, 20.0)):
        service = Service(
            lambda _: httpx2.Response(202, json={**done, "status": "running"}),
            lambda _: httpx2.Response(200, json=done),
        )
        async with service.client(timeout=timeout) as client:
            assert (await client.jobs.result("job-1")).content == "well"
        assert [float(request.url.params["wait"]) for request in service.requests] == [longest, longest]


async def test_a_service_that_does_not_wait_is_not_asked_without_a_pause() -> None:
    """It is about to end, and answers everybody at once."""
    running = {"job_id": "job-1", "status": "running"}
    service = Service(lambda _: httpx2.Response(202, json=running))
    async with service.client() as client:
        with pytest.raises(TimeoutError):
            await client.jobs.result("job-1", timeout=0.3)
    assert len(service.requests) == 1


@pytest.mark.parametrize("id_", ["", ".", ".."])
async def test_an_id_that_would_be_another_address_is_refused(id_: str) -> None:
    service = Service()
    async with service.client() as client:
        with pytest.raises(InvalidInput):
            await client.jobs.get(id_)
    assert service.requests == []


async def test_a_key_is_sent_without_the_end_of_its_line_and_one_that_can_be_none_is_not_repeated() -> None:
    service = Service(lambda _: httpx2.Response(200, json=JOB))
    async with AsyncClient("http://service", "ark_x\n", transport=service) as client:
        await client.jobs.get("job-1")
    assert service.requests[0].headers["authorization"] == "Bearer ark_x"
    for wrong in ("ark_\x00secret", "ark_sécret", "\ufeffark_secret"):
        with pytest.raises(InvalidInput) as refused:
            AsyncClient("http://service", wrong)
        assert "cret" not in str(refused.value)
