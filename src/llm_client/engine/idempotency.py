"""Idempotency keys: one call for all who ask the same thing under the same key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from llm_client.background import CLEAN_UP_SECONDS, BackgroundLoop, Backoff, begin, ended
from llm_client.engine.hooks import Hooks
from llm_client.engine.outcomes import MemoryOutcomeStore, Outcome, OutcomeStore
from llm_client.errors import IdempotencyConflict
from llm_client.exits import contained
from llm_client.logs import logger_of
from llm_client.messages import CompletionResult, StreamEvent
from llm_client.middleware import Emit, ModelCall
from llm_client.spec import new_id

logger = logger_of(__name__)

FIRST_POLL, SLOWEST_POLL = 0.02, 0.5
"""Seconds between looks at a call that runs in another process."""

Proceed = Callable[[ModelCall], Awaitable[CompletionResult]]


class _Flight:
    """A running call and those who wait for it."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.events: list[StreamEvent] = []
        self.listeners: list[Emit] = []
        self.waiting = 0
        self.task: asyncio.Task[CompletionResult] | None = None

    @property
    def running(self) -> asyncio.Task[CompletionResult]:
        if self.task is None:
            raise RuntimeError("the flight has not started")
        return self.task

    def emit(self, event: StreamEvent) -> None:
        self.events.append(event)
        for listener in self.listeners:
            listener(event)

    def listen(self, listener: Emit) -> None:
        for event in self.events:
            listener(event)
        self.listeners.append(listener)


class IdempotencyTracker:
    """Makes calls with the same key, tenant and request one call.

    A duplicate of a running call joins it and gets the same result and the same events; the call goes on while one of
    them is left, and is cancelled with the last. A duplicate of a finished call gets the stored result and events. A
    failed or cancelled call leaves nothing behind: the next one runs.

    Args:
        request_timeout: Seconds after which a call that another process claimed, and no longer renews, counts as dead.
        result_ttl: Seconds a result is kept.
        max_results: How many results the store in memory keeps.
        store: Where outcomes are kept; shared by several processes if it is.
    """

    def __init__(
        self,
        request_timeout: float = 60.0,
        result_ttl: float = 3600.0,
        max_results: int = 10_000,
        *,
        store: OutcomeStore | None = None,
    ) -> None:
        self._lease = request_timeout
        self._ttl = result_ttl
        self._store = MemoryOutcomeStore(max_results) if store is None else store
        self._flights: dict[str, _Flight] = {}

    @property
    def pending_count(self) -> int:
        """How many calls are running in this process."""
        return len(self._flights)

    async def run(
        self, key: str, digest: str, call: ModelCall, proceed: Proceed, hooks: Hooks
    ) -> CompletionResult:
        """Run a call, join it, or return what it gave.

        Args:
            key: The caller's key, with its tenant.
            digest: Hash of the request.
            call: The call.
            proceed: Runs it.
            hooks: Who is told.

        Raises:
            IdempotencyConflict: The key belongs to another request.
        """
        flight = self._flights.get(key)
        joined = flight is not None
        if flight is None:
            flight = self._flights[key] = _Flight(digest)
            flying = contained(self._fly(key, flight, call, proceed, hooks))
            flight.task = begin(flying)
        elif flight.digest != digest:
            await hooks.fire("idempotency.conflict", call.context, key=call.idempotency_key)
            raise IdempotencyConflict
        flight.waiting += 1
        try:
            if joined:
                await hooks.fire("idempotency.hit", call.context, key=call.idempotency_key, joined=True)
            return await self._result(flight, call.emit)
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                await self._end(key, flight)

    async def _result(self, flight: _Flight, emit: Emit | None) -> CompletionResult:
        """Wait for a flight without taking it down when the wait is cancelled."""
        if emit is not None:
            flight.listen(emit)
        try:
            await asyncio.wait((flight.running,))
        finally:
            if emit is not None:
                flight.listeners.remove(emit)
        return flight.running.result()

    async def _end(self, key: str, flight: _Flight) -> None:
        """Cancel a flight nobody waits for any more, and wait until it has released everything."""
        if not flight.running.done():
            self._land(key, flight)
        await ended(flight.running, again=CLEAN_UP_SECONDS)

    def _land(self, key: str, flight: _Flight) -> None:
        """Take a flight off the board, unless a later one has its key already."""
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _fly(
        self, key: str, flight: _Flight, call: ModelCall, proceed: Proceed, hooks: Hooks
    ) -> CompletionResult:
        owner = new_id("call")
        try:
            stored = await self._claim(key, flight.digest, owner)
            if stored is not None:
                await hooks.fire("idempotency.hit", call.context, key=call.idempotency_key, joined=False)
                for event in stored.events:
                    flight.emit(event)
                return stored.result
            return await self._own(key, flight, call, proceed, hooks, owner)
        except IdempotencyConflict:
            await hooks.fire("idempotency.conflict", call.context, key=call.idempotency_key)
            raise
        finally:
            self._land(key, flight)

    async def _claim(self, key: str, digest: str, owner: str) -> Outcome | None:
        """Claim the key, or wait for whoever has it and return what it got."""
        polls = Backoff(FIRST_POLL, SLOWEST_POLL)
        while True:
            claim = await self._store.claim(key, digest, owner=owner, lease=self._lease)
            if claim.state == "mine":
                return None
            if claim.state == "conflict":
                raise IdempotencyConflict
            if claim.outcome is not None:
                return claim.outcome
            await polls.pause()

    async def _own(
        self, key: str, flight: _Flight, call: ModelCall, proceed: Proceed, hooks: Hooks, owner: str
    ) -> CompletionResult:
        await hooks.fire("idempotency.start", call.context, key=call.idempotency_key)
        renewal = self._renewal(key, flight.digest, owner)
        try:
            result = await proceed(call if call.emit is None else call.evolve(emit=flight.emit))
            await self._keep(key, flight, owner, result)
        except BaseException as error:
            await asyncio.shield(self._store.release(key, owner=owner))
            await hooks.fire("idempotency.fail", call.context, key=call.idempotency_key, error=error)
            raise
        finally:
            await renewal.stop()
        await hooks.fire("idempotency.complete", call.context, key=call.idempotency_key, result=result)
        return result

    async def _keep(self, key: str, flight: _Flight, owner: str, result: CompletionResult) -> None:
        """Store an outcome; a result that was paid for is returned even if it cannot be stored."""
        outcome = Outcome(result=result, events=tuple(flight.events))
        try:
            await self._store.complete(key, flight.digest, owner=owner, outcome=outcome, ttl=self._ttl)
        except Exception:
            logger.exception("the outcome of a call could not be stored; a duplicate would run again")

    def _renewal(self, key: str, digest: str, owner: str) -> BackgroundLoop:
        """Begin to keep the claim while the call runs, however long it takes."""
        interval = self._lease / 3

        async def renew() -> float:
            await self._store.claim(key, digest, owner=owner, lease=self._lease)
            return interval

        renewal = BackgroundLoop(
            renew, name="renewing the claim of a call", logger=logger, backoff=Backoff(interval, interval)
        )
        renewal.start(after=interval)
        return renewal
