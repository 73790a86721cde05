"""What strangers make long is read beside the event loop, so that other jobs, heartbeats and cancellations go on."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel

from agent_runtime import (
    ActionSpec,
    ActionType,
    Budget,
    BudgetSpec,
    ExecutionRequest,
    Ledger,
    OperatorContext,
    PolicyEngine,
    RedactionPolicy,
    RuntimeKernel,
    ToolPolicy,
)
from agent_runtime.actions import votes
from agent_runtime.audit.manager import AuditManager
from agent_runtime.errors import ResultNotSerializable
from agent_runtime.execution import completion
from agent_runtime.execution.guards import model_admission
from agent_runtime.execution.guards import tools as tool_guard
from agent_runtime.execution.guards.model_step import ModelStep
from agent_runtime.kernel import kernel as kernel_module
from agent_runtime.kernel.stores import StorageView
from agent_runtime.ledger.budget_registry import Spender
from agent_runtime.ledger.room import BUDGET_TIMER, NEVER, RoomWanted
from agent_runtime.ledger.token_bounds import text_bytes
from agent_runtime.observability import create_llm_logger
from agent_runtime.operators.result import plain
from agent_runtime.policy.policy import Policy
from agent_runtime.ports.commit import NewEvent, Timer
from agent_runtime.ports.feed import FeedEntry
from agent_runtime.runner import AgentSpec, AsyncAgentRunner, attempts
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import values as postgres_values
from agent_runtime.testing.examples import commit, job
from agent_runtime.values.budget import Amount
from agent_runtime.values.content import decode, encode
from llm_client import (
    Agent,
    Conversation,
    InvalidRequest,
    Message,
    OpenAIProvider,
    RequestContext,
    RequestSpec,
    ScriptedProvider,
    tool,
)
from llm_client.agent.structured import OutputType
from llm_client.messages import ToolCall
from llm_client.providers import event_stream, http_provider
from llm_client.redaction import EMAIL, PHONE, SSN, Redactor, folding, rules, scanner, stretches
from llm_client.tools import execution
from llm_client.tools.execution import NOT_SERIALIZABLE, to_result
from llm_client.turns import LARGE
from support.kernels import BOUND, kernel, opened, pending, until
from support.loopback import LoopbackServer, Reply, sse_reply
from support.prompt_packs import prompt_pack
from support.redaction_corpus import SECRETS
from support.secret_places import PLACES
from support.threads import Turns, calls_on_the_loop
from support.vendor_keys import KEYS

SECRET = "sk-" + "proj-" + "a1B2c3D4" * 6


async def test_long_texts_are_redacted_in_a_thread_and_each_message_of_a_conversation_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[tuple[str, bool]] = []
    redact = Redactor.redact

    def noted(self: Redactor, value: Any) -> Any:
        if isinstance(value, str) and len(value) > LARGE:
            read.append((value, threading.current_thread() is threading.main_thread()))
        return redact(self, value)

    monkeypatch.setattr(Redactor, "redact", noted)

    @tool(effect="read")
    async def fetch() -> str:
        """Fetch a page."""
        return f"{SECRET} " + "long page " * (LARGE // 8)

    provider = ScriptedProvider([ToolCall("1", "fetch", {}), "one", "two"])
    agent, conversation = Agent(provider=provider, tools=[fetch]), Conversation()
    question = f"{SECRET} " + "long question " * (LARGE // 8)

    async def operator(context: OperatorContext, given: Any) -> None:
        await agent.run(question, conversation=conversation)
        await agent.run("on", conversation=conversation)

    engine = PolicyEngine([RedactionPolicy()])
    async with kernel(operators={"talk": operator}, policy_engine=engine) as k:
        await (await k.execute(ExecutionRequest(operator="talk"))).result(timeout=BOUND)
    assert any("long page" in text for text, _ in read)
    assert not [text[:50] for text, on_loop in read if on_loop]
    assert [text for text, _ in read].count(question) == 1
    assert len(provider.requests) == 3
    assert all(SECRET not in message.text for spec in provider.requests for message in spec.messages)


async def test_long_answers_are_read_and_hashed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = calls_on_the_loop(monkeypatch, votes, "hash_of_answer")

    async def ask(context: OperatorContext, given: Any) -> int:
        asked = await context.action(ActionSpec(type=ActionType.INPUT))
        return len((asked.resolution or {})["value"])

    async with kernel(operators={"ask": ask}) as k:
        for answer, on_loop in (([0.5] * 100_000, False), ("short", True)):
            handle = await k.execute(ExecutionRequest(operator="ask"))
            question = await pending(handle)
            await k.actions.resolve_by_id(question.action_id, {"value": answer})
            assert (await handle.result(timeout=BOUND)).output == len(answer)
            assert hashed.pop() is on_loop
    assert not hashed


async def test_long_inputs_requests_answers_and_results_are_written_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Writing 32 MB takes a third of a second, whether or not any policy looks at them."""
    written: list[tuple[str, bool]] = []

    def noting(name: str, write: Callable[..., bytes]) -> Callable[..., bytes]:
        def noted(*given: Any) -> bytes:
            written.append((name, threading.current_thread() is threading.main_thread()))
            return write(*given)

        return noted

    monkeypatch.setattr(ExecutionRequest, "encoded_input", noting("input", ExecutionRequest.encoded_input))
    monkeypatch.setattr(model_admission, "encode", noting("request", encode))
    monkeypatch.setattr(ModelStep, "content_of", noting("answer", ModelStep.content_of))
    monkeypatch.setattr(completion, "encode", noting("result", encode))

    async def operator(context: OperatorContext, given: Any) -> str:
        return (await Agent(provider=ScriptedProvider([given])).run(given)).content

    async with kernel(operators={"talk": operator}) as k:
        for given, on_loop in (("long words " * (LARGE // 10), False), ("short", True)):
            request = ExecutionRequest(operator="talk", input=given)
            await (await k.execute(request)).result(timeout=BOUND)
            assert written == [(name, on_loop) for name in ("input", "request", "answer", "result")]
            written.clear()


async def test_a_look_at_countless_waits_for_budgets_lets_others_go_on() -> None:
    wanted = RoomWanted(
        spender=Spender(scope_id="loud"),
        model="m",
        provider="p",
        need=Amount(requests=1),
        reason="",
        until=None,
    )
    storage = MemoryStorage()
    await storage.open()
    ledger = Ledger(StorageView(storage))
    ledger.set_budget(Budget(scope_id="loud", max_requests_total=0, exceed_strategy="wait"))
    data = wanted.to_dict("2026-01-01")
    waits = [Timer(f"job-{n}", BUDGET_TIMER, NEVER, "job.retry_requested", None, data) for n in range(5_000)]
    await storage.commit(commit(set_timers=waits))
    with Turns() as turns:
        assert await ledger.waits_with_room() == []
    assert turns.count >= 5


@pytest.mark.parametrize("streamed", [False, True])
async def test_long_answers_of_vendors_are_read_in_a_thread(
    streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = calls_on_the_loop(monkeypatch, http_provider, "well_formed")

    def said(text: str) -> Reply:
        piece = {"delta": {"content": text}} if streamed else {"message": {"content": text}}
        body = json.dumps({"choices": [{"index": 0, "finish_reason": "stop", **piece}]})
        if streamed:
            return sse_reply(f"data: {body}\n\n", "data: [DONE]\n\n")
        return Reply(pieces=(body.encode(),), headers={"content-type": "application/json"})

    for text, on_loop in (("long " * 100_000 + ".", False), ("short", True)):
        async with LoopbackServer(said(text)) as server:
            provider = OpenAIProvider("m", api="chat", api_key="k", base_url=server.url)
            spec = RequestSpec(messages=[Message.user("?")])
            if streamed:
                events = [event async for event in provider.stream(spec, RequestContext())]
                result = events[-1].result
            else:
                result = await provider.complete(spec, RequestContext())
            await provider.aclose()
        assert result is not None
        assert result.content == text
        assert read.pop() is on_loop
    assert not read


async def test_rules_and_hard_budgets_look_at_long_texts_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = {
        "rule": calls_on_the_loop(monkeypatch, Policy, "decide", lambda _, asked: bool(asked.arguments)),
        "bound": calls_on_the_loop(monkeypatch, model_admission, "bound_input"),
    }
    long = "é" + "long note " * (LARGE // 8)

    @tool(effect="read")
    async def note(text: str) -> str:
        """Note a text."""
        return "noted"

    async def operator(context: OperatorContext, given: Any) -> str:
        provider = ScriptedProvider([ToolCall("1", "note", {"text": given}), "done"])
        return (await Agent(provider=provider, tools=[note]).run(given)).content

    engine = PolicyEngine(
        [ToolPolicy(tool_patterns="*", arguments={"text": {"contains": "secret"}}, decision="deny")]
    )
    budgets = BudgetSpec(max_tokens=10**9, mode="hard")
    async with kernel(operators={"talk": operator}, policy_engine=engine) as k:
        for given, on_loop in ((long, False), ("short", True)):
            request = ExecutionRequest(operator="talk", input=given, budgets=budgets)
            assert (await (await k.execute(request)).result(timeout=BOUND)).output == "done"
            assert set(looked["rule"]) == set(looked["bound"]) == {on_loop}
            looked["rule"].clear()
            looked["bound"].clear()


async def test_many_rules_look_at_many_values_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty rules about each of 5,000 numbers, which are 25 KB, held the loop for more than a second."""
    looked = calls_on_the_loop(monkeypatch, Policy, "decide")

    @tool(effect="read")
    async def book(numbers: list[int]) -> str:
        """Book numbers."""
        return "booked"

    async def operator(context: OperatorContext, given: Any) -> str:
        provider = ScriptedProvider([ToolCall("1", "book", {"numbers": given}), "done"])
        return (await Agent(provider=provider, tools=[book]).run("go")).content

    rules = [
        ToolPolicy(
            tool_patterns="*", arguments={"numbers.*": {"==": -number}}, decision="deny", name=f"{number}"
        )
        for number in range(1, 31)
    ]
    async with kernel(operators={"talk": operator}, policy_engine=PolicyEngine(rules)) as k:
        for given, on_loop in (([1] * 4_000, False), ([1] * 20, True)):
            handle = await k.execute(ExecutionRequest(operator="talk", input=given))
            assert (await handle.result(timeout=BOUND)).output == "done"
            assert looked == [on_loop]
            looked.clear()


async def test_long_arguments_and_structured_answers_are_checked_in_a_thread() -> None:
    checked: list[tuple[int, bool]] = []

    def noted(text: str) -> str:
        checked.append((len(text), threading.current_thread() is threading.main_thread()))
        return text

    Noted = Annotated[str, AfterValidator(noted)]  # noqa: N806 -- a type

    class Page(BaseModel):
        text: Noted

    @tool(effect="read")
    async def note(text: Noted, more: str = "") -> str:
        """Note a text."""
        return "noted"

    async def operator(context: OperatorContext, given: Any) -> int:
        answer = json.dumps({"text": given})
        provider = ScriptedProvider([ToolCall("1", "note", {"text": given}), answer])
        page = (await Agent(provider=provider, tools=[note], output_type=Page).run("go")).output
        return len(page.text)

    async with kernel(operators={"talk": operator}) as k:
        for given in ("long note " * (LARGE // 8), "short"):
            handle = await k.execute(ExecutionRequest(operator="talk", input=given))
            assert (await handle.result(timeout=BOUND)).output == len(given)
    assert {size for size, _ in checked} == {len("long note " * (LARGE // 8)), len("short")}
    assert all(on_loop is (size < LARGE) for size, on_loop in checked)


def test_countless_values_are_gone_through_quickly() -> None:
    """Two million of them, beside one `null` or one value that is no JSON, took five seconds; the bound here is generous."""
    many = [1] * 1_000_000
    started = time.process_time()
    assert decode(encode([*many, None])) == [*many, None]
    assert plain([*many, Amount(requests=1)]) != many
    with pytest.raises(ResultNotSerializable):
        encode([*many, None, float("nan")])
    assert time.process_time() - started < BOUND


def longest_hold(work: Callable[[], object]) -> float:
    """Return for how many seconds of the process's own time some work, in another thread, lets nobody else go on at a stretch."""
    longest, last = 0.0, time.process_time()
    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():
        time.sleep(0.001)
        now = time.process_time()
        longest, last = max(longest, now - last), now
    return longest


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "text",
    ["long question words ", "l\u00e4ngere Frage \u2014 w\u00f6rter ", "\n", "x@example.com, ", "a\u200b"],
    ids=ascii,
)
def test_redacting_a_long_text_in_a_thread_lets_others_go_on(text: str) -> None:
    """A thread alone does not: one search through 32 MB kept everybody waiting for a second and a half."""
    redactor = Redactor([EMAIL, SSN, PHONE])
    redactor.text(SECRET + text)
    long = text * (8_000_000 // len(text))
    assert any(longest_hold(lambda: redactor.text(long)) < 0.1 for _ in range(2))


@pytest.mark.parametrize("stretch", [61, 1_000])
def test_a_text_is_redacted_in_stretches_as_it_is_as_a_whole(
    stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [value for value, _ in PLACES.values() if isinstance(value, str)]
    lines += [line for line in SECRETS.values() if "\n" in line]
    found = [*KEYS.values(), *SECRETS.values()]
    lines += [f"{'key ' * (number % 29)}{key}, it says" for number, key in enumerate(found)]
    lines += [f"it\u2014{key}\u2014says \u00e9" for key in found]
    lines += [key.replace("a", "\\u0061").replace("e", "e\u200b") for key in found]
    lines += [f"ann{number}@example.com 078-05-1120" for number in range(50)]
    texts = ["\n".join(lines[start : start + 40]) for start in range(0, len(lines), 40)]
    texts += ["x" * 5_000 + "sk-" + "proj-" + "a1B2c3D4" * 700, " key: " * 300, "\\u0061" * 300 + SECRET]
    redactor = Redactor([EMAIL, SSN])
    whole = [redactor.text(text) for text in texts]
    for module in (stretches, rules, folding, scanner):
        monkeypatch.setattr(module, "STRETCH", stretch)
    assert [redactor.text(text) for text in texts] == whole
    assert sum("<REDACTED:" in text for text in whole) >= len(whole) - 3


@pytest.mark.parametrize("values", [[[0]] * 20_000, {"a": ["\ud800"] * 20_000}], ids=["lists", "halves"])
async def test_long_results_of_tools_are_written_and_read_in_a_thread(
    values: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tool that gives what it has read somewhere else."""
    written = calls_on_the_loop(monkeypatch, execution, "to_result")
    kept = calls_on_the_loop(monkeypatch, tool_guard, "_written")
    read = calls_on_the_loop(monkeypatch, tool_guard, "read_tool_result")

    async def fetch(many: bool) -> Any:
        return values if many else [1]

    async def operator(context: OperatorContext, many: bool) -> int:
        return len(str(await context.tool("fetch", many=many)))

    async def again(context: OperatorContext, many: bool) -> int:
        length = await operator(context, many)
        await context.action(ActionSpec(type=ActionType.INPUT))
        return length

    async with kernel(operators={"again": again}, tools=[fetch]) as k:
        for many in (True, False):
            handle = await k.execute(ExecutionRequest(operator="again", input=many))
            question = await pending(handle)
            await until(lambda handle=handle: _has_left(k, handle.job_id))
            await k.actions.resolve_by_id(question.action_id, {"value": 1})
            assert (await handle.result(timeout=BOUND)).output > 2
            assert [written.pop(), kept.pop(), read.pop()] == [not many] * 3
    assert not written + kept + read


async def _has_left(kernel_: RuntimeKernel, job_id: str) -> bool:
    return (await kernel_.jobs.get(job_id)).owner is None


async def test_a_result_with_a_number_beyond_those_of_floats_is_one() -> None:
    found = to_result({"n": 10**900})
    assert (found.error, found.value) == (None, {"n": 10**900})
    found = to_result([[]] * 200_001)
    assert found.error_type == NOT_SERIALIZABLE


async def test_long_errors_and_events_of_vendors_are_read_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed = calls_on_the_loop(monkeypatch, http_provider, "failure_of_response")
    read = calls_on_the_loop(monkeypatch, event_stream, "_read_event")
    spec = RequestSpec(messages=[Message.user("?")])
    for many in (30_000, 1):
        event = {"choices": [{"index": 0, "delta": {"content": "x", "y": [[]] * many}}]}
        end = {"choices": [{"index": 0, "finish_reason": "stop", "delta": {}}]}
        body = json.dumps({"error": {"message": "no", "more": [[]] * many}}).encode()
        refusal = Reply(status=400, pieces=(body,), headers={"content-type": "application/json"})
        stream = sse_reply(*(f"data: {json.dumps(one)}\n\n" for one in (event, end)), "data: [DONE]\n\n")
        for reply in (refusal, stream):
            async with LoopbackServer(reply) as server:
                provider = OpenAIProvider("m", api="chat", api_key="k", base_url=server.url)
                with contextlib.suppress(InvalidRequest):
                    assert [each async for each in provider.stream(spec, RequestContext())]
                await provider.aclose()
        assert failed.pop() is (many == 1)
        assert read == [many == 1, True, True]
        read.clear()


async def test_long_inputs_are_compared_under_their_key_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = calls_on_the_loop(monkeypatch, kernel_module, "request_hash")

    async def nothing(context: OperatorContext, given: Any) -> None:
        return None

    async with kernel(operators={"nothing": nothing}) as k:
        for number, (given, on_loop) in enumerate((([[0]] * 20_000, False), ("short", True))):
            request = ExecutionRequest(operator="nothing", input=given, idempotency_key=f"k{number}")
            first, second = await k.execute(request), await k.execute(request)
            assert first.job_id == second.job_id
            await first.result(timeout=BOUND)
            assert hashed == [on_loop] * 2
            hashed.clear()


async def test_what_a_runner_asks_and_is_answered_at_length_is_read_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most that its input can take was reckoned on the loop, eleven seconds for 20 MB of marks, and so were answers read."""
    reckoned = calls_on_the_loop(monkeypatch, attempts, "bound_input")
    read = calls_on_the_loop(monkeypatch, OutputType, "parse")
    written = calls_on_the_loop(monkeypatch, OutputType, "dump")
    answers = [json.dumps({"words": ["long answer"] * LARGE}), '{"words": []}']
    runner = AsyncAgentRunner(
        ScriptedProvider(answers), prompt_pack(tmp_path), create_llm_logger(output_dir=tmp_path)
    )
    spec = AgentSpec(name="planner", token_budget=10**9)
    for goal in ("a" + "\u0301" * LARGE, "a trip"):
        (await runner.run(spec, {"goal": goal})).raise_for_status()
    await runner.aclose()
    assert [reckoned, read, written] == [[False, True]] * 3


def test_marks_without_end_are_reckoned_with_at_once() -> None:
    """Each was compared with its neighbours; a thread was busy for twelve seconds."""
    began = time.process_time()
    assert text_bytes("a" + "\u0301" * 3_000_000) == 6_000_001
    assert time.process_time() - began < 2


async def noisy(context: OperatorContext, given: Any) -> None:
    """Tell much, wait, and go on."""
    for _ in range(3):
        await context.emit("custom.much", {"text": "long words " * 60_000})
    await context.sleep(0.2)


class Followed:
    """A projection that only counts."""

    name = "count"
    begin: Literal["first"] = "first"

    def __init__(self) -> None:
        self.count = 0

    async def project(self, entries: Sequence[FeedEntry]) -> None:
        self.count += len(entries)


async def test_much_data_of_entries_is_read_in_a_thread_on_postgres(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand entries of a megabyte held the loop for four seconds: at each resume, for each reader and each projection."""
    read = calls_on_the_loop(monkeypatch, postgres_values, "from_json", when=lambda text: len(text) > LARGE)
    async with opened(database, Path()) as storage:
        counted = Followed()
        async with kernel(storage, operators={"noisy": noisy}, projections=[counted]) as k:
            handle = await k.execute(ExecutionRequest(operator="noisy"))
            await handle.result(timeout=BOUND)
            told = [event async for event in handle.events()]

            async def followed() -> bool:
                return counted.count == len(told)

            await until(followed)
    assert read.count(False) >= 9
    assert not any(read)


async def test_a_verification_of_much_data_lets_others_go_on() -> None:
    """The links of a page were computed in one go: five hundred entries of a megabyte."""
    storage, record = MemoryStorage(), job()
    told = {"numbers": list(range(60_000))}
    await storage.commit(commit(create=[(record, [NewEvent("custom.much", None, told) for _ in range(20)])]))
    with Turns() as turns:
        report = await AuditManager(storage).verify()
    assert (report.is_intact, report.entries) == (True, 20)
    assert turns.count >= 5
