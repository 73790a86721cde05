"""Tools that run at the vendor, inside a kernel: nobody here sees their calls, so the policy and budgets see that they are declared."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from agent_runtime import (
    BudgetExceededError,
    BudgetSpec,
    ExecutionRequest,
    ModelPolicy,
    OperatorContext,
    PolicyDenied,
    PolicyEngine,
    RedactionPolicy,
    ToolPolicy,
)
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury, commit_of
from agent_runtime.values.model_request import model_requests
from llm_client import (
    Agent,
    Citation,
    CodeExecution,
    CompletionResult,
    ExecutionEngine,
    FunctionProvider,
    MediaPart,
    Message,
    ModelMiddleware,
    RequestContext,
    RequestSpec,
    ScriptedProvider,
    StreamEvent,
    TextPart,
    TokenLogprob,
    ToolCall,
    Usage,
    VendorTool,
    WebSearch,
    tool,
)
from support.kernels import BOUND, DOOMED, journal, kernel, pending, types

pytestmark = pytest.mark.timeout(BOUND * 3)

SEARCHING: dict[str, Any] = {"server_tools": [WebSearch(allowed_domains=["a.example"])]}
IN_EXTRA: dict[str, Any] = {"extra": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}}
IN_ITS_WORDS: dict[str, Any] = {
    "server_tools": [VendorTool(provider="m", body={"type": "web_search_20260318", "name": "harmless"})]
}
WAYS = pytest.mark.parametrize(
    "declared", [SEARCHING, IN_EXTRA, IN_ITS_WORDS], ids=["declared", "extra", "in its words"]
)
NO_SEARCH = ToolPolicy(tool_patterns=["web_*"], decision="deny", reason="no web here")


class Model:
    """A model that remembers what it was asked."""

    def __init__(self, *, middleware: tuple[ModelMiddleware, ...] = ()) -> None:
        self.specs: list[RequestSpec] = []
        self.engine = ExecutionEngine(FunctionProvider(self._answer, model="m"), middleware=middleware)

    async def _answer(self, spec: RequestSpec) -> str:
        self.specs.append(spec)
        return "answer"


def asking(declared: dict[str, Any], text: str = "?") -> Any:
    async def ask(context: OperatorContext, given: Any) -> str:
        return (await context.model(RequestSpec(messages=[Message.user(text)], **declared))).content

    return {"ask": ask}


async def search(context: OperatorContext, given: Any) -> str:
    """Ask a model that may search."""
    return (await context.model(RequestSpec(messages=[Message.user("?")], **SEARCHING))).content


@WAYS
async def test_a_tool_that_is_denied_by_name_is_never_offered_to_the_vendor(declared: dict[str, Any]) -> None:
    model = Model()
    operators, engine = asking(declared), PolicyEngine([NO_SEARCH])
    async with kernel(operators=operators, policy_engine=engine, engine=model.engine) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        with pytest.raises(PolicyDenied, match=r"server tool 'web_search': .* no web here"):
            await handle.result()
        assert "model.started" not in await types(handle)
        assert await k.ledger.entries() == []
    assert model.specs == []


@WAYS
async def test_what_no_rule_permits_is_refused_by_default_and_what_one_permits_leaves(
    declared: dict[str, Any],
) -> None:
    model = Model()
    engine = PolicyEngine(default={"tool": "deny"})
    async with kernel(operators=asking(declared), policy_engine=engine, engine=model.engine) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        with pytest.raises(PolicyDenied, match=r"'web_search': .*no rule permits it"):
            await handle.result()
    assert model.specs == []
    engine.add_rule(ToolPolicy(tool_patterns=["web_search"]))
    async with kernel(operators=asking(declared), policy_engine=engine, engine=model.engine) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        assert (await handle.result()).content == "answer"
        events = await journal(handle)
    assert [event.data["name"] for event in events if event.type == "policy.decided"] == ["web_search"]
    assert [request.tools for request in model_requests(events).values()] == [("web_search",)]


async def test_rules_see_what_a_tool_is_told() -> None:
    rule = {
        "name": "ours alone",
        "tool": "web_search",
        "decision": "allow",
        "when": {"arguments": {"allowed_domains.*": {"in": ["a.example"]}}},
    }
    document = {"default": {"tool": "deny"}, "rules": [rule]}
    for domains, is_allowed in ((["a.example"], True), (["a.example", "b.example"], False), ([], False)):
        model = Model()
        operators = asking({"server_tools": [WebSearch(allowed_domains=domains)]})
        async with kernel(
            operators=operators, policy_engine=PolicyEngine.from_dict(document), engine=model.engine
        ) as k:
            handle = await k.execute(ExecutionRequest(operator="ask"))
            if is_allowed:
                await handle.result()
            else:
                with pytest.raises(PolicyDenied, match="no rule permits it"):
                    await handle.result()
        assert len(model.specs) == is_allowed


async def test_a_tool_that_needs_a_yes_is_asked_about_before_anything_goes_out() -> None:
    model, operators = Model(), {"ask": search}
    engine = PolicyEngine(
        [ToolPolicy(tool_patterns=["web_search"], require_approval=True, approvers=["ann"])]
    )
    parts: dict[str, Any] = {"operators": operators, "policy_engine": engine, "engine": model.engine}
    storage = MemoryStorage()
    async with kernel(storage, **parts) as k:
        yes = await k.execute(ExecutionRequest(operator="ask"))
        question = await pending(yes)
        told = {"tool": "web_search", "arguments": {"allowed_domains": ["a.example"]}}
        assert question.payload.items() >= told.items()
    assert model.specs == []
    async with kernel(storage, **parts) as k:
        await k.actions.resolve_by_id(question.action_id, {"approved": True}, resolved_by="ann")
        assert (await k.handle(yes.job_id).result(timeout=BOUND)).content == "answer"
        no = await k.execute(ExecutionRequest(operator="ask"))
        question = await pending(no)
        await k.actions.resolve_by_id(question.action_id, {"approved": False}, resolved_by="ann")
        with pytest.raises(PolicyDenied, match="ann refused server tool 'web_search'"):
            await no.result(timeout=BOUND)
    assert len(model.specs) == 1


async def test_a_tool_that_a_models_rule_drops_is_not_offered_and_one_in_extra_is_refused() -> None:
    @tool(effect="read")
    async def look() -> str:
        """Look."""
        return "seen"

    engine = PolicyEngine([ModelPolicy(model_patterns="m", drop_tools="web_*")])
    for declared, is_refused in ((SEARCHING, False), (IN_ITS_WORDS, False), (IN_EXTRA, True)):
        model = Model()
        request = RequestSpec(messages=(), **declared)
        agent = Agent(engine=model.engine, tools=[look], request=request)
        async with kernel(agent=agent, policy_engine=engine) as k:
            handle = await k.execute(ExecutionRequest(prompt="go"))
            if is_refused:
                with pytest.raises(PolicyDenied, match="'web_search': it may not be used here"):
                    await handle.result()
                assert model.specs == []
                continue
            assert (await handle.result()).content == "answer"
        assert [(spec.server_tools, len(spec.tools)) for spec in model.specs] == [((), 1)]


async def test_a_tool_that_a_middleware_declares_is_ruled_on_too() -> None:
    class Declaring(ModelMiddleware):
        async def call(self, call: Any, proceed: Any) -> Any:
            return await proceed(call.evolve(spec=call.spec.evolve(server_tools=[WebSearch()])))

    model = Model(middleware=(Declaring(),))
    rules = [NO_SEARCH, ModelPolicy(model_patterns="m", max_tokens=50)]
    async with kernel(operators=asking({}), policy_engine=PolicyEngine(rules), engine=model.engine) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        with pytest.raises(PolicyDenied, match="server tool 'web_search'"):
            await handle.result()
    assert model.specs == []


async def test_what_a_tools_rule_takes_out_is_taken_out_of_the_request_and_of_the_journal() -> None:
    model = Model()
    engine = PolicyEngine([RedactionPolicy(model_patterns=[], tool_patterns=["web_search"])])
    operators = asking(SEARCHING, "Who is ann@example.com?")
    async with kernel(operators=operators, policy_engine=engine, engine=model.engine) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        await handle.result()
        (request,) = model_requests(await journal(handle)).values()
    assert "ann@" not in model.specs[0].messages[0].text
    assert request.messages[0] == model.specs[0].messages[0]


async def test_an_agents_turns_are_asked_about_and_its_own_tools_still_run() -> None:
    @tool(effect="read")
    async def look() -> str:
        """Look."""
        return "seen"

    specs: list[RequestSpec] = []

    async def answer(spec: RequestSpec) -> Any:
        specs.append(spec)
        return ToolCall("1", "look", {}) if len(specs) == 1 else "done"

    agent = Agent(
        engine=ExecutionEngine(FunctionProvider(answer, model="m")),
        tools=[look],
        server_tools=[WebSearch(), CodeExecution()],
    )
    engine = PolicyEngine([ToolPolicy(tool_patterns=["*"])], default={"tool": "deny"})
    async with kernel(agent=agent, policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        assert (await handle.result()).content == "done"
        events = await journal(handle)
    assert [[each.name for each in spec.server_tools] for spec in specs] == [
        ["web_search", "code_execution"]
    ] * 2
    assert [event.data["name"] for event in events if event.type == "policy.decided"] == [
        *("web_search", "code_execution", "look"),
        *("web_search", "code_execution"),
    ]
    asked = list(model_requests(events).values())
    assert [request.tools for request in asked] == [("look", "web_search", "code_execution")] * 2


CITED = CompletionResult(
    content="Yes.",
    citations=(Citation(start=0, end=4, url="https://k.example", pages=(2, 3)),),
    logprobs=(TokenLogprob("Yes", -0.5, (("No", -1.0),)),),
    parts=(TextPart(text="Yes."), MediaPart(media_type="image/png", data="iVBORw0KGgo=", provider="m")),
    usage=Usage(web_searches=2, requests=1),
)


async def test_sources_pictures_and_likelihoods_of_an_answer_are_recalled() -> None:
    seen: list[CompletionResult] = []

    def operators(*replies: Any) -> Any:
        engine = ExecutionEngine(ScriptedProvider(replies, model="m"))

        async def ask(context: OperatorContext, given: Any) -> int:
            seen.append(await context.model(RequestSpec(messages=[Message.user("?")], logprobs=1)))
            return len(seen[-1].media)

        return {"operators": {"ask": ask}, "engine": engine}

    storage = MemoryStorage()
    dying = DyingStorage(storage, commit_of("model.completed"))
    doomed = kernel(dying, options=DOOMED, **operators(CITED))
    handle = await doomed.execute(ExecutionRequest(operator="ask"))
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    await bury(doomed, dying, storage)
    async with kernel(storage, **operators()) as k:
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).output == 1
    recalled = seen[-1]
    assert (recalled.citations, recalled.logprobs, recalled.parts) == (
        CITED.citations,
        CITED.logprobs,
        CITED.parts,
    )
    assert recalled.usage.web_searches == 2


class Searching:
    """A model whose stream tells of a search."""

    name, model = "searching", "m"

    def __init__(self) -> None:
        self.asked = 0

    async def complete(self, spec: RequestSpec, context: RequestContext) -> CompletionResult:
        raise NotImplementedError

    async def stream(self, spec: RequestSpec, context: RequestContext) -> AsyncIterator[StreamEvent]:
        self.asked += 1
        call = ToolCall("srv_1", "web_search", {"query": "Köln"})
        yield StreamEvent(type="server_tool_start", tool_call=call)
        yield StreamEvent(type="server_tool_end", tool_call=replace(call, arguments={}))
        yield StreamEvent(type="token", text="Rhine.")
        result = CompletionResult(content="Rhine.", usage=Usage(input_tokens=1, output_tokens=1, requests=1))
        yield StreamEvent(type="done", result=result)

    async def aclose(self) -> None:
        pass


async def test_what_a_stream_tells_of_a_search_is_heard_again_after_a_crash() -> None:
    heard: list[list[StreamEvent]] = []
    model = Searching()
    agent = Agent(engine=ExecutionEngine(model), server_tools=[WebSearch()])

    async def listen(context: OperatorContext, given: Any) -> int:
        heard.append([])
        async for event in agent.stream("Where is Köln?"):
            heard[-1].append(event)
        return len(heard)

    storage = MemoryStorage()
    dying = DyingStorage(storage, commit_of("model.completed"))
    doomed = kernel(dying, options=DOOMED, operators={"listen": listen})
    handle = await doomed.execute(ExecutionRequest(operator="listen"))
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    await bury(doomed, dying, storage)
    async with kernel(storage, operators={"listen": listen}) as k:
        await k.handle(handle.job_id).result(timeout=BOUND)

    told = [[event for event in events if event.type.startswith("server_tool")] for events in heard]
    assert [event.type for event in told[0]] == ["server_tool_start", "server_tool_end"]
    assert told[0][0].tool_call == ToolCall("srv_1", "web_search", {"query": "Köln"})
    assert told[-1] == told[0]
    assert (len(heard) > 1, model.asked) == (True, 1)


FILE = MediaPart(media_type="image/png", file_id="file_1", width=1, height=1)


@pytest.mark.parametrize(
    ("declared", "parts", "why"),
    [
        (SEARCHING, (), "web_search reads at the vendor"),
        (IN_EXTRA, (), "extra field 'tools'"),
        ({}, (FILE,), "a file that is named by its id"),
    ],
)
async def test_what_a_vendor_reads_by_itself_has_no_bound_for_a_hard_budget(
    declared: dict[str, Any], parts: tuple[MediaPart, ...], why: str
) -> None:
    async def look(context: OperatorContext, given: Any) -> str:
        messages = [Message.user([TextPart(text="see"), *parts])]
        return (await context.model(RequestSpec(messages=messages, **declared))).content

    model = Model()
    async with kernel(operators={"look": look}, engine=model.engine) as k:
        assert (await (await k.execute(ExecutionRequest(operator="look"))).result()).content == "answer"
        hard = BudgetSpec(max_tokens=10**6, mode="hard")
        with pytest.raises(BudgetExceededError, match=f"hard limit, and {why}"):
            await (await k.execute(ExecutionRequest(operator="look", budgets=hard))).result()
    assert len(model.specs) == 1
