"""Lists of what is long: no page has more bytes than it may, each says where the next one goes on, and what is left out is named."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ActionSpec, Budget, OperatorContext, Role, RuntimeKernel
from agent_runtime.client.log_models import MAX_TEXT
from agent_runtime.client.model_bounds import LISTED_BYTES
from agent_runtime.ports.storage import Storage
from agent_runtime.server import pages
from agent_runtime.testing.examples import NOW, action, commit, job
from agent_runtime.values.budget import LedgerEntry
from agent_runtime.values.job import JobFilter
from support.kernels import opened
from support.log_rows import call as logged_call
from support.log_rows import write
from support.service import BOUND, Service, service_of

LONG = "x" * 1_000_000


async def ask(context: OperatorContext, given: Any) -> Any:
    return await context.action(ActionSpec(type="confirm", payload={"message": "go on?"}))


async def steps(context: OperatorContext, given: Any) -> int:
    for number in range(20):
        await context.step(long, name=f"long{number}")
    return 1


async def long() -> str:
    return LONG


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


async def all_pages(service: Service, path: str, key: str, **asked: Any) -> list[list[dict[str, Any]]]:
    """Read a list to its end, and see that no page is too long."""
    found, more = [], True
    async with service.client(key) as client:
        while more:
            response = await client.get(path, params=asked)
            assert response.status_code == 200, response.text[:500]
            page = response.json()
            assert len(response.content) <= pages.MAX_PAGE_BYTES + 100 or len(page["items"]) == 1
            found.append(page["items"])
            asked["cursor"], more = page["next"], page["next"] is not None
    return found


async def test_jobs_with_long_labels_are_listed_in_short_pages(place: str, tmp_path: Path) -> None:
    async with (
        opened(place, tmp_path) as storage,
        service_of(RuntimeKernel(storage=storage, worker=False)) as service,
    ):
        labels = [{"said": LONG}, {"said": "x" * 30_000}, {}]
        made = [job(scope_id="acme", metadata=labels[number % 3]) for number in range(30)]
        made.append(job(scope_id="acme", tags={"said": LONG}))
        for record in made:
            await storage.commit(commit(create=[(record, [])]))
        key = await service.key(Role.VIEWER)
        found = await all_pages(service, "/v1/jobs", key, limit=500)
        listed = [one for page in found for one in page]
        assert [one["job_id"] for one in listed] == sorted((one.job_id for one in made), reverse=True)
        assert len(found) >= 11
        metadata = {one.job_id: one.metadata for one in made}
        for one in listed:
            long = len(json.dumps(metadata[one["job_id"]])) > LISTED_BYTES
            is_tagged = one["job_id"] == made[-1].job_id
            assert one["left_out"] == (["metadata"] if long else ["tags"] if is_tagged else None)
            assert one["metadata"] == ({} if long else metadata[one["job_id"]])
        async with service.client(key) as client:
            whole = (await client.get(f"/v1/jobs/{made[0].job_id}")).json()
            assert (whole["metadata"], whole["left_out"]) == ({"said": LONG}, None)
            first = await client.get("/v1/overview")
            assert len(first.content) < pages.MAX_PAGE_BYTES
            assert 1 <= len(first.json()["newest_jobs"]) <= 10


async def test_long_questions_are_listed_in_short_pages_and_counted_without_being_read(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        opened(place, tmp_path) as storage,
        service_of(RuntimeKernel(storage=storage, worker=False)) as service,
    ):
        asked = [action(scope_id="acme", payload={"said": LONG}) for _ in range(12)]
        asked.append(action(scope_id="acme", created_at=NOW - timedelta(days=1), payload={"said": "short"}))
        await storage.commit(commit(new_actions=asked))
        key = await service.key(Role.VIEWER)
        found = await all_pages(service, "/v1/actions", key, limit=500)
        listed = [one for page in found for one in page]
        assert [one["action_id"] for one in listed] == sorted((one.action_id for one in asked), reverse=True)
        assert all(
            (one["left_out"] == ["payload"]) != (one["payload"] == {"said": "short"}) for one in listed
        )
        async with service.client(key) as client:
            whole = (await client.get(f"/v1/actions/{asked[0].action_id}")).json()
            assert (whole["payload"], whole["left_out"]) == ({"said": LONG}, None)
            assert len((await client.get("/v1/overview")).content) < pages.MAX_PAGE_BYTES

        async def unread(*_: object, **__: object) -> None:
            raise AssertionError("questions are read for a number")

        monkeypatch.setattr(storage, "list_actions", unread)
        monkeypatch.setattr(storage, "part_of_actions", unread)
        async with service.client(await service.key(Role.VIEWER, None)) as client:
            told = (await client.get("/metrics")).text
        assert "agent_runtime_pending_actions 13.0" in told


async def test_more_than_a_thousand_questions_are_counted_since_the_oldest(
    place: str, tmp_path: Path
) -> None:
    async with (
        opened(place, tmp_path) as storage,
        service_of(RuntimeKernel(storage=storage, worker=False)) as service,
    ):
        now = service.kernel.clock.now()
        asked = [action(created_at=now - timedelta(days=9))]
        asked += [action(created_at=now) for _ in range(1_100)]
        await storage.commit(commit(new_actions=asked[:1]))
        await storage.commit(commit(new_actions=asked[1:]))
        async with service.client(await service.key(Role.VIEWER, None)) as client:
            told = dict(
                line.split(" ")
                for line in (await client.get("/metrics")).text.splitlines()
                if line.startswith(("agent_runtime_pending", "agent_runtime_oldest"))
            )
        assert told["agent_runtime_pending_actions"] == "1101.0"
        assert float(told["agent_runtime_oldest_action_seconds"]) >= 9 * 86_400


@pytest.mark.parametrize("what", ["jobs", "actions", "ledger/entries", "workers"])
async def test_a_list_goes_on_where_it_was_though_what_it_ended_with_is_gone(
    what: str, place: str, tmp_path: Path
) -> None:
    async with (
        opened(place, tmp_path) as storage,
        service_of(RuntimeKernel(storage=storage, worker=False)) as service,
    ):
        ids = await _listed(storage, what)
        key = await service.key(Role.VIEWER, None)
        async with service.client(key) as client:
            page = (await client.get(f"/v1/{what}", params={"limit": 2, "all": True})).json()
            name = next(
                name for name in ("action_id", "entry_id", "worker_id", "job_id") if name in page["items"][0]
            )
            assert [one[name] for one in page["items"]] == ids[:2]
            await _gone(storage, what, ids[1])
            asked = {"limit": 2, "all": True, "cursor": page["next"]}
            rest = (await client.get(f"/v1/{what}", params=asked)).json()
            assert [one[name] for one in rest["items"]] == ids[2:]
            assert rest["next"] is None


async def _listed(storage: Storage, what: str) -> list[str]:
    """Store four of something, and return their ids in the order of the list."""
    if what == "jobs":
        made = [job() for _ in range(4)]
        await storage.commit(commit(create=[(one, []) for one in made]))
        return sorted((one.job_id for one in made), reverse=True)
    if what == "actions":
        asked = [action() for _ in range(4)]
        await storage.commit(commit(new_actions=asked))
        return sorted((one.action_id for one in asked), reverse=True)
    if what == "workers":
        from agent_runtime.ports.workers import WorkerRecord

        for number in range(4):
            at = NOW + timedelta(seconds=number)
            await storage.register_worker(
                WorkerRecord(worker_id=f"w{number}", started_at=at, heartbeat_at=at)
            )
        return [f"w{number}" for number in range(4)]
    entries = [
        LedgerEntry(entry_id=f"e{number}", type="model_usage", timestamp=NOW + timedelta(days=number))
        for number in range(4)
    ]
    await storage.commit(commit(ledger=entries))
    return [f"e{number}" for number in range(4)]


async def _gone(storage: Storage, what: str, id_: str) -> None:
    if what == "workers":
        await storage.remove_worker(id_)
    elif what == "ledger/entries":
        await storage.forget("ledger", before=NOW + timedelta(days=1, hours=1))
    elif what == "jobs":
        await _only_pruned(storage, id_)
    else:
        from agent_runtime.ports.commit import ActionChange
        from agent_runtime.values.action import ActionStatus

        change = ActionChange(action_id=id_, status=ActionStatus.CANCELLED)
        await storage.commit(commit(action_changes=[change]))
        assert await storage.forget("actions", before=NOW + timedelta(days=1)) == 1


async def _only_pruned(storage: Storage, job_id: str) -> None:
    """Prune one job alone."""
    from agent_runtime.values.job import JobStatus

    claim = await storage.claim(job_id, owner="w", at=NOW)
    assert claim is not None
    from agent_runtime.ports.commit import JobChange, NewEvent

    end = JobChange(status=JobStatus.SUCCEEDED, completed_at=NOW, release=True)
    last = [NewEvent("job.succeeded")]
    await storage.commit(commit(job_id=job_id, fence=claim.job.fence, events=last, job=end))
    assert await storage.prune(before=NOW + timedelta(days=1)) == 1
    assert len(await storage.list_jobs(JobFilter())) == 3


async def test_a_page_of_events_reads_no_content_that_it_does_not_show(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(place, tmp_path) as storage:
        read: list[int] = []
        inner = storage.events

        async def measured(*args: Any, **options: Any) -> Any:
            page = await inner(*args, **options)
            read.append(sum(len(event.content or b"") for event in page))
            return page

        kernel = RuntimeKernel(storage=storage, operators={"steps": steps})
        async with service_of(kernel) as service, service.client(await service.key(Role.OPERATOR)) as client:
            made = (await client.post("/v1/jobs", json={"operator": "steps"})).json()
            await kernel.handle(made["job_id"]).result(timeout=BOUND)
            monkeypatch.setattr(storage, "events", measured)
            path = f"/v1/jobs/{made['job_id']}/events"
            page = (await client.get(path, params={"limit": 500})).json()
            assert len(page["items"]) > 20
            assert max(read) == 0
            async with client.stream("GET", path, headers={"Accept": "text/event-stream"}) as response:
                async with asyncio.timeout(BOUND):
                    assert b"event: end" in await response.aread()
            assert max(read) == 0
            read.clear()
            shown: list[int] = []
            after = 0
            while True:
                page = (
                    await client.get(path, params={"limit": 500, "content": True, "after_seq": after})
                ).json()
                shown += [one["seq"] for one in page["items"]]
                if page["next"] is None:
                    break
                after = int(page["next"])
            assert shown == list(range(1, len(shown) + 1))
            assert len(shown) > 20


async def test_the_ledger_keys_and_budgets_have_short_pages(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        opened(place, tmp_path) as storage,
        service_of(RuntimeKernel(storage=storage, worker=False)) as service,
    ):
        name = "n" * 500
        entries = [
            LedgerEntry(
                entry_id=f"{number}", type="model_usage", timestamp=NOW,
                agent=name, model=name, provider=name, run_id=name, session_id=name, principal_id=name,
            )
            for number in range(400)
        ]  # fmt: skip
        await storage.commit(commit(ledger=entries))
        key = await service.key(Role.ADMIN, None)
        found = await all_pages(service, "/v1/ledger/entries", key, limit=500)
        assert [one["entry_id"] for page in found for one in page] == [f"{number}" for number in range(400)]
        assert len(found) > 2
        for number in range(5):
            await service.kernel.ledger.save_budget(Budget(name=f"{number}", max_cost_daily="5"))
            await service.kernel.keys.create(name=f"{number}", role=Role.VIEWER, scope_id=name)
        assert [len(page) for page in await all_pages(service, "/v1/budgets", key, limit=2)] == [2, 2, 1]
        assert [len(page) for page in await all_pages(service, "/v1/keys", key, limit=4)] == [4, 2]


async def test_of_a_long_call_the_middle_is_left_out_unless_all_is_asked_for(
    place: str, tmp_path: Path
) -> None:
    if place == "memory":
        pytest.skip("memory keeps no logs")
    async with (
        opened(place, tmp_path) as storage,
        service_of(RuntimeKernel(storage=storage, worker=False)) as service,
    ):
        one = logged_call(scope_id="acme", prompt="a" + LONG + "z")
        await write(storage, [one])
        async with service.client(await service.key(Role.VIEWER)) as client:
            cut = (await client.get(f"/execution-logs/llm-calls/{one.id}")).json()
            assert cut["left_out"] == ["prompt"]
            assert len(cut["prompt"]) < MAX_TEXT + 100
            assert (cut["prompt"][0], cut["prompt"][-1]) == ("a", "z")
            whole = (await client.get(f"/execution-logs/llm-calls/{one.id}?whole=true")).json()
            assert (whole["prompt"], whole["left_out"]) == ("a" + LONG + "z", None)


async def test_a_scoped_key_is_not_told_of_the_workers(place: str, tmp_path: Path) -> None:
    async with (
        opened(place, tmp_path) as storage,
        service_of(RuntimeKernel(storage=storage, worker=False)) as service,
    ):
        for scope, known in (("acme", False), (None, True)):
            async with service.client(await service.key(Role.VIEWER, scope)) as client:
                workers = (await client.get("/v1/overview")).json()["workers"]
            assert (workers is not None) == known
