"""The five documents that describe this product, held against it: every snippet runs with our imports, or stands in a list.

`documents/` has their headings and their code, with our imports in the place of theirs; where the originals lie beside the
project, as `shared/spec`, it is compared with them. `SCENES` sets the stage for each snippet that runs and looks at what it
did; `NOT_BUILT` names what the others wait for and may only shrink. `docs/spec.md` tells where each heading lives.
"""

import ast
import asyncio
import importlib
import inspect
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import agent_runtime
import llm_client
from agent_runtime import (
    ActionManager,
    ActionStatus,
    ExecutionContext,
    ExecutionRequest,
    JobStatus,
    Operator,
    OperatorContext,
    OperatorResult,
    PolicyDecision,
    RuntimeKernel,
)
from llm_client import (
    Agent,
    ExecutionEngine,
    Message,
    RequestContext,
    RequestSpec,
    ScriptedProvider,
    ToolCall,
    Usage,
    tool,
)
from support.log_scenes import LOG_SCENES
from support.loopback import LoopbackServer, Received, Reply, json_reply, sse_reply
from support.runner_scenes import IN_ORDINARY_CODE, REFUSED, RUNNER_SCENES
from support.session_scenes import SESSION_SCENES, WITHOUT_BODIES
from support.wire import data_events, openai_chat

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted((Path(__file__).parent / "documents").glob("*.txt"))
ORIGINALS = next((folder for parent in ROOT.parents if (folder := parent / "shared" / "spec").is_dir()), None)

OUR_IMPORTS = {
    "twinklr.core.agents.logging": "agent_runtime.observability",
    "twinklr.core.agents": "agent_runtime.runner",
    "TWINKLR_": "AGENT_RUNTIME_",
    "from app.ai.agent import Agent": "from agent_runtime.observability import LoggedAgent as Agent",
    "app.ai.logging": "agent_runtime.observability",
    "from app.ai.llm.llm import LLM": "from llm_client import LLM",
}

FENCE = re.compile(r"^ *```")
HEADING = re.compile(r"^#{1,4} +(.+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A fenced block of a document: `001 Jobs`, and `001 Built-in Patterns 2` for the second under its heading."""

    key: str
    language: str
    source: str


@dataclass(slots=True)
class Document:
    number: str
    headings: list[str] = field(default_factory=list)
    snippets: list[Snippet] = field(default_factory=list)


def read(path: Path) -> Document:
    """Take a document, or an original, apart."""
    found = Document(path.name[:3])
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if match := HEADING.match(line):
            # What is not ASCII was lost in the fourth document on its way here.
            found.headings.append(match[1].encode("ascii", "ignore").decode().replace("**", "").strip())
        elif FENCE.match(line):
            found.snippets.append(_snippet(line, lines, found))
    return found


def _snippet(opening: str, lines: Iterable[str], document: Document) -> Snippet:
    indent = len(opening) - len(opening.lstrip())
    body = []
    for line in lines:
        if FENCE.match(line):
            break
        body.append(line[indent:].rstrip() if line.strip() else "")
    source = "\n".join(body) + "\n"
    for theirs, ours in OUR_IMPORTS.items():
        source = source.replace(theirs, ours)
    under = f"{document.number} {document.headings[-1]}"
    before = sum(re.sub(r" \d+$", "", snippet.key) == under for snippet in document.snippets)
    return Snippet(
        key=f"{under} {before + 1}" if before else under, language=opening.strip()[3:], source=source
    )


SNIPPETS = {snippet.key: snippet for path in DOCUMENTS for snippet in read(path).snippets if snippet.language}

# How a snippet that runs is set on stage

Stage = dict[str, Any]
"""The names that a snippet finds; what it defines is added."""
Scene = Callable[[], AsyncGenerator[Stage, None]]

SCENES: dict[str, Scene] = {}
ON_POSTGRES = "001 With Persistent Storage"
ON_REDIS = "001 With Redis Signaling"
DIFFERENCES = {
    # "Declared differences" in docs/spec.md. What follows a key takes the place of what is written in the document.
    ON_POSTGRES: [("postgresql://...", "{postgres}")],
    ON_REDIS: [("redis://localhost", "{redis}")],
    # The record that was returned before the wait has no answer in it: values do not change.
    # What follows `...` in a call is no Python; and a model that is scripted has no name to be found by.
    "004 1. Basic Setup": [("model=model, ...", "model=model, provider=provider")],
    # Ordinary code and `async for` in one: in a running loop the first is awaited.
    "004 3. LLM Call Logging": [("response = llm.inference(", "response = await llm.inference_async(")],
    "001 With Human-in-the-Loop": [
        ("    await action_manager.wait", "    action = await action_manager.wait")
    ],
    **WITHOUT_BODIES,
}


def scene(key: str) -> Callable[[Scene], Scene]:
    """Register how a snippet is prepared, up to the `yield`, and what is true after it has run."""

    def register(function: Scene) -> Scene:
        SCENES[key] = function
        return function

    return register


def everything_public() -> Stage:
    """The names that the documents use without importing them again."""
    names: Stage = {"asyncio": asyncio, "Decimal": Decimal, "Path": Path}
    for package in (llm_client, agent_runtime):
        names |= {name: getattr(package, name) for name in package.__all__}
    return names


async def run(source: str, names: Stage) -> None:
    code = compile(source, "document", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        await eval(code, names)
    else:
        exec(code, names)


def engine_of(*replies: object) -> ExecutionEngine:
    return ExecutionEngine(ScriptedProvider(list(replies)))


@asynccontextmanager
async def openai() -> Any:
    """A server that speaks OpenAI's Chat Completions, as `OPENAI_BASE_URL` wants, and always gives the same answer."""

    def answer(request: Received) -> Reply:
        if request.json.get("stream"):
            return sse_reply(*data_events(openai_chat.TEXT_STREAM, done=True))
        return json_reply(openai_chat.TEXT)

    async with LoopbackServer(answer) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPENAI_API_KEY", "unused")
            patch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
            yield server


ANSWER = openai_chat.TEXT["choices"][0]["message"]["content"]


@scene("001 1. IdempotencyTracker Integration")
async def idempotency() -> AsyncGenerator[Stage, None]:
    provider, spec = ScriptedProvider(["once"]), RequestSpec(messages=[Message.user("Hi")])
    stage = {"provider": provider, "spec": spec}
    yield stage
    assert stage["result"].content == "once"
    assert await stage["engine"].complete(spec, idempotency_key="unique-request-123") == stage["result"]


@scene("001 2. RequestContext Extensions")
async def request_context() -> AsyncGenerator[Stage, None]:
    stage: Stage = {}
    yield stage
    ctx, child, job = (stage[name] for name in ("ctx", "child_ctx", "job_ctx"))
    assert (child.trace_id, child.parent_span_id, child.session_id) == (
        "trace-456", ctx.span_id, "session-def"
    )  # fmt: skip
    assert (ctx.job_id, job.job_id, job.tenant_id) == ("job-ghi", "job-xyz", "tenant-789")


@tool(effect="read")
def tool1() -> str:
    """Say one."""
    return "one"


@tool(effect="read")
def tool2() -> str:
    """Say two."""
    return "two"


@scene("001 3. Agent Middleware Integration")
async def agent_middleware() -> AsyncGenerator[Stage, None]:
    engine = engine_of([ToolCall("1", "tool1", {}), ToolCall("2", "tool2", {})], "Hello to you.")
    stage = {
        "engine": engine,
        "tool1": tool1,
        "tool2": tool2,
        "request_context": RequestContext(tenant_id="t"),
    }
    yield stage
    assert stage["result"].content == "Hello to you."
    assert [message.text for message in stage["result"].messages if message.role == "tool"] == ["one", "two"]


@scene("001 ExecutionContext")
async def execution_context() -> AsyncGenerator[Stage, None]:
    stage: Stage = {}
    yield stage
    ctx = stage["ctx"]
    assert (ctx.scope_id, ctx.principal_id, ctx.session_id) == ("tenant-123", "user-456", "session-789")
    assert (ctx.budgets.max_cost, ctx.policy_ref.name) == (Decimal(10), "production")


@scene("001 Jobs")
async def jobs() -> AsyncGenerator[Stage, None]:
    stage: Stage = {}
    yield stage
    job = await stage["manager"].get(stage["job"].job_id)
    assert (job.status, job.result_ref, job.idempotency_key) == (
        JobStatus.SUCCEEDED, "result-123", "unique-key"
    )  # fmt: skip


@scene("001 Actions")
async def actions() -> AsyncGenerator[Stage, None]:
    stage: Stage = {}
    yield stage
    answered = await stage["manager"].wait_for_resolution(stage["action"].action_id)
    assert (answered.status, answered.resolution) == (
        ActionStatus.RESOLVED,
        {"confirmed": True, "approved": True},
    )


@scene("001 Policy Engine")
async def policy() -> AsyncGenerator[Stage, None]:
    stage: Stage = {"context": ExecutionContext(scope_id="internal")}
    yield stage
    assert stage["result"].allowed
    outside = ExecutionContext(scope_id="tenant-1")
    assert not (await stage["engine"].check_tool("file_read", outside)).allowed
    assert (await stage["engine"].check_model("gpt-4o", outside)).decision is PolicyDecision.REQUIRE_APPROVAL


@scene("001 Ledger")
async def ledger() -> AsyncGenerator[Stage, None]:
    usage = Usage(input_tokens=700, output_tokens=300, cost=Decimal("0.25"))
    stage: Stage = {"ctx": ExecutionContext(scope_id="tenant-123", principal_id="u"), "usage": usage}
    yield stage
    total = await stage["ledger"].total(scope_id="tenant-123")
    assert (total.total_tokens, total.cost) == (1000, Decimal("0.25"))


@scene("001 Event Bus")
async def event_bus() -> AsyncGenerator[Stage, None]:
    said: list[str] = []
    printed = asyncio.Event()

    def hear(text: str) -> None:
        said.append(text)
        printed.set()

    stage: Stage = {"print": hear}
    yield stage
    await asyncio.wait_for(printed.wait(), 10)
    assert said == ["Event: job.started"]
    await stage["subscription"].unsubscribe()
    await stage["bus"].aclose()


@scene("001 RuntimeKernel")
async def runtime_kernel() -> AsyncGenerator[Stage, None]:
    engine = engine_of("Done.")
    seen: list[str] = []
    stage: Stage = {
        "execution_engine": engine,
        "agent": Agent(engine=engine),
        "print": lambda type_, data: seen.append(type_),
    }
    yield stage
    assert stage["result"].content == "Done."
    assert seen[0] == "job.created"
    assert seen[-1] == "job.succeeded"
    await stage["kernel"].aclose()


async def over_the_wire() -> AsyncGenerator[Stage, None]:
    said: list[str] = []
    async with openai() as server:
        stage: Stage = {"print": said.append}
        yield stage
        assert stage["result"].content == ANSWER
        assert said in ([], [ANSWER])
        assert [received.json["model"] for received in server.requests] == ["gpt-4"]
        await stage["kernel"].aclose()
        await stage["engine"].aclose()


SCENES["001 Basic Setup"] = over_the_wire
SCENES["001 Simple Agent Execution"] = over_the_wire


@scene(ON_POSTGRES)
async def persistent() -> AsyncGenerator[Stage, None]:
    engine = engine_of("Kept.")
    stage: Stage = {"engine": engine, "agent": Agent(engine=engine)}
    yield stage
    try:
        handle = await stage["kernel"].execute(ExecutionRequest(prompt="Keep this."))
        assert (await handle.result()).content == "Kept."
        job = await stage["pool"].fetchrow("SELECT status FROM runtime_jobs WHERE job_id = $1", handle.job_id)
        assert job["status"] == "succeeded"
    finally:
        await stage["kernel"].aclose()
        await stage["pool"].close()


@scene(ON_REDIS)
async def redis_signals() -> AsyncGenerator[Stage, None]:
    stage: Stage = {"action_store": agent_runtime.InMemoryActionStore()}
    yield stage
    manager = stage["action_manager"]
    try:
        action = await manager.require_action(agent_runtime.ActionSpec(job_id="job-123", type="confirm"))
        waiting = asyncio.ensure_future(manager.wait_for_resolution(action.action_id))
        await manager.resolve(action.resume_token, {"confirmed": True})
        assert (await asyncio.wait_for(waiting, 10)).resolution["confirmed"] is True
    finally:
        await stage["signal_channel"].stop()
        await stage["client"].aclose()


async def plain_value() -> AsyncGenerator[Stage, None]:
    """The snippet is one call; that its keywords are taken, and kept, is all there is to see."""
    stage: Stage = {}
    yield stage


SCENES["001 BudgetSpec"] = plain_value
SCENES["001 OrchestrationConfig"] = plain_value
SCENES["001 OTelConfig"] = plain_value


@scene("001 OpenTelemetry Integration")
async def traces() -> AsyncGenerator[Stage, None]:
    exporter = InMemorySpanExporter()
    async with RuntimeKernel(engine=engine_of("Done.")) as kernel:
        stage: Stage = {"event_bus": kernel.bus}
        yield stage
        stage["trace"].get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
        await (await kernel.execute(ExecutionRequest(prompt="Go."))).result()
        await stage["adapter"].stop()
    spans = exporter.get_finished_spans()
    assert sorted(span.name for span in spans) == ["agent.job", "agent.run", "chat scripted"]
    assert {span.resource.attributes["service.name"] for span in spans} == {"my-agent"}


@scene("001 Operator Pattern")
async def operator() -> AsyncGenerator[Stage, None]:
    stage: Stage = {}
    yield stage
    summarizer: Operator = stage["SummarizerOperator"](Agent(engine=engine_of("Short.", "Short again.")))
    bare = await summarizer.execute({"text": "long"}, OperatorContext())
    assert bare == OperatorResult(content="Short.", success=True)
    async with RuntimeKernel(operators=[summarizer]) as kernel:
        handle = await kernel.execute(ExecutionRequest(operator="summarizer", input={"text": "long"}))
        assert (await handle.result()).content == "Short again."


@scene("001 With Budget Enforcement")
async def budgets() -> AsyncGenerator[Stage, None]:
    # A model with a price: a bound on the cost of what has none would bound nothing, and is refused.
    engine = ExecutionEngine(ScriptedProvider(["Analysed."], name="openai", model="gpt-5.2"))
    async with RuntimeKernel(engine=engine, agent=Agent(engine=engine)) as kernel:
        stage: Stage = {"kernel": kernel}
        yield stage
        assert (await stage["handle"].result()).content == "Analysed."
        total = await kernel.ledger.total(scope_id="tenant-123")
        assert 0 < total.cost < 1
        record = await kernel.jobs.get(stage["handle"].job_id)
        assert (record.budgets.max_tokens, record.budgets.max_cost) == (10_000, 1)


@scene("001 With Human-in-the-Loop")
async def human_in_the_loop() -> AsyncGenerator[Stage, None]:
    manager, deployed = ActionManager(agent_runtime.InMemoryActionStore()), []

    async def do_deploy() -> None:
        deployed.append("production")

    stage: Stage = {
        "action_manager": manager,
        "context": ExecutionContext(job_id="job-123"),
        "do_deploy": do_deploy,
    }
    yield stage
    deploying = asyncio.ensure_future(stage["deploy_changes"]())
    while not (asked := await manager.list_pending()):
        await asyncio.sleep(0)
    assert asked[0].payload == {"message": "Deploy to production?"}
    await manager.resolve_by_id(asked[0].action_id, {"approved": True}, resolved_by="ann")
    await asyncio.wait_for(deploying, 10)
    assert deployed == ["production"]


SCENES |= RUNNER_SCENES | LOG_SCENES | SESSION_SCENES

# What does not run yet: the names that each snippet waits for

NOT_BUILT: dict[str, tuple[str, ...]] = {
    "001 Built-in Patterns": ("agent_runtime.ChainOperator",),
    "001 Built-in Patterns 2": ("agent_runtime.ParallelOperator",),
    "001 Built-in Patterns 3": ("agent_runtime.MapReduceOperator",),
    "001 Built-in Patterns 4": ("agent_runtime.PlannerExecutorOperator",),
    "001 Built-in Patterns 5": ("agent_runtime.DebateOperator",),
    "001 Graph Execution": ("agent_runtime.ExecutionGraph", "agent_runtime.GraphExecutor"),
    "001 Recording": ("agent_runtime.ReplayRecorder",),
    "001 Replaying": ("agent_runtime.ReplayPlayer",),
    "001 Kafka": ("agent_runtime.KafkaEventAdapter",),
    "001 Redis Streams": ("agent_runtime.RedisStreamsAdapter",),
    "001 Multi-Agent Research": ("agent_runtime.MapReduceOperator", "agent_runtime.PlannerExecutorOperator"),
    "002 Example Usage After Refactoring": ("agent_runtime.client.AgentSocket",),
}
AT_MOST = 12  # goes down with every snippet that is built, and never up

NOT_CALLS = {
    "000 Testing": "the test commands of another project; ours are in CONTRIBUTING.md",
    "000 Testing 2": "the same",
    "002 Phase 1: Align Agent Creation (2-3 days)": "a list of steps in a fence of code",
}


def is_there(name: str) -> bool:
    """Whether a dotted name can be imported."""
    package, _, rest = name.partition(".")
    found: Any = importlib.import_module(package)
    path = package
    for part in rest.split("."):
        path = f"{path}.{part}"
        try:
            found = getattr(found, part) if hasattr(found, part) else importlib.import_module(path)
        except ImportError:
            return False
    return True


async def run_in_a_thread(source: str, names: Stage) -> None:
    """Run ordinary code, as a program without an event loop would."""
    await asyncio.to_thread(exec, compile(source, "document", "exec"), names)


async def run_as_meant(key: str, source: str, names: Stage) -> None:
    """Run a snippet as its reader would."""
    if SNIPPETS[key].language != "python":
        names["text"] = source
    elif key in IN_ORDINARY_CODE:
        await run_in_a_thread(source, names)
    elif key in REFUSED:
        before, mark, behind = source.partition(REFUSED[key])
        with pytest.raises(llm_client.ConfigurationError, match="await AsyncAgentRunner"):
            await run(f"{before}{mark}", names | {"asyncio": asyncio})
        await run(behind, names)
    else:
        await run(source, names)


async def play(key: str, addresses: Mapping[str, str] | None = None) -> None:
    """Run a snippet between the two halves of its scene."""
    setting = SCENES[key]()
    stage = await anext(setting)
    source = SNIPPETS[key].source
    for written, ours in DIFFERENCES.get(key, ()):
        assert written in source
        source = source.replace(written, (addresses or {}).get(ours, ours))
    stage.update({name: value for name, value in everything_public().items() if name not in stage})
    await run_as_meant(key, source, stage)
    assert await anext(setting, "the end") == "the end"


@pytest.mark.parametrize("key", sorted(SCENES.keys() - {ON_POSTGRES, ON_REDIS}))
async def test_a_snippet_runs(key: str) -> None:
    await play(key)


async def test_the_snippet_that_needs_postgres_runs(database: str) -> None:
    await play(ON_POSTGRES, {"{postgres}": database})


async def test_the_snippet_that_needs_redis_runs(redis_url: str) -> None:
    await play(ON_REDIS, {"{redis}": redis_url})


@pytest.mark.parametrize("key", sorted(NOT_BUILT))
async def test_what_is_listed_as_not_built_is_not(key: str) -> None:
    present = [name for name in NOT_BUILT[key] if is_there(name)]
    assert len(present) < len(NOT_BUILT[key]), f"{present} are there: write a scene, and take {key!r} off"
    if SNIPPETS[key].language == "python":
        with pytest.raises((ImportError, NameError, SyntaxError)):
            await run(SNIPPETS[key].source, everything_public())


def test_the_list_of_what_is_not_built_only_shrinks() -> None:
    assert len(NOT_BUILT) == AT_MOST


def test_every_snippet_has_its_place() -> None:
    places = [*SCENES, *NOT_BUILT, *NOT_CALLS]
    assert sorted(places) == sorted(SNIPPETS)
    assert set(DIFFERENCES) <= set(SCENES)


@pytest.mark.skipif(ORIGINALS is None, reason="the documents are not beside the project")
def test_headings_and_code_are_the_documents_own() -> None:
    assert ORIGINALS is not None
    originals = [read(path) for path in sorted(ORIGINALS.glob("*.txt"))]
    assert [read(path) for path in DOCUMENTS] == originals
    assert sum(len(document.snippets) for document in originals) > 60


# docs/spec.md

PAGE = ROOT / "docs" / "spec.md"
ROW = re.compile(r"^\| (.+?) \| (.+) \| (.+) \|$", re.MULTILINE)
NAME = re.compile(r"`((?:agent_runtime|llm_client)(?:\.\w+)+)`")


@dataclass(frozen=True, slots=True)
class Row:
    number: str
    heading: str
    where: str
    test: str

    @property
    def keys(self) -> list[str]:
        """The snippets under the heading."""
        under = f"{self.number} {self.heading}"
        return [key for key in SNIPPETS if re.sub(r"(?<=\D) \d$", "", key) == under]


def rows() -> list[Row]:
    sections = re.split(r"^## (\d{3}): .*$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [
        Row(number, *cells)
        for number, text in zip(sections[::2], sections[1::2], strict=True)
        for cells in ROW.findall(text)
        if cells[0] not in ("heading", "---")
    ]


def test_the_page_has_every_heading_in_its_order() -> None:
    for document in map(read, DOCUMENTS):
        assert [row.heading for row in rows() if row.number == document.number] == document.headings


def test_the_page_says_of_every_snippet_whether_it_runs() -> None:
    for row in rows():
        told = re.findall(r"`(\d{3} [^`]+(?:`[^`]+`)?)`", row.test)
        assert told == [key for key in row.keys if key in SCENES], row
        if any(key in NOT_BUILT for key in row.keys):
            assert "**not built**" in row.test, row


def test_the_names_of_the_page_are_there_exactly_where_it_says_so() -> None:
    for row in rows():
        names = NAME.findall(row.where)
        if "**not built**" in row.test:
            assert not names or not all(map(is_there, names)), f"built by now: {row}"
        else:
            assert [name for name in names if not is_there(name)] == [], row


def test_the_tests_of_the_page_exist() -> None:
    for path, _, name in re.findall(r"`(tests/[\w/]+\.py)(::)?(\w+)?`", PAGE.read_text(encoding="utf-8")):
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = [node.name for node in ast.walk(tree) if hasattr(node, "name")]
        assert not name or name in functions, f"{path}::{name}"
        assert any(function.startswith(("test_", "Test")) for function in functions), path
