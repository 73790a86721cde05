"""What a run writes in one commit: a turn with tools that only read, and a job that begins as it is stored."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agent_runtime import (
    Budget,
    BudgetExceededError,
    ExecutionRequest,
    IdempotencyConflict,
    OperatorContext,
)
from agent_runtime.errors import StorageError
from agent_runtime.execution.journal import writer
from agent_runtime.ports.commit import Commit
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury
from llm_client import (
    Agent,
    ExecutionEngine,
    Message,
    ModelMiddleware,
    RequestSpec,
    ScriptedProvider,
    ToolMiddleware,
    tool,
)
from llm_client.messages import ToolCall
from support.hooked_storage import HookedStorage
from support.kernels import BOUND, DOOMED, QUICK, kernel, status_becomes, types, until
from support.slow_storage import SlowStorage

pytestmark = pytest.mark.timeout(BOUND * 3)

TURN = ["model.completed", "tool.completed", "model.started"]


class Watched(MemoryStorage):
    """Remembers which entries each commit has written: of a new job, those of the new journal."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[list[str]] = []

    async def commit(self, commit: Commit) -> int:
        first_seq = await super().commit(commit)
        created = [str(event.type) for _, events in commit.create for event in events]
        self.commits.append([*created, *(str(event.type) for event in commit.events)])
        return first_seq

    @property
    def written(self) -> list[str]:
        return [type_ for entries in self.commits for type_ in entries]


def asking(*names: str) -> list[ToolCall]:
    return [ToolCall(f"call-{number}", name, {}) for number, name in enumerate(names)]


@pytest.fixture
def no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is held wait for the next commit, however slow the machine is."""
    monkeypatch.setattr(writer, "HOLD_SECONDS", BOUND * 3)


@pytest.mark.usefixtures("no_timer")
async def test_a_turn_with_tools_that_only_read_is_one_commit() -> None:
    storage = Watched()

    @tool(effect="read")
    async def look_up() -> str:
        """Look something up."""
        return "found"

    @tool(effect="pure")
    async def reckon() -> int:
        """Reckon."""
        return 3

    provider = ScriptedProvider([asking("look_up"), asking("look_up", "reckon"), "done"])
    async with kernel(storage, agent=Agent(provider=provider, tools=[look_up, reckon])) as k:
        result = await (await k.execute(ExecutionRequest(prompt="go"))).result(timeout=BOUND)
    assert result.output == "done"
    assert storage.commits == [
        ["job.created", "job.started"],
        ["model.started"],
        TURN,
        ["model.completed", "tool.completed", "tool.completed", "model.started"],
        ["model.completed"],
        ["job.succeeded"],
    ]


class Passing(ToolMiddleware):
    """Somebody's own step around tool calls."""


class Watching(ModelMiddleware):
    """Somebody's own step around model calls."""


async def hook(*_: object, **__: object) -> None:
    """Hear of everything."""


def plain(provider: ScriptedProvider, tools: list[Any]) -> Agent:
    return Agent(engine=ExecutionEngine(provider), tools=tools)


def with_tool_steps(provider: ScriptedProvider, tools: list[Any]) -> Agent:
    return Agent(engine=ExecutionEngine(provider), tools=tools, middleware=[Passing()])


def with_model_steps(provider: ScriptedProvider, tools: list[Any]) -> Agent:
    return Agent(engine=ExecutionEngine(provider, middleware=[Watching()]), tools=tools)


def with_hooks(provider: ScriptedProvider, tools: list[Any]) -> Agent:
    return Agent(engine=ExecutionEngine(provider, hooks=[hook]), tools=tools)


@pytest.mark.parametrize(
    ("make", "calls"),
    [
        (plain, ["send"]),
        (plain, ["look_up", "send"]),
        (plain, ["confirmed"]),
        (plain, ["look_up", "nobody_has_it"]),
        (with_tool_steps, ["look_up"]),
        (with_model_steps, ["look_up"]),
        (with_hooks, ["look_up"]),
    ],
    ids=["unsafe", "one-unsafe", "approved", "unknown", "tool-middleware", "model-middleware", "hooks"],
)
@pytest.mark.usefixtures("no_timer")
async def test_an_answer_that_others_may_see_is_written_before_they_do(
    make: Callable[..., Agent], calls: list[str]
) -> None:
    storage = Watched()
    seen: list[bool] = []

    async def called() -> str:
        seen.append("model.completed" in storage.written)
        return "ok"

    @tool(effect="read")
    async def look_up() -> str:
        """Look something up."""
        return await called()

    @tool(effect="unsafe")
    async def send() -> str:
        """Send something."""
        return await called()

    @tool(effect="read", requires_approval=True)
    async def confirmed() -> str:
        """Look up what takes a yes."""
        return await called()

    agent = make(ScriptedProvider([asking(*calls), "done"]), [look_up, send, confirmed])
    async with kernel(storage, agent=agent) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        if "confirmed" in calls:
            (question,) = await until(handle.get_pending_actions)
            await handle.resolve_action(question.action_id, {"approved": True})
        assert (await handle.result(timeout=BOUND)).output == "done"
    assert seen
    assert all(seen)


@pytest.mark.usefixtures("no_timer")
async def test_an_answer_that_is_streamed_or_counted_or_the_operators_own_is_written_first() -> None:
    storage = Watched()
    seen: list[int] = []

    @tool(effect="read")
    async def look_up() -> str:
        """Look something up."""
        seen.append(storage.written.count("model.completed"))
        return "found"

    def agent() -> Agent:
        return Agent(provider=ScriptedProvider([asking("look_up"), "done"]), tools=[look_up])

    async def streams(context: OperatorContext, given: object) -> None:
        async with agent().stream("go") as events:
            async for _ in events:
                pass

    async def asks(context: OperatorContext, given: object) -> None:
        engine = ExecutionEngine(ScriptedProvider([asking("look_up")]))
        await engine.complete(RequestSpec(messages=(Message.user("go"),), tools=(look_up,)))
        seen.append(storage.written.count("model.completed"))

    async with kernel(storage, operators=[streams, asks], agent=agent()) as k:
        k.ledger.set_budget(Budget(scope_id="counted", max_tokens_total=10**6))
        for request in (
            ExecutionRequest(operator="streams"),
            ExecutionRequest(operator="asks"),
            ExecutionRequest(prompt="go", scope_id="counted"),
        ):
            before = storage.written.count("model.completed")
            await (await k.execute(request)).result(timeout=BOUND)
            assert seen[-1] == before + 1
    assert len(seen) == 3


async def test_an_answer_is_written_beside_a_tool_that_takes_its_time() -> None:
    storage = Watched()

    @tool(effect="read")
    async def slow() -> str:
        """Wait until others can see what the model has asked."""

        async def written() -> bool:
            return "model.completed" in storage.written

        await until(written)
        return "found"

    agent = Agent(provider=ScriptedProvider([asking("slow"), "done"]), tools=[slow])
    async with kernel(storage, agent=agent) as k:
        assert (await (await k.execute(ExecutionRequest(prompt="go"))).result(timeout=BOUND)).output == "done"


@pytest.mark.usefixtures("no_timer")
async def test_an_answer_that_was_lost_with_its_turn_is_asked_for_and_billed_again() -> None:
    """What the class of the turn's tools allows: they only read, so all of it is done once more; the bill forgets nothing."""
    inner = MemoryStorage()
    ran: list[str] = []

    @tool(effect="read")
    async def look_up() -> str:
        """Look something up."""
        ran.append("look_up")
        return "found"

    def agent(*replies: Any) -> Agent:
        return Agent(provider=ScriptedProvider(replies), tools=[look_up])

    def ends_turn(commit: Commit) -> bool:
        return [event.type for event in commit.events] == TURN

    dying = DyingStorage(inner, ends_turn, moment="before")
    first = kernel(dying, agent=agent(asking("look_up"), "done"), options=DOOMED)
    handle = await first.execute(ExecutionRequest(prompt="go"))
    await dying.died.wait()
    await bury(first, dying, inner)
    assert "model.completed" not in [event.type for event in await inner.events(handle.job_id)]

    async with kernel(inner, agent=agent(asking("look_up"), "done")) as k:
        again = k.handle(handle.job_id)
        assert (await again.result(timeout=BOUND)).output == "done"
        entries = await k.ledger.entries(job_id=handle.job_id)
    assert ran == ["look_up", "look_up"]
    assert [entry.uncertain for entry in entries] == [True, False, False]


@pytest.mark.usefixtures("no_timer")
async def test_a_refused_request_keeps_the_turn_before_it() -> None:
    """The budget has no room for the next request: what was held goes out with the end of the run."""
    storage = Watched()

    @tool(effect="read")
    async def look_up() -> str:
        """Look something up."""
        k.ledger.set_budget(Budget(max_turns_total=0))
        return "found"

    agent = Agent(provider=ScriptedProvider([asking("look_up"), "done"]), tools=[look_up])
    async with kernel(storage, agent=agent) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        with pytest.raises(BudgetExceededError):
            await handle.result(timeout=BOUND)
        written = await types(handle)
        entries = await k.ledger.entries(job_id=handle.job_id)
    assert written.count("model.completed") == 1
    assert written.count("tool.completed") == 1
    assert written.index("model.completed") < written.index("tool.completed")
    assert len(entries) == 1


async def test_what_goes_out_with_another_commit_is_not_written_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its time is up while an earlier one is on its way, and then the job's last commit carries it."""
    monkeypatch.setattr(writer, "HOLD_SECONDS", 0.0)
    storage = SlowStorage(lambda commit: any(event.type == "step.completed" for event in commit.events))
    commits: list[list[str]] = []
    commit = storage.commit

    async def noted(made: Commit) -> int:
        commits.append([str(event.type) for event in made.events])
        return await commit(made)

    monkeypatch.setattr(storage, "commit", noted)

    async def reads(context: OperatorContext, given: object) -> None:
        await context.step(answer, effect="read")
        await storage.written.wait()
        await context.step(answer, effect="read")
        for _ in range(5):
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, storage.release.set)

    async with kernel(storage, operators=[reads]) as k:
        handle = await k.execute(ExecutionRequest(operator="reads"))
        await handle.result(timeout=BOUND)
    assert commits[1:] == [["step.completed"], ["step.completed", "job.succeeded"]]
    assert "has died" not in caplog.text


async def answer() -> int:
    """Read something."""
    return 1


# Jobs that begin as they are stored.


async def answers(context: OperatorContext, given: object) -> object:
    return given


async def waits(context: OperatorContext, given: object) -> None:
    await asyncio.Event().wait()


async def test_a_job_begins_in_the_commit_that_stores_it() -> None:
    storage = Watched()
    async with kernel(storage, operators=[answers]) as k:
        handle = await k.execute(ExecutionRequest(operator="answers", input=1))
        assert (await handle.result(timeout=BOUND)).output == 1
        job = await handle.job()
    assert storage.commits == [["job.created", "job.started"], ["job.succeeded"]]
    assert (job.fence, job.owner) == (1, None)
    assert job.started_at is not None


@pytest.mark.parametrize("reason", ["busy", "submits", "capped"])
async def test_a_job_that_has_to_wait_is_stored_as_one_that_waits(reason: str) -> None:
    storage = Watched()
    options = replace(QUICK, max_concurrency=1)
    if reason == "capped":
        options = replace(options, max_concurrency_per_scope=1)
    async with kernel(storage, operators=[answers, waits], options=options, worker=reason != "submits") as k:
        if reason == "busy":
            first = await k.execute(ExecutionRequest(operator="waits"))
        handle = await k.execute(ExecutionRequest(operator="answers", input=1))
        assert storage.commits[-1] == ["job.created"]
        if reason == "busy":
            await first.cancel()
        if reason != "submits":
            assert (await handle.result(timeout=BOUND)).output == 1


class Patient(Watched):
    """Lets others go on before it writes, as a thread or a server does."""

    async def commit(self, commit: Commit) -> int:
        await asyncio.sleep(0)
        return await super().commit(commit)


async def test_submissions_at_once_begin_no_more_jobs_than_there_is_room_for() -> None:
    storage = Patient()
    options = replace(QUICK, max_concurrency=3)
    async with kernel(storage, operators=[waits], options=options) as k:
        handles = await asyncio.gather(*(k.execute(ExecutionRequest(operator="waits")) for _ in range(8)))
        begun = storage.commits.count(["job.created", "job.started"])
        assert begun == 3
        assert storage.commits.count(["job.created"]) == 5
        await asyncio.gather(*(handle.cancel() for handle in handles))
        for handle in handles:
            await status_becomes(handle, "cancelled")


async def test_a_job_whose_submitter_was_cancelled_runs() -> None:
    """The commit was on its way: it is not taken back, and whose the job is stands in it."""
    storage = SlowStorage(lambda commit: bool(commit.create))
    async with kernel(storage, operators=[answers]) as k:
        await k.start()
        submission = asyncio.create_task(k.execute(ExecutionRequest(operator="answers", input=1)))
        await storage.written.wait()
        submission.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submission
        storage.release.set()

        async def ended() -> bool:
            return [job.status for job in await k.jobs.list()] == ["succeeded"]

        await until(ended)


async def test_what_is_not_stored_leaves_its_place_to_others() -> None:
    storage = MemoryStorage()

    async def fail() -> None:
        raise StorageError("full")

    failing = HookedStorage(storage, lambda commit: bool(commit.create), fail)
    options = replace(QUICK, max_concurrency=1)
    async with kernel(failing, operators=[answers], options=options) as k:
        with pytest.raises(StorageError):
            await k.execute(ExecutionRequest(operator="answers", input=0))
        request = ExecutionRequest(operator="answers", input=1, idempotency_key="key")
        first = await k.execute(request)
        assert (await first.result(timeout=BOUND)).output == 1
        assert (await k.execute(request)).job_id == first.job_id
        with pytest.raises(IdempotencyConflict):
            await k.execute(replace(request, input=2))
        last = await k.execute(ExecutionRequest(operator="answers", input=3))
        assert (await last.result(timeout=BOUND)).output == 3
        assert (await types(last))[:2] == ["job.created", "job.started"]


async def test_a_job_that_began_as_its_process_died_goes_on_elsewhere() -> None:
    inner = MemoryStorage()
    dying = DyingStorage(inner, lambda commit: bool(commit.create), moment="after")
    first = kernel(dying, operators=[answers], options=DOOMED)
    await first.start()
    submission = asyncio.create_task(first.execute(ExecutionRequest(operator="answers", input=1)))
    await dying.died.wait()
    submission.cancel()
    await bury(first, dying, inner)
    async with kernel(inner, operators=[answers]) as k:
        (job,) = await k.jobs.list()
        handle = k.handle(job.job_id)
        assert (await handle.result(timeout=BOUND)).output == 1
        assert (await types(handle))[:3] == ["job.created", "job.started", "job.resumed"]


async def test_a_signal_that_comes_at_once_reaches_a_job_that_just_began() -> None:
    async with kernel(operators=[waits]) as k:
        handle = await k.execute(ExecutionRequest(operator="waits"))
        await handle.cancel()
        await status_becomes(handle, "cancelled")
