"""What every `Storage` must do with messages to identities, and with those who wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agent_runtime.errors import AlreadySettled, DuplicateMessage, FenceLost, InboxFull, SignalsPending
from agent_runtime.ports.commit import Commit, JobChange, NewEvent
from agent_runtime.ports.ids import new_id
from agent_runtime.ports.inbox import MessageChange
from agent_runtime.ports.journal import Claim, RemoteChange
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import NOW, commit, job
from agent_runtime.values.content import COMPRESS_ASIDE, encode
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobStatus
from agent_runtime.values.message import Address, InboxMessage, Receiver
from agent_runtime.values.waits import WaitSet

_CREATED = [NewEvent("job.created", None, {"n": 1})]
DESK = Address("default", "desk")


class _Woken:
    """A listener that remembers for which jobs messages were left."""

    def __init__(self) -> None:
        self.jobs: list[str] = []

    def committed(self, commit: Commit, first_seq: int) -> None:
        """Nothing to remember."""

    def signals_drained(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        """Nothing to remember."""

    def mailed(self, job_ids: Sequence[str]) -> None:
        """Remember."""
        self.jobs.extend(job_ids)

    def agents_changed(self, changes: Sequence[tuple[str, str]]) -> None:
        """Nothing to remember."""

    def on_remote_change(self, changes: Sequence[RemoteChange] | None = None) -> None:
        """Nothing to remember."""


def message(
    body: object = "hello", *, to: Address = DESK, priority: int = 0, dedupe_key: str | None = None
) -> InboxMessage:
    """Build a message."""
    return InboxMessage(
        message_id=new_id("message"),
        scope_id=to.scope_id,
        identity=to.identity,
        sent_at=NOW,
        content=encode(body),
        priority=priority,
        dedupe_key=dedupe_key,
    )


class InboxContract:
    """The suite."""

    async def test_messages_wait_in_the_order_of_their_sending_each_in_its_own_inbox(
        self, storage: Storage
    ) -> None:
        """Scopes and identities share nothing, whatever they are called."""
        other = [Address("acme", "desk"), Address("default", "Desk"), Address("default\x1f", "desk")]
        for number, address in enumerate([DESK, DESK, *other, DESK], 1):
            await self._send(storage, message(number, to=address))
        waiting = await storage.list_messages(DESK)
        assert [(one.body, one.position) for one in waiting] == [(1, 1), (2, 2), (6, 3)]
        assert [one.body for one in await storage.list_messages(DESK, after=1, limit=1)] == [2]
        assert [await storage.count_messages(address) for address in (DESK, *other)] == [3, 1, 1, 1]
        first = await storage.next_message(DESK)
        assert first == waiting[0]
        assert (first.sent_at, first.claimed_by, first.claimed_at) == (NOW, None, None)
        assert await storage.get_message(first.message_id, scope_id="default") == first
        assert await storage.get_message(first.message_id, scope_id="acme") is None
        assert await storage.next_message(Address("nobody", "desk")) is None

    async def test_a_message_with_a_known_key_is_not_sent_again(self, storage: Storage) -> None:
        """A key belongs to one inbox; the refusal names the message, also when that has been received."""
        first = message("first", dedupe_key="k")
        await self._send(storage, first)
        await self._send(storage, message("elsewhere", to=Address("acme", "desk"), dedupe_key="k"))
        for _ in range(2):
            with pytest.raises(DuplicateMessage) as known:
                await self._send(storage, message("second", dedupe_key="k"))
            assert known.value.message_id == first.message_id
            if await storage.count_messages(DESK):
                await self._take(storage, await self._claimed(storage), first)
        await self._send(storage, message("third", dedupe_key="K"))
        assert [one.body for one in await storage.list_messages(DESK)] == ["third"]

    async def test_a_full_inbox_refuses_a_message_and_a_known_key_is_told_first(
        self, storage: Storage
    ) -> None:
        """What was received makes room."""
        first = message(dedupe_key="k")
        await self._send(storage, first, bound=2)
        await self._send(storage, message(), bound=2)
        with pytest.raises(InboxFull) as full:
            await self._send(storage, message(), bound=2)
        assert (full.value.identity, full.value.scope_id, full.value.limit) == ("desk", "default", 2)
        with pytest.raises(DuplicateMessage):
            await self._send(storage, message(dedupe_key="k"), bound=2)
        await self._take(storage, await self._claimed(storage), first)
        await self._send(storage, message(), bound=2)
        assert [one.position for one in await storage.list_messages(DESK)] == [2, 3]

    async def test_a_message_is_taken_by_one_and_its_content_moves_with_it(self, storage: Storage) -> None:
        """The journal has it then; the inbox keeps its key and who has it."""
        sent = message({"large": "x" * (COMPRESS_ASIDE + 1)})
        await self._send(storage, sent)
        ours, theirs = await self._claimed(storage), await self._claimed(storage)
        found = await storage.next_message(DESK)
        assert found is not None
        assert found.body == sent.body
        await self._take(storage, ours, found)
        with pytest.raises(AlreadySettled):
            await self._take(storage, theirs, found)
        taken = await storage.get_message(sent.message_id, scope_id="default")
        assert taken is not None
        assert (taken.claimed_by, taken.claimed_at, taken.content) == (ours.job.job_id, NOW, None)
        assert (await storage.next_message(DESK), await storage.count_messages(DESK)) == (None, 0)
        assert (await storage.tail(ours.job.job_id, 1))[0].body() == sent.body
        assert [event.type for event in await storage.tail(theirs.job.job_id, 1)] == ["job.started"]

    async def test_a_message_may_be_taken_at_the_moment_at_which_it_is_stored(self, storage: Storage) -> None:
        """A storage that writes several commits as one has no row of the message yet that it could read."""
        claim, sent = await self._claimed(storage), message()
        others = [commit(messages=[message(to=Address("acme", "desk"))]) for _ in range(3)]
        both = [commit(messages=[sent]), self._taking(claim, sent)]
        await asyncio.gather(*(storage.commit(each) for each in (*others, *both)))
        assert await storage.list_messages(DESK) == []
        taken = (await storage.events(claim.job.job_id))[-1]
        assert (taken.type, taken.body()) == ("message.received", "hello")

    async def test_a_stale_owner_takes_nothing(self, storage: Storage) -> None:
        """The fence is that of the journal."""
        sent = message()
        await self._send(storage, sent)
        claim = await self._claimed(storage)
        with pytest.raises(FenceLost):
            await self._take(storage, replace(claim, job=replace(claim.job, fence=7)), sent)
        assert await storage.count_messages(DESK) == 1

    async def test_a_take_whose_answer_was_lost_is_not_made_again(self, storage: Storage) -> None:
        """Asked for again, the same commit tells where its event stands."""
        sent = message()
        await self._send(storage, sent)
        claim = await self._claimed(storage)
        take = self._taking(claim, sent)
        assert [await storage.commit(take), await storage.commit(take)] == [3, 3]
        assert await storage.count_messages(DESK) == 0

    async def test_a_message_that_is_given_back_waits_at_its_old_place(self, storage: Storage) -> None:
        """Before those that were sent after it; only who has it can give it back."""
        first, second = message(1), message(2)
        await self._send(storage, first)
        await self._send(storage, second)
        claim = await self._claimed(storage)
        await self._take(storage, claim, first)
        back = MessageChange(first.message_id, DESK, claim.job.job_id, None, first.content)
        with pytest.raises(AlreadySettled):
            await storage.commit(commit(message_changes=[back._replace(before="another")]))
        moved = back._replace(after="successor", content=None)
        await storage.commit(commit(message_changes=[moved]))
        with pytest.raises(AlreadySettled):
            await storage.commit(commit(message_changes=[back]))
        await storage.commit(commit(message_changes=[back._replace(before="successor")]))
        assert [(one.body, one.position) for one in await storage.list_messages(DESK)] == [(1, 1), (2, 2)]
        assert await storage.count_messages(DESK) == 2

    async def test_a_job_is_not_suspended_above_a_message_that_it_waits_for(self, storage: Storage) -> None:
        """A message for others does not matter."""
        claim, receiver = await self._receiving(storage)
        await self._send(storage, message(to=Address("acme", "desk")))
        await self._send(storage, message())
        with pytest.raises(SignalsPending):
            await self._suspend(storage, claim, receiver)
        found = await storage.next_message(DESK)
        assert found is not None
        await self._take(storage, claim, found, receiver)
        again = receiver._replace(operation_id="2")
        await storage.commit(self._fenced(claim, receivers=[again]))
        await self._suspend(storage, claim, again)
        assert await storage.due_jobs() == []

    async def test_a_message_wakes_one_of_those_who_wait_and_the_others_are_due_if_that_one_does_not_take_it(
        self, storage: Storage
    ) -> None:
        """Two messages wake two. Whose wait ends passes the word on."""
        woken = _Woken()
        storage.listen(woken)
        suspended = []
        for _ in range(3):
            claim, receiver = await self._receiving(storage)
            await self._suspend(storage, claim, receiver)
            suspended.append((claim, receiver))
        assert await storage.due_jobs() == []
        ids = [claim.job.job_id for claim, _ in suspended]
        await self._send(storage, message(1))
        assert woken.jobs == ids[:1]
        assert {job_id for job_id, *_ in await storage.due_jobs()} == set(ids)
        await self._send(storage, message(2))
        assert woken.jobs[1:] == ids[:2]
        woken.jobs.clear()
        first = await storage.claim(ids[0], owner="w", at=NOW)
        assert first is not None
        await storage.commit(self._fenced(first, drop_receivers=[suspended[0][1]]))
        assert woken.jobs == ids[1:]
        woken.jobs.clear()
        second = await storage.claim(ids[1], owner="w", at=NOW)
        assert second is not None
        for found in await storage.list_messages(DESK):
            await self._take(storage, second, found, suspended[1][1])
        assert woken.jobs == []
        assert await storage.due_jobs() == []
        assert await storage.claim(ids[2], owner="w", at=NOW) is None
        storage.unlisten(woken)

    async def test_a_job_in_memory_is_told_of_a_message_and_found_by_looking(self, storage: Storage) -> None:
        """An announcement may get lost."""
        claim, _ = await self._receiving(storage)
        assert await storage.jobs_with_signals("w") == []
        woken = _Woken()
        storage.listen(woken)
        await self._send(storage, message())
        storage.unlisten(woken)
        assert woken.jobs == [claim.job.job_id]
        assert await storage.jobs_with_signals("w") == [claim.job.job_id]

    async def test_a_message_counts_as_one_answer_of_a_set(self, storage: Storage) -> None:
        """Of waits that only together are enough, and of waits of which any is."""
        together, first = await self._receiving(storage)
        await self._suspend(storage, together, first, WaitSet(operation_ids=("1", "timer")))
        other = Address("default", "other")
        either, second = await self._receiving(storage, other)
        sets = (WaitSet(operation_ids=("1",)), WaitSet(operation_ids=("timer",)))
        await self._suspend(storage, either, second, *sets)
        await self._send(storage, message())
        assert await storage.due_jobs() == []
        await self._send(storage, message(to=other))
        assert [job_id for job_id, *_ in await storage.due_jobs()] == [either.job.job_id]

    async def test_received_messages_are_forgotten_unless_their_job_may_give_them_back(
        self, storage: Storage
    ) -> None:
        """With them go their keys; what waits stays."""
        sent = [message(number, dedupe_key=f"k{number}") for number in range(4)]
        for one in sent:
            await self._send(storage, one)
        done, failed, alive = [await self._claimed(storage) for _ in range(3)]
        for claim, one in zip((done, failed, alive), sent, strict=False):
            await self._take(storage, claim, one)
        for claim, status in ((done, JobStatus.SUCCEEDED), (failed, JobStatus.FAILED)):
            change = JobChange(status=status, completed_at=NOW, release=True)
            await storage.commit(self._fenced(claim, job=change, events=[NewEvent(f"job.{status}", None)]))
        assert await storage.forget("messages", before=NOW) == 0
        later = NOW + timedelta(days=1)
        assert await storage.forget("messages", before=later) == 1
        assert await storage.get_message(sent[0].message_id, scope_id="default") is None
        await self._send(storage, message(dedupe_key="k0"))
        with pytest.raises(DuplicateMessage):
            await self._send(storage, message(dedupe_key="k1"))
        assert await storage.prune(before=later) == 2
        assert await storage.forget("messages", before=later) == 1
        assert await storage.forget("messages", before=later) == 0
        assert [one.position for one in await storage.list_messages(DESK)] == [4, 5]

    async def test_many_senders_and_takers_at_once_lose_and_repeat_nothing(self, storage: Storage) -> None:
        """Positions have no gaps, and every message is taken once."""
        claims = [await self._claimed(storage) for _ in range(4)]
        taken: list[tuple[int, Any]] = []

        async def send(sender: int) -> None:
            for number in range(10):
                await self._send(storage, message([sender, number]))

        async def take(claim: Claim) -> None:
            while len(taken) < 40:
                found = await storage.next_message(DESK)
                if found is None:
                    await asyncio.sleep(0)
                    continue
                try:
                    await self._take(storage, claim, found)
                except AlreadySettled:
                    continue
                taken.append((found.position, found.body))

        async with asyncio.timeout(60):
            await asyncio.gather(*map(send, range(4)), *map(take, claims))
        assert sorted(position for position, _ in taken) == list(range(1, 41))
        for sender in range(4):
            of_one = [body[1] for _, body in sorted(taken) if body[0] == sender]
            assert of_one == list(range(10))
        assert await storage.count_messages(DESK) == 0

    async def _send(self, storage: Storage, sent: InboxMessage, *, bound: int | None = None) -> None:
        await storage.commit(commit(messages=[sent], inbox_bound=bound))

    async def _claimed(self, storage: Storage) -> Claim:
        record = job()
        await storage.commit(commit(create=[(record, _CREATED)]))
        claim = await storage.claim(record.job_id, owner="w", at=NOW)
        assert claim is not None
        return claim

    async def _receiving(self, storage: Storage, address: Address = DESK) -> tuple[Claim, Receiver]:
        claim = await self._claimed(storage)
        receiver = Receiver(claim.job.job_id, "1", address)
        awaited = NewEvent("message.awaited", "1", {"name": address.identity})
        await storage.commit(self._fenced(claim, events=[awaited], receivers=[receiver]))
        return claim, receiver

    async def _suspend(self, storage: Storage, claim: Claim, receiver: Receiver, *sets: WaitSet) -> None:
        await storage.commit(
            self._fenced(
                claim,
                events=[NewEvent("job.suspended", None)],
                job=JobChange(status=JobStatus.WAITING, release=True),
                waits=sets or (WaitSet(operation_ids=(receiver.operation_id,)),),
                require_no_signals=True,
                require_empty=[receiver.address],
            )
        )

    async def _take(self, storage: Storage, claim: Claim, found: InboxMessage, *receivers: Receiver) -> None:
        await storage.commit(self._taking(claim, found, *receivers))

    def _taking(self, claim: Claim, found: InboxMessage, *receivers: Receiver) -> Commit:
        return self._fenced(
            claim,
            events=[NewEvent("message.received", "1", {"name": found.identity}, found.content)],
            message_changes=[MessageChange(found.message_id, found.address, None, claim.job.job_id)],
            drop_receivers=receivers,
        )

    def _fenced(self, claim: Claim, **parts: Any) -> Commit:
        return commit(job_id=claim.job.job_id, fence=claim.job.fence, **parts)
