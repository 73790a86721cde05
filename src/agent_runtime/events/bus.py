"""The bus: events to whoever listens in this process, without ever slowing down who sends them.

A kernel's bus is fed by its journal, in the journal's order. Each subscriber has a bounded queue of its own; one that
falls behind loses the oldest events that are not terminal, and is told so with a `gap` event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any, Final, Protocol

from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.storage import Storage
from agent_runtime.values.event import RuntimeEvent
from llm_client.background import CLEAN_UP_SECONDS, ended, in_background, leave
from llm_client.logs import logger_of

logger = logger_of(__name__)

Handler = Callable[[RuntimeEvent], Awaitable[None]]

GAP: Final = "gap"
"""Type of the event that tells a subscriber how many it has missed (`data["missed"]`)."""
DEFAULT_QUEUE_SIZE: Final = 1000


class EventBus(Protocol):
    """Delivers events to subscribers."""

    async def subscribe(
        self,
        handler: Handler,
        *,
        event_types: Collection[str] | None = None,
        job_id: str | None = None,
        scope_id: str | None = None,
        queue_size: int = DEFAULT_QUEUE_SIZE,
    ) -> Subscription:
        """Call `handler` for every later event that matches, one at a time, in order."""
        ...

    def stream(
        self,
        *,
        event_types: Collection[str] | None = None,
        job_id: str | None = None,
        scope_id: str | None = None,
        queue_size: int = DEFAULT_QUEUE_SIZE,
    ) -> Subscription:
        """Return a subscription to iterate over with `async for`, registered at once."""
        ...

    async def publish(self, event: RuntimeEvent) -> None:
        """Hand an event to the subscribers. Returns before they have handled it."""
        ...

    def publish_live(self, event: RuntimeEvent) -> None:
        """As `publish`, from code that cannot wait."""
        ...

    def has_listeners(self, job_id: str | None) -> bool:
        """Whether anybody would receive an event of this job."""
        ...

    def notify(self, job_id: str | None = None) -> None:
        """Tell the subscribers to a job, or to any single job, that they may have missed something."""
        ...


class Subscription:
    """One subscriber's queue. Iterate over it, or let it call a handler; `unsubscribe` ends it.

    Args:
        bus: The bus it belongs to.
        event_types: Types to receive; `None` receives all.
        job_id: Only this job's events.
        scope_id: Only this scope's events.
        queue_size: Events that may wait; beyond it the oldest is dropped.
    """

    def __init__(
        self,
        bus: InMemoryEventBus,
        *,
        event_types: Collection[str] | None,
        job_id: str | None,
        scope_id: str | None,
        queue_size: int,
    ) -> None:
        self._bus = bus
        self._types = frozenset(str(type_) for type_ in event_types) if event_types is not None else None
        self.job_id = job_id
        self._scope_id = scope_id
        self._queue: deque[RuntimeEvent] = deque()
        self._size = queue_size
        self._missed = 0
        self._arrived = asyncio.Event()
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        """Events this subscriber has missed in all."""

    def offer(self, event: RuntimeEvent) -> None:
        """Queue an event if it matches; never waits."""
        if self._closed or not self._wants(event):
            return
        if len(self._queue) >= self._size:
            self._drop_one()
        self._queue.append(event)
        self._arrived.set()

    def _wants(self, event: RuntimeEvent) -> bool:
        return (
            (self._types is None or event.type in self._types)
            and self.job_id in (None, event.job_id)
            and self._scope_id in (None, event.scope_id)
        )

    def _drop_one(self) -> None:
        """Drop the oldest event that does not end a job; only a queue full of ends grows."""
        for place, event in enumerate(self._queue):
            if not event.is_terminal:
                del self._queue[place]
                self._missed += 1
                self.dropped += 1
                return

    def __aiter__(self) -> AsyncIterator[RuntimeEvent]:
        return self

    async def __anext__(self) -> RuntimeEvent:
        while not self._queue and not self._missed:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        if self._missed:
            missed, self._missed = self._missed, 0
            return RuntimeEvent(type=GAP, job_id=self.job_id, data={"missed": missed})
        return self._queue.popleft()

    def notify(self) -> None:
        """Wake the reader with a `gap` event: something may have happened that was not sent here."""
        self._missed += 1
        self._arrived.set()

    def start(self, handler: Handler) -> None:
        """Call `handler` for every event from now on."""
        self._task = in_background(self._deliver(handler), name="deliver events")

    async def _deliver(self, handler: Handler) -> None:
        async for event in self:
            try:
                await handler(event)
            except (Exception, SystemExit):
                logger.exception("an event handler failed on %s; it stays subscribed", event.type)

    async def unsubscribe(self) -> None:
        """Receive nothing more; what is queued is still delivered to an iterating reader, not to a handler."""
        self._closed = True
        self._bus.forget(self)
        self._arrived.set()
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            await ended(task, again=CLEAN_UP_SECONDS)

    def detach(self) -> None:
        """As `unsubscribe`, from code that cannot wait."""
        self._closed = True
        self._bus.forget(self)
        self._arrived.set()
        if self._task is not None:
            leave(self._task, again=CLEAN_UP_SECONDS)


@after_the_journal(but=("aclose",))
class InMemoryEventBus:
    """A bus for one process."""

    def __init__(self) -> None:
        self._by_job: dict[str, set[Subscription]] = {}
        self._all: set[Subscription] = set()
        self.sources: tuple[Storage, ...] = ()
        """Whose journals' entries come over it: those of the kernels that were given it."""

    def belongs_to(self, storage: Storage) -> None:
        """Say whose journals' entries come over it."""
        if all(storage is not one for one in self.sources):
            self.sources = (*self.sources, storage)

    async def subscribe(
        self,
        handler: Handler,
        *,
        event_types: Collection[str] | None = None,
        job_id: str | None = None,
        scope_id: str | None = None,
        queue_size: int = DEFAULT_QUEUE_SIZE,
    ) -> Subscription:
        """Call `handler` for every later event that matches."""
        subscription = self.stream(
            event_types=event_types, job_id=job_id, scope_id=scope_id, queue_size=queue_size
        )
        subscription.start(handler)
        return subscription

    def stream(
        self,
        *,
        event_types: Collection[str] | None = None,
        job_id: str | None = None,
        scope_id: str | None = None,
        queue_size: int = DEFAULT_QUEUE_SIZE,
    ) -> Subscription:
        """Return a subscription to iterate over."""
        subscription = Subscription(
            self, event_types=event_types, job_id=job_id, scope_id=scope_id, queue_size=queue_size
        )
        group = self._all if job_id is None else self._by_job.setdefault(job_id, set())
        group.add(subscription)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """Remove a subscription."""
        self._all.discard(subscription)
        group = self._by_job.get(subscription.job_id or "")
        if group is not None:
            group.discard(subscription)
            if not group:
                del self._by_job[subscription.job_id or ""]

    async def publish(self, event: RuntimeEvent) -> None:
        """Hand an event to the subscribers."""
        self.publish_live(event)

    def publish_live(self, event: RuntimeEvent) -> None:
        """Hand an event to the subscribers."""
        for subscription in tuple(self._by_job.get(event.job_id or "", ())):
            subscription.offer(event)
        for subscription in tuple(self._all):
            subscription.offer(event)

    def has_listeners(self, job_id: str | None) -> bool:
        """Whether anybody would receive an event of this job."""
        return bool(self._all) or job_id in self._by_job

    def notify(self, job_id: str | None = None) -> None:
        """Tell the subscribers to a job, or to any single job, that they may have missed something."""
        groups = tuple(self._by_job.values()) if job_id is None else (self._by_job.get(job_id, ()),)
        for group in groups:
            for subscription in tuple(group):
                subscription.notify()

    async def aclose(self) -> None:
        """End every subscription."""
        everyone: list[Any] = [*self._all, *(s for group in self._by_job.values() for s in group)]
        for subscription in everyone:
            await subscription.unsubscribe()
