"""What others can see depends on nothing that a crash would take back: calls from inside a job wait for its journal."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

import agent_runtime
from agent_runtime import (
    ActionManager,
    ActionSpec,
    AgentHistory,
    AgentManager,
    ApiKeyManager,
    AuditManager,
    ExecutionContext,
    ExecutionHandle,
    ExecutionRequest,
    InboxManager,
    InMemoryEventBus,
    InMemorySignalChannel,
    JobFilter,
    JobManager,
    Ledger,
    MailManager,
    OperatorContext,
    RedisSignalChannel,
    RuntimeEvent,
    RuntimeKernel,
    ScheduleManager,
)
from agent_runtime.execution.journal import held_entries, writer
from agent_runtime.kernel.stores import StorageView
from agent_runtime.ports.current_job import CURRENT_JOB
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury, commit_of
from support.hooked_storage import HookedStorage
from support.kernels import BOUND, DOOMED, kernel, status_becomes, types, until
from support.operators import identity
from support.slow_storage import SlowStorage

pytestmark = pytest.mark.timeout(BOUND * 3)

SERVICES: tuple[type, ...] = (
    RuntimeKernel,
    JobManager,
    ActionManager,
    AuditManager,
    InboxManager,
    ApiKeyManager,
    ScheduleManager,
    AgentManager,
    MailManager,
    AgentHistory,
    Ledger,
    InMemoryEventBus,
    ExecutionHandle,
    InMemorySignalChannel,
    RedisSignalChannel,
)
_BEGINS_AND_ENDS = "it shows nothing of the job, and must work when the job's run is over"
NOT_WAITING: dict[tuple[type, str], str] = {
    (RuntimeKernel, "aclose"): _BEGINS_AND_ENDS,
    (InMemoryEventBus, "aclose"): _BEGINS_AND_ENDS,
    (ApiKeyManager, "aclose"): _BEGINS_AND_ENDS,
    **{
        (ApiKeyManager, name): "it is asked by a server, for every request, and shows nothing of a job"
        for name in ("authenticate", "authenticate_session", "open_session")
    },
    **{
        (channel, name): _BEGINS_AND_ENDS
        for channel in (InMemorySignalChannel, RedisSignalChannel)
        for name in ("start", "stop")
    },
}
NO_SERVICES = {
    "AgentRegistry": "knows what the application has declared, and only closes engines",
    "PromptSystem": "reads files of the application",
    "ChildHandle": "writes with a commit of the job itself, which carries what is held back",
    "Operator": "is the user's",
    "OpenTelemetryAdapter": "tells others of what is in the journal",
    "OperatorContext": "writes with commits of the job itself",
    "EventBus": "is a port; a bus of the user's own has to wait by itself",
    "PolicyEngine": "reads rules in memory",
    "Eraser": "is the user's",
    "Projection": "is the user's",
    "PostgresDispatcher": "is a port's, below the kernel",
    "PostgresStorage": "is a port's, below the services",
    "RedisActionStore": "is a port's, below `ActionManager`",
    "RedisChangeNotifier": "is a port's, below the kernel",
    "RedisJobCache": "keeps what is on disk",
    "Runtime": "only closes",
    "Subscription": "changes only memory",
}
"""Public classes with async methods that are no services of which a job asks something, and why."""


def is_async(method: object) -> bool:
    return inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)


def public_methods(service: type) -> list[str]:
    return [
        name for name, method in inspect.getmembers(service) if not name.startswith("_") and is_async(method)
    ]


METHODS = [
    pytest.param(service, name, id=f"{service.__name__}.{name}")
    for service in SERVICES
    for name in public_methods(service)
    if (service, name) not in NOT_WAITING
]


class Untouched:
    """Stands for a service and for every argument, and notes whether anything was asked of it."""

    def __init__(self) -> None:
        self.is_touched = False

    def __getattr__(self, name: str) -> Any:
        self.is_touched = True
        raise LookupError(name)


def called(method: Callable[..., Any], stand_in: Untouched) -> Awaitable[Any]:
    """Call a method with nothing real; the body fails as soon as it looks at anything."""
    _, *parameters = inspect.signature(method).parameters.values()
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    wanted = [each.name for each in parameters if each.default is each.empty and each.kind not in optional]
    answer = method(stand_in, **dict.fromkeys(wanted, stand_in))
    return anext(answer) if inspect.isasyncgen(answer) else answer


@pytest.mark.parametrize(("service", "name"), METHODS)
async def test_every_public_call_waits_until_what_the_job_holds_back_is_written(
    service: type, name: str
) -> None:
    storage, stand_in = SlowStorage(commit_of("value.recorded")), Untouched()
    calls: list[asyncio.Task[Any]] = []

    async def operator(context: OperatorContext, given: object) -> None:
        context.now()
        calls.append(asyncio.ensure_future(called(getattr(service, name), stand_in)))
        await asyncio.wait(calls)

    async with kernel(storage, operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        async with asyncio.timeout(BOUND):
            await storage.written.wait()
        for _ in range(100):  # whatever the call can do meanwhile, it does
            await asyncio.sleep(0)
        assert not calls[0].done()
        assert not stand_in.is_touched
        storage.release.set()
        await handle.result(timeout=BOUND)
    assert isinstance(calls[0].exception(), Exception)  # nothing that was given to it is real


def test_every_public_service_is_known_to_wait() -> None:
    found = {
        name: value
        for name in agent_runtime.__all__
        if inspect.isclass(value := getattr(agent_runtime, name)) and public_methods(value)
    }
    assert set(found.values()) >= set(SERVICES)
    assert {name for name, value in found.items() if value not in SERVICES} == set(NO_SERVICES)


HELD: dict[str, tuple[str, Callable[[OperatorContext], Awaitable[Any]]]] = {}
"""What a job can hold back: the entry that says so, and how the operator comes to know of it."""


def holds(entry: str) -> Callable[[Callable[[OperatorContext], Awaitable[Any]]], Any]:
    def note(value: Callable[[OperatorContext], Awaitable[Any]]) -> Any:
        HELD[value.__name__] = (entry, value)
        return value

    return note


@holds("value.recorded")
async def a_time(context: OperatorContext) -> str:
    return context.now().isoformat()


@holds("value.recorded")
async def chance(context: OperatorContext) -> str:
    return str(context.random().random())


@holds("value.recorded")
async def an_id(context: OperatorContext) -> str:
    return str(context.uuid())


@holds("value.recorded")
async def a_patch(context: OperatorContext) -> str:
    return str(context.patched("change"))


@holds("step.completed")
async def what_was_read(context: OperatorContext) -> str:
    return str(await context.step(identity, "read", effect="read"))


class Elsewhere:
    """Services that the job's own storage knows nothing of, and what they have been told."""

    def __init__(self) -> None:
        self.storage: Any = MemoryStorage()
        self.kernel = kernel(self.storage, worker=False)
        self.heard: list[RuntimeEvent] = []
        self.asked = ""

    async def open(self) -> None:
        await self.kernel.start()
        self.asked = (await self.kernel.actions.require_action(ActionSpec(type="input"))).action_id
        await self.kernel.bus.subscribe(self.hear, event_types=["custom.told"])

    async def hear(self, event: RuntimeEvent) -> None:
        self.heard.append(event)

    async def tell(self, how: str, value: str) -> None:
        k = self.kernel
        match how:
            case "execute":
                await k.execute(ExecutionRequest(operator="elsewhere", input=value))
            case "send":
                await k.send("somebody", {"value": value})
            case "resolve":
                await k.actions.resolve_by_id(self.asked, {"value": value})
            case "record":
                await k.ledger.record_tool_usage(ExecutionContext(), "told", entry_id=value)
            case "publish":
                await k.bus.publish(RuntimeEvent(type="custom.told", data={"value": value}))

    async def told(self) -> list[str]:
        """Return what has arrived, in whichever way."""
        k = self.kernel
        jobs = [job for job in await k.jobs.list(JobFilter()) if job.operator == "elsewhere"]
        inputs = [(await self.storage.events(job.job_id))[0].body() for job in jobs]
        answer = (await k.actions.get(self.asked)).resolution
        entries = [each.entry_id for each in await k.ledger.entries() if each.tool_name == "told"]
        mail = await k.inbox.list_waiting("somebody")
        return [
            *inputs,
            *(message.body["value"] for message in mail),
            *([] if answer is None else [answer["value"]]),
            *entries,
            *(event.data["value"] for event in self.heard),
        ]


WAYS = ("execute", "send", "resolve", "record", "publish")
"""In which a value can be passed on."""


@pytest.mark.parametrize("way", [f"{held} to {how}" for held in reversed(HELD) for how in WAYS])
async def test_a_crash_takes_nothing_back_that_others_have_been_told(way: str) -> None:
    """The process dies right before it writes a value that the operator passes on: nobody may have seen it."""
    held, _, how = way.partition(" to ")
    entry, value_of = HELD[held]

    async def operator(context: OperatorContext, given: object) -> str:
        value = await value_of(context)
        await elsewhere.tell(how, value)
        return value

    elsewhere = Elsewhere()
    await elsewhere.open()
    inner = MemoryStorage()
    dying = DyingStorage(inner, commit_of(entry), moment="before")
    doomed = kernel(dying, operators=[operator], options=DOOMED)
    job_id = (await doomed.execute(ExecutionRequest(operator="operator"))).job_id
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    assert await elsewhere.told() == []
    await bury(doomed, dying, inner)

    async with kernel(inner, operators=[operator]) as k:
        result = await k.handle(job_id).result(timeout=BOUND)

        async def told() -> list[str]:
            return await elsewhere.told()

        assert await until(told) == [result.content]
    await elsewhere.kernel.aclose()


async def test_the_jobs_own_kernel_accepts_nothing_that_a_crash_would_take_back() -> None:
    inner = MemoryStorage()
    dying = DyingStorage(inner, commit_of("value.recorded"), moment="before")

    async def operator(context: OperatorContext, given: object) -> str:
        request = ExecutionRequest(operator="identical", input=context.now().isoformat())
        return str((await (await doomed.execute(request)).result()).output)

    async def identical(context: OperatorContext, given: object) -> object:
        return given

    doomed = kernel(dying, operators=[operator, identical], options=DOOMED)
    handle = await doomed.execute(ExecutionRequest(operator="operator"))
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    assert [job.job_id for job in await inner.list_jobs(JobFilter())] == [handle.job_id]
    await bury(doomed, dying, inner)


async def test_a_run_that_loses_its_fence_while_a_call_waits_is_cancelled_there() -> None:
    """Another worker has the job when the value is to be written: what depends on it is not asked for."""
    inner, seen = MemoryStorage(), list[str]()

    async def steal() -> None:
        (job,) = await inner.list_jobs(JobFilter())
        await inner.free_job(job.job_id, fence=job.fence)
        await inner.claim(job.job_id, owner="a thief", at=inner.clock.now())

    async def operator(context: OperatorContext, given: object) -> None:
        value = context.now().isoformat()
        try:
            await elsewhere.tell("execute", value)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    elsewhere = Elsewhere()
    await elsewhere.open()
    hooked = HookedStorage(inner, commit_of("value.recorded"), steal)
    async with kernel(hooked, operators=[operator]) as k:
        await k.execute(ExecutionRequest(operator="operator"))

        async def given_up() -> bool:
            return bool(seen)

        await until(given_up)
    assert await elsewhere.told() == []
    await elsewhere.kernel.aclose()


async def test_a_task_that_outlives_its_job_is_not_heard() -> None:
    go_on, late = asyncio.Event(), list[asyncio.Task[None]]()
    elsewhere = Elsewhere()
    await elsewhere.open()

    async def operator(context: OperatorContext, given: object) -> None:
        async def forgotten() -> None:
            await go_on.wait()
            await elsewhere.tell("execute", "too late")

        late.append(asyncio.create_task(forgotten()))

    async with kernel(operators=[operator]) as k:
        await (await k.execute(ExecutionRequest(operator="operator"))).result(timeout=BOUND)
        go_on.set()
        await asyncio.wait(late, timeout=BOUND)
    assert late[0].cancelled()
    assert await elsewhere.told() == []
    await elsewhere.kernel.aclose()


@pytest.mark.parametrize("held", ["a_time", "what_was_read"])
async def test_a_signal_is_folded_after_what_the_job_holds_back(
    held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timer falls due inside `context.timeout` while a value is held: it comes after it in the journal."""
    monkeypatch.setattr(writer, "HOLD_SECONDS", BOUND * 3)
    entry, value_of = HELD[held]

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            async with context.timeout(1):
                value = await value_of(context)
                await asyncio.Event().wait()
        except TimeoutError:
            return str(value)
        return "never"

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await handle.result(timeout=BOUND)
        written = await types(handle)
    assert written.index(entry) < written.index("timeout.due") < written.index("timeout.expired")
    assert written.count(entry) == 1


async def test_what_may_be_repeated_is_seen_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for the next commit, with others of its kind, up to a bound."""
    monkeypatch.setattr(writer, "HOLD_SECONDS", BOUND * 3)
    monkeypatch.setattr(held_entries, "MAX_HELD", 3)
    written: list[int] = []

    async def operator(context: OperatorContext, given: object) -> None:
        for number in range(6):
            await context.step(identity, str(number), effect="read")
            events = await storage.events(str(context.job_id))
            written.append(sum(event.type == "step.completed" for event in events))

    storage = MemoryStorage()
    async with kernel(storage, operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await handle.result(timeout=BOUND)
        assert (await types(handle)).count("step.completed") == 6
    assert written == [0, 0, 0, 4, 4, 4]


async def test_an_outcome_that_nothing_follows_is_written_alone() -> None:
    async def operator(context: OperatorContext, given: object) -> None:
        await context.step(identity, "read", effect="read")
        await asyncio.Event().wait()

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))

        async def written() -> bool:
            return "step.completed" in await types(handle)

        await until(written)
        await handle.cancel()


VARIABLE: ContextVar[str | None] = ContextVar("variable", default=None)


async def test_the_runtimes_own_tasks_work_for_no_job() -> None:
    """A job sends another one on its way, and listens: neither is done in the job's context."""
    heard: list[object] = []

    async def hear(event: RuntimeEvent) -> None:
        heard.append((CURRENT_JOB.get(), VARIABLE.get()))

    async def child(context: OperatorContext, given: object) -> bool:
        job = CURRENT_JOB.get()
        return (
            job is not None
            and job.journal is k._worker._executor.runs[str(context.job_id)].journal
            and VARIABLE.get() is None
        )

    async def operator(context: OperatorContext, given: object) -> object:
        VARIABLE.set("the parent's")
        await k.bus.subscribe(hear, event_types=["custom.said"])
        await k.bus.publish(RuntimeEvent(type="custom.said"))
        return (await context.child("child")).output

    async with kernel(operators=[operator, child]) as k:
        result = await (await k.execute(ExecutionRequest(operator="operator"))).result(timeout=BOUND)
    assert result.output is True
    assert set(heard) == {(None, None)}  # more than once where the job has left the memory meanwhile


async def test_a_kernel_that_a_job_has_opened_is_closed_when_the_job_leaves_the_memory() -> None:
    opened: list[RuntimeKernel] = []

    async def operator(context: OperatorContext, given: object) -> None:
        async with kernel() as inside:
            opened.append(inside)
            await context.action(ActionSpec(type="input"))

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await status_becomes(handle, "waiting_action")

        async def closed() -> bool:
            return bool(opened) and opened[0]._stopped

        await until(closed)


async def test_a_thread_with_a_loop_of_its_own_waits_too() -> None:
    elsewhere, storage, seen = MemoryStorage(), MemoryStorage(), list[int]()

    def spend(job_id: str) -> None:
        async def record() -> None:
            await Ledger(StorageView(elsewhere)).record_tool_usage(ExecutionContext(), "told")
            seen.append(sum(event.type == "value.recorded" for event in await storage.events(job_id)))

        asyncio.run(record())

    async def operator(context: OperatorContext, given: object) -> None:
        context.now()
        await context.step(spend, str(context.job_id), effect="read")

    async with kernel(storage, operators=[operator]) as k:
        await (await k.execute(ExecutionRequest(operator="operator"))).result(timeout=BOUND)
    assert seen == [1]
    assert len(await Ledger(StorageView(elsewhere)).entries()) == 1
