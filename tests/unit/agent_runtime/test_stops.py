"""Services with a task of their own: each outlives what fails, and stops although what it waits for swallows cancellations, as drivers do.

Python's `asyncio.wait_for` did so before 3.12, and drivers that ask their server to stop still do. All of it is played in
virtual time: a stop that waits for ever runs into the far bound at once.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from agent_runtime import InMemoryEventBus, RuntimeEvent
from agent_runtime.cli.questions import Questions
from agent_runtime.errors import StorageClosed, StorageError
from agent_runtime.execution.abilities import Abilities
from agent_runtime.ports.commit import Commit
from agent_runtime.ports.journal import RemoteChange
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.notifications import Notifications
from agent_runtime.storage.postgres.change_notifier import PostgresChangeNotifier
from agent_runtime.storage.postgres.operations import CommitOperation
from agent_runtime.storage.postgres.writer import Writer
from agent_runtime.storage.redis.invalidations import Invalidations
from agent_runtime.storage.redis.server import Server
from agent_runtime.storage.redis.signals import RedisSignalChannel
from agent_runtime.storage.redis.subscriber import Subscriber
from agent_runtime.testing.examples import NOW
from agent_runtime.values.capacity import NO_CAPS
from agent_runtime.worker.completion_waiters import CompletionWaiters
from agent_runtime.worker.local_dispatcher import LocalDispatcher
from agent_runtime.worker.ready_queue import ReadyQueue
from agent_runtime.worker.timers import TimerService
from support.kernels import kernel
from support.soak.virtual import LoopClock, run_in_virtual_time

ENOUGH = 300.0
"""Virtual seconds within which every stop has returned, and every task has ended."""
BUT_FOR_LONG = 3 * 3600.0


class Stubborn:
    """Something to wait for that swallows the first cancellations that reach it."""

    def __init__(self, swallows: int) -> None:
        self._left = swallows
        self.inside = asyncio.Event()

    async def __call__(self, *args: Any, **options: Any) -> Any:
        self.inside.set()
        while True:
            try:
                return await asyncio.sleep(BUT_FOR_LONG)
            except asyncio.CancelledError:
                if not self._left:
                    raise
                self._left -= 1


keep: list[Any] = []
"""What would be forgotten with its last reference."""
Stop = Callable[[], Awaitable[object]]
Begin = Callable[[Stubborn], Awaitable[Stop]]


async def completion_waiters(stubborn: Stubborn) -> Stop:
    ends = CompletionWaiters(SimpleNamespace(tail=stubborn))  # type: ignore[arg-type]
    ends.start()
    keep.append(ends.end_of("job-1"))
    ends.on_remote_change("job-1")
    return ends.stop


async def ready_queue(stubborn: Stubborn) -> Stop:
    ready = ReadyQueue(
        SimpleNamespace(due_jobs=stubborn),  # type: ignore[arg-type]
        LocalDispatcher(max_concurrency=1),
        caps=NO_CAPS,
        across_scopes=False,
        queues=(),
        abilities=Abilities(operators=tuple, code_version=None, process="p"),
    )
    ready.start()
    ready.signalled("job-1")
    return ready.stop


async def timers(stubborn: Stubborn) -> Stop:
    service = TimerService(
        SimpleNamespace(due_timers=stubborn),  # type: ignore[arg-type]
        LoopClock(),
        sweep_interval=1.0,
        ledger=SimpleNamespace(),  # type: ignore[arg-type]
    )
    service.start()
    return service.stop


async def whole_kernel(name: str, stubborn: Stubborn) -> Stop:
    """Begin a kernel whose storage does not let go of one call, once it has begun."""
    storage = MemoryStorage()
    k = kernel(storage, clock=LoopClock())
    await k.start()
    setattr(storage, name, stubborn)
    return k.aclose


async def sweep(stubborn: Stubborn) -> Stop:
    return await whole_kernel("due_jobs", stubborn)


async def heartbeat(stubborn: Stubborn) -> Stop:
    return await whole_kernel("register_worker", stubborn)


async def dispatcher(stubborn: Stubborn) -> Stop:
    local = LocalDispatcher(max_concurrency=1)
    await local.start(stubborn)
    local.submit("job-1")
    return lambda: local.stop(drain=0.5)


async def subscription(stubborn: Stubborn) -> Stop:
    bus = InMemoryEventBus()
    subscribed = await bus.subscribe(stubborn)
    await bus.publish(RuntimeEvent(type="custom.x"))
    return subscribed.unsubscribe


async def detached_subscription(stubborn: Stubborn) -> Stop:
    bus = InMemoryEventBus()
    subscribed = await bus.subscribe(stubborn)
    await bus.publish(RuntimeEvent(type="custom.x"))

    async def detach() -> None:
        subscribed.detach()

    return detach


async def notifications(stubborn: Stubborn) -> Stop:
    async def send(text: str) -> None:
        if not stubborn.inside.is_set():
            await stubborn()

    gathered = Notifications(send, failures=(OSError,), max_bytes=1000)
    gathered.publish(RemoteChange("signalled", "job-1"))
    return gathered.stop


async def postgres_notifier(stubborn: Stubborn) -> Stop:
    notifier = PostgresChangeNotifier(SimpleNamespace(acquire=stubborn))  # type: ignore[arg-type]
    notifier.start(lambda _: None)
    return notifier.stop


async def postgres_writer(stubborn: Stubborn) -> Stop:
    """The writer finishes what it was handed; its closing is bounded by whoever closes it."""

    async def nothing() -> None:
        pass

    connections = SimpleNamespace(writer=stubborn, abandon_writer=nothing, statement_timeout=BUT_FOR_LONG)
    writer = Writer(connections, patience=1.0)  # type: ignore[arg-type]
    writer.start()
    handed = CommitOperation(
        asyncio.get_running_loop().create_future(), None, commit=Commit(commit_id="c", at=NOW)
    )
    keep.append(asyncio.ensure_future(_ignored(writer.run(handed))))

    async def stop() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await writer.stop()

    return stop


def redis_client(**calls: Any) -> Any:
    return SimpleNamespace(connection_pool=SimpleNamespace(max_connections=None), **calls)


async def redis_invalidations(stubborn: Stubborn) -> Stop:
    class Pipeline:
        async def __aenter__(self) -> Any:
            return self

        async def __aexit__(self, *details: object) -> None:
            pass

        def set(self, *given: Any) -> None:
            pass

        async def execute(self) -> None:
            if not stubborn.inside.is_set():
                await stubborn()

    server = Server(redis_client(pipeline=lambda **_: Pipeline()))
    invalidations = Invalidations(server, prefix="p", epoch_key="e")
    invalidations.start()
    return invalidations.stop


async def redis_subscriber(stubborn: Stubborn) -> Stop:
    async def closed() -> None:
        pass

    pubsub = SimpleNamespace(psubscribe=stubborn, aclose=closed)
    subscriber = Subscriber(
        redis_client(pubsub=lambda: pubsub), "p", heard=lambda _: None, subscribed=lambda: None
    )
    subscriber.start()
    return subscriber.stop


async def redis_signals(stubborn: Stubborn) -> Stop:
    """A subscription has come about while somebody waits: what was missed is looked for."""
    said = iter([{"type": "psubscribe"}])

    async def get_message(timeout: float) -> Any:
        for message in said:
            return message
        await asyncio.sleep(timeout)
        return None

    async def nothing(*given: Any) -> None:
        pass

    pubsub = SimpleNamespace(psubscribe=nothing, get_message=get_message, ping=nothing, aclose=nothing)
    channel = RedisSignalChannel(redis_client(pubsub=lambda: pubsub, mget=stubborn))
    keep.append(asyncio.ensure_future(_ignored(channel.wait("a", 0.1))))
    return channel.stop


async def questions(stubborn: Stubborn) -> Stop:
    asking = Questions(SimpleNamespace(get=stubborn), lambda _: None)  # type: ignore[arg-type]
    asking.ask("action-1")
    return asking.close


SERVICES: dict[str, Begin] = {
    begin.__name__: begin
    for begin in (
        completion_waiters,
        ready_queue,
        timers,
        sweep,
        heartbeat,
        dispatcher,
        subscription,
        detached_subscription,
        notifications,
        postgres_notifier,
        postgres_writer,
        redis_invalidations,
        redis_subscriber,
        redis_signals,
        questions,
    )
}


class Failing(Stubborn):
    """Something that fails the first time; the second time it is waited for as long as one likes."""

    def __init__(self, error: Exception) -> None:
        super().__init__(0)
        self._errors = [error]

    async def __call__(self, *args: Any, **options: Any) -> Any:
        for error in self._errors:
            self._errors.clear()
            raise error
        return await super().__call__()


async def nothing_is_left(before: set[asyncio.Task[Any]]) -> None:
    """Return when no task is left of those that have begun since."""
    async with asyncio.timeout(ENOUGH):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("swallows", [0, 1, 2])
@pytest.mark.parametrize("service", SERVICES)
def test_a_stop_returns_although_its_task_swallows_cancellations(service: str, swallows: int) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        stubborn = Stubborn(swallows)
        stop = await SERVICES[service](stubborn)
        async with asyncio.timeout(ENOUGH):
            await stubborn.inside.wait()
            await stop()
        await nothing_is_left(before)

    run_in_virtual_time(main())


@pytest.mark.parametrize("swallows", [0, 1, 2])
@pytest.mark.parametrize("service", SERVICES)
def test_a_stop_that_is_cancelled_itself_leaves_no_task_behind(service: str, swallows: int) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        stubborn = Stubborn(swallows)
        stop = await SERVICES[service](stubborn)
        async with asyncio.timeout(ENOUGH):
            await stubborn.inside.wait()
            stopping = asyncio.ensure_future(_awaited(stop()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            stopping.cancel()
            await asyncio.wait((stopping,))
        await nothing_is_left(before)

    run_in_virtual_time(main())


async def _awaited(work: Awaitable[object]) -> None:
    await work


async def _ignored(work: Awaitable[object]) -> None:
    with contextlib.suppress(StorageError, TimeoutError):
        await work


GO_ON = [timers, sweep, heartbeat, notifications, postgres_notifier, redis_invalidations, redis_subscriber]


@pytest.mark.parametrize("error", [RuntimeError("unheard of"), StorageError("away"), StorageClosed()])
@pytest.mark.parametrize("service", GO_ON, ids=lambda begin: begin.__name__)
def test_a_loop_that_fails_is_logged_and_goes_on(
    service: Begin, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        failing = Failing(error)
        stop = await service(failing)
        async with asyncio.timeout(ENOUGH):
            await failing.inside.wait()
            await stop()

    run_in_virtual_time(main())
    assert str(error) in caplog.text


def test_a_writer_that_cannot_put_its_connection_back_writes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def broken() -> None:
            raise RuntimeError("not a connection of this pool")

        async def writer_connection() -> None:
            asked.set()
            raise StorageError("away")

        async def nothing() -> None:
            pass

        connections = SimpleNamespace(
            writer=writer_connection, return_writer=broken, abandon_writer=nothing, statement_timeout=1.0
        )
        writer = Writer(connections, patience=1.0)  # type: ignore[arg-type]
        writer.start()
        writer.rest(resting=True)
        async with asyncio.timeout(ENOUGH):
            while "not a connection" not in caplog.text:
                await asyncio.sleep(0.01)
            future = asyncio.get_running_loop().create_future()
            with pytest.raises(StorageError, match="away"):
                await writer.run(CommitOperation(future, None, commit=Commit(commit_id="c", at=NOW)))
            assert asked.is_set()
            await writer.stop()

    run_in_virtual_time(main())
