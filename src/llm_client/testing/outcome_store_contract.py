"""What every `OutcomeStore` must do. Subclass `OutcomeStoreContract` and supply `make`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from llm_client.engine.outcomes import Outcome, OutcomeStore
from llm_client.messages import CompletionResult, StreamEvent
from llm_client.testing.cache_contract import FakeTime

OUTCOME = Outcome(
    result=CompletionResult(content="done"),
    events=(StreamEvent(type="token", text="do"), StreamEvent(type="token", text="ne")),
)


class OutcomeStoreContract:
    """The suite."""

    def make(self, *, max_results: int, time: FakeTime) -> AbstractAsyncContextManager[OutcomeStore]:
        """Yield an empty store that reads its time from `time`."""
        raise NotImplementedError

    async def test_the_first_to_claim_a_key_owns_it(self) -> None:
        async with self.make(max_results=10, time=FakeTime()) as store:
            first = await store.claim("key", "digest", owner="a", lease=60)
            second = await store.claim("key", "digest", owner="b", lease=60)

        assert (first.state, second.state) == ("mine", "pending")

    async def test_another_request_under_the_same_key_is_a_conflict(self) -> None:
        async with self.make(max_results=10, time=FakeTime()) as store:
            await store.claim("key", "digest", owner="a", lease=60)
            pending = await store.claim("key", "other", owner="b", lease=60)
            await store.complete("key", "digest", owner="a", outcome=OUTCOME, ttl=60)
            finished = await store.claim("key", "other", owner="b", lease=60)

        assert (pending.state, finished.state) == ("conflict", "conflict")

    async def test_a_finished_call_gives_its_result_and_events(self) -> None:
        async with self.make(max_results=10, time=FakeTime()) as store:
            await store.claim("key", "digest", owner="a", lease=60)
            await store.complete("key", "digest", owner="a", outcome=OUTCOME, ttl=60)
            claim = await store.claim("key", "digest", owner="b", lease=60)

        assert claim.state == "done"
        assert claim.outcome == OUTCOME

    async def test_a_released_key_is_free(self) -> None:
        async with self.make(max_results=10, time=FakeTime()) as store:
            await store.claim("key", "digest", owner="a", lease=60)
            await store.release("key", owner="a")
            claim = await store.claim("key", "other", owner="b", lease=60)

        assert claim.state == "mine"

    async def test_only_the_owner_can_release_or_complete(self) -> None:
        async with self.make(max_results=10, time=FakeTime()) as store:
            await store.claim("key", "digest", owner="a", lease=60)
            await store.release("key", owner="b")
            await store.complete("key", "digest", owner="b", outcome=OUTCOME, ttl=60)
            claim = await store.claim("key", "digest", owner="c", lease=60)

        assert claim.state == "pending"

    async def test_a_dead_owner_loses_its_claim_when_the_lease_ends(self) -> None:
        time = FakeTime()
        async with self.make(max_results=10, time=time) as store:
            await store.claim("key", "digest", owner="a", lease=60)
            time.now += 61
            claim = await store.claim("key", "digest", owner="b", lease=60)
            await store.complete("key", "digest", owner="a", outcome=OUTCOME, ttl=60)
            late = await store.claim("key", "digest", owner="c", lease=60)

        assert (claim.state, late.state) == ("mine", "pending")

    async def test_claiming_again_renews_the_lease(self) -> None:
        time = FakeTime()
        async with self.make(max_results=10, time=time) as store:
            await store.claim("key", "digest", owner="a", lease=60)
            time.now += 50
            renewed = await store.claim("key", "digest", owner="a", lease=60)
            time.now += 50
            claim = await store.claim("key", "digest", owner="b", lease=60)

        assert (renewed.state, claim.state) == ("mine", "pending")

    async def test_a_result_is_forgotten_when_its_time_is_over(self) -> None:
        time = FakeTime()
        async with self.make(max_results=10, time=time) as store:
            await store.claim("key", "digest", owner="a", lease=60)
            await store.complete("key", "digest", owner="a", outcome=OUTCOME, ttl=60)
            time.now += 61
            claim = await store.claim("key", "digest", owner="b", lease=60)

        assert claim.state == "mine"
