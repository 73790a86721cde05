"""Runs of agents that are data: answers, repairs, bounds, conversations, and a record of every attempt."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from agent_runtime.errors import ConfigurationError, InvalidInput, RunError
from agent_runtime.observability import CallRecord
from agent_runtime.runner import (
    AgentMode,
    AgentRunner,
    AgentSpec,
    AgentState,
    AsyncAgentRunner,
    conversations,
)
from llm_client import (
    CompletionResult,
    Delay,
    ExecutionEngine,
    FunctionProvider,
    MemoryCache,
    ProviderUnavailable,
    RequestContext,
    RequestSpec,
    RetryConfig,
    RunAborted,
    ScriptedProvider,
    Usage,
)
from support.prompt_packs import prompt_pack


class Plan(BaseModel):
    steps: list[str]


SPEC = AgentSpec(name="planner", response_model=Plan)
GOOD, BAD = '{"steps": ["pack"]}', '{"steps": "pack"}'


class Kept:
    """A log that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []

    def record(self, record: CallRecord) -> None:
        self.records.append(record)

    async def room(self) -> None:
        pass

    def flush(self) -> None:
        pass

    async def flush_async(self) -> None:
        pass

    @property
    def told(self) -> list[tuple[str, str | None]]:
        return [(record.status, record.error_type) for record in self.records]


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return prompt_pack(tmp_path)


def runner(packs: Path, *replies: Any, **options: Any) -> tuple[AsyncAgentRunner, ScriptedProvider, Kept]:
    provider, kept = ScriptedProvider(list(replies)), Kept()
    engine = ExecutionEngine(provider, retry=RetryConfig(backoff=0.001), **options)
    return AsyncAgentRunner(engine, packs, kept), provider, kept


GOAL = {"goal": "a trip"}


async def test_a_run_gives_the_answer_as_its_type(packs: Path) -> None:
    agents, provider, kept = runner(packs, GOOD)
    state = AgentState(name="planner")
    result = await agents.run(spec=SPEC, variables=GOAL, state=state)

    assert result.success
    assert result.data == Plan(steps=["pack"])
    assert result.raise_for_status() is result
    assert (state.attempt_count, result.metadata) == (1, {"schema_repair_attempts": 0})
    assert result.tokens_used == result.usage.total_tokens > 0
    assert [message.text for message in provider.requests[0].messages][-1] == "Plan a trip."
    assert kept.told == [("succeeded", None)]
    assert kept.records[0].validated == {"steps": ["pack"]}


async def test_a_spec_says_what_is_asked(packs: Path) -> None:
    agents, provider, _ = runner(packs, GOOD)
    template = RequestSpec(messages=(), max_tokens=77, seed=4)
    spec = AgentSpec(
        name="p", prompt_pack="planner", model="m", temperature=0.5, response_model=Plan, request=template,
        default_variables={"goal": "nothing"},
    )  # fmt: skip
    await agents.run(spec)

    (asked,) = provider.requests
    assert (asked.model, asked.temperature, asked.max_tokens, asked.seed) == ("m", 0.5, 77, 4)
    assert asked.messages[-1].text == "Plan nothing."


async def test_any_json_object_is_an_answer_without_a_type(packs: Path) -> None:
    agents, _, _ = runner(packs, 'Here:\n```json\n{"a": [1]}\n```')
    assert (await agents.run(AgentSpec(name="planner"), GOAL)).data == {"a": [1]}


async def test_each_repair_is_an_attempt_with_a_record_of_its_own(packs: Path) -> None:
    agents, provider, kept = runner(packs, BAD, "no JSON", GOOD)
    result = await agents.run(SPEC, GOAL)

    assert result.data == Plan(steps=["pack"])
    assert result.metadata["schema_repair_attempts"] == 2
    assert kept.told == [("failed", "OutputInvalid"), ("failed", "OutputInvalid"), ("succeeded", None)]
    assert [record.result and record.result.content for record in kept.records] == [BAD, "no JSON", GOOD]
    assert [record.repair_attempts for record in kept.records] == [0, 1, 2]
    assert "steps" in (kept.records[0].validation_errors or "")
    assert "steps" in provider.requests[1].messages[-1].text
    assert provider.requests[1].messages[-2].text == BAD
    assert result.tokens_used == sum(record.usage.total_tokens for record in kept.records if record.usage)


async def test_repairs_end(packs: Path) -> None:
    agents, _, kept = runner(packs, BAD, BAD)
    state = AgentState(name="planner")
    result = await agents.run(
        AgentSpec(name="planner", response_model=Plan, max_schema_repair_attempts=1), GOAL, state
    )

    assert not result.success
    assert (result.error_message or "").startswith("schema validation failed after 2 attempts")
    assert (state.attempt_count, len(kept.records)) == (0, 2)
    assert result.metadata == {"schema_repair_attempts": 1}
    with pytest.raises(RunError, match="schema validation"):
        result.raise_for_status()


async def test_each_attempt_of_the_engine_is_recorded(packs: Path) -> None:
    agents, _, kept = runner(packs, ProviderUnavailable("overloaded", status=529), GOOD)
    assert (await agents.run(SPEC, GOAL)).success

    assert kept.told == [("failed", "ProviderUnavailable"), ("succeeded", None)]
    assert [record.attempt for record in kept.records] == [1, 2]
    assert kept.records[0].error == "overloaded"


async def test_a_failure_is_a_result(packs: Path) -> None:
    agents, _, kept = runner(packs, *[ProviderUnavailable("overloaded")] * 3)
    result = await agents.run(SPEC, GOAL)

    assert (result.success, result.error_message) == (False, "Provider error: overloaded")
    assert isinstance(result.error, ProviderUnavailable)
    assert len(kept.records) == 3


async def test_a_missing_variable_asks_nobody(packs: Path) -> None:
    agents, provider, kept = runner(packs, GOOD)
    result = await agents.run(SPEC)

    assert "'goal' is undefined" in (result.error_message or "")
    assert (provider.requests, kept.records) == ([], [])


async def test_a_cancelled_call_is_recorded(packs: Path) -> None:
    agents, provider, kept = runner(packs, Delay(60, GOOD))
    run = asyncio.ensure_future(agents.run(SPEC, GOAL))
    while not provider.requests:
        await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert kept.told == [("cancelled", "CancelledError")]


async def test_a_call_that_takes_too_long_is_recorded(packs: Path) -> None:
    agents, _, kept = runner(packs, Delay(60, GOOD))
    spec = AgentSpec(name="planner", request=RequestSpec(messages=(), timeout=0.01))
    result = await agents.run(spec, GOAL)

    assert "no answer within 0.01 seconds" in (result.error_message or "")
    assert kept.told == [("failed", "ProviderTimeout")]


async def test_what_ends_everything_is_raised(packs: Path) -> None:
    def end(_: RequestSpec) -> str:
        raise RunAborted("over")

    kept = Kept()
    with pytest.raises(RunAborted):
        await AsyncAgentRunner(FunctionProvider(end), packs, kept).run(SPEC, GOAL)
    assert kept.told == [("failed", "RunAborted")]


async def test_runs_side_by_side_do_not_mix(packs: Path) -> None:
    async def answer(spec: RequestSpec) -> CompletionResult:
        number = int(spec.messages[-1].text.split()[1].rstrip("."))
        await asyncio.sleep(0.001 * (number % 7))
        usage = Usage(input_tokens=number, output_tokens=1000, requests=1)
        return CompletionResult(content=json.dumps({"steps": [str(number)]}), usage=usage)

    kept = Kept()
    agents = AsyncAgentRunner(ExecutionEngine(FunctionProvider(answer), max_concurrency=None), packs, kept)
    results = await asyncio.gather(*(agents.run(SPEC, {"goal": number}) for number in range(100)))

    assert [result.data.steps for result in results] == [[str(number)] for number in range(100)]
    assert [result.tokens_used for result in results] == [1000 + number for number in range(100)]
    assert sorted(record.usage.input_tokens for record in kept.records if record.usage) == list(range(100))


async def test_a_log_that_fails_is_no_failure_of_the_run(packs: Path) -> None:
    class Broken(Kept):
        def record(self, record: CallRecord) -> None:
            raise OSError("disk")

        async def room(self) -> None:
            raise OSError("disk")

    assert (await AsyncAgentRunner(ScriptedProvider([GOOD]), packs, Broken()).run(SPEC, GOAL)).success


# The budget


def spends(tokens: int) -> CompletionResult:
    return CompletionResult(content=BAD, usage=Usage(input_tokens=tokens, output_tokens=0, requests=1))


async def test_no_call_is_made_that_could_exceed_the_budget(packs: Path) -> None:
    agents, provider, _ = runner(packs, spends(3000), spends(3000), GOOD)
    spec = AgentSpec(name="planner", response_model=Plan, token_budget=4000)
    result = await agents.run(spec, GOAL)

    assert len(provider.requests) == 2
    assert "token_budget of 4,000 has no room" in (result.error_message or "")
    bounds = [request.max_tokens or 0 for request in provider.requests]
    assert 0 < bounds[1] <= 1000 < bounds[0] < 4000


async def test_a_budget_only_lowers_the_bound_of_an_answer(packs: Path) -> None:
    agents, provider, _ = runner(packs, GOOD)
    spec = AgentSpec(name="planner", token_budget=10_000, request=RequestSpec(messages=(), max_tokens=50))
    assert (await agents.run(spec, GOAL)).success
    assert provider.requests[0].max_tokens == 50


async def test_a_lost_answer_counts_as_the_most_it_can_have_been(packs: Path) -> None:
    agents, provider, _ = runner(packs, ProviderUnavailable("reset"), GOOD)
    spec = AgentSpec(name="planner", token_budget=2000)
    result = await agents.run(spec, GOAL)
    assert (result.success, len(provider.requests)) == (False, 1)


async def test_an_answer_that_had_begun_counts_as_the_most_it_can_have_been_whatever_has_followed(
    packs: Path,
) -> None:
    """As in the ledger: a status behind a part of an answer is no refusal."""
    begun = ProviderUnavailable("overloaded", status=503)
    begun.usage_is_final = False
    agents, provider, _ = runner(packs, begun, GOOD)
    result = await agents.run(AgentSpec(name="planner", token_budget=2000), GOAL)
    assert (result.success, len(provider.requests)) == (False, 1)


@pytest.mark.parametrize("usage", [Usage(requests=1), Usage(output_tokens=-1), Usage(input_tokens=10**15)])
async def test_an_answer_that_says_nothing_of_its_use_counts_as_the_most_it_can_have_been(
    usage: Usage, packs: Path
) -> None:
    """It counted as no tokens: of a vendor that states no use any number of answers fitted a budget."""
    silent = CompletionResult(content=BAD, usage=usage)
    agents, provider, _ = runner(packs, silent, silent, silent, GOOD)
    request = RequestSpec(messages=(), max_tokens=500)
    spec = AgentSpec(name="planner", response_model=Plan, token_budget=2000, request=request)
    result = await agents.run(spec, GOAL)
    assert (result.success, len(provider.requests)) == (False, 2)


async def test_an_answer_of_the_cache_counts_nothing(packs: Path) -> None:
    provider = ScriptedProvider([BAD, GOOD])
    agents = AsyncAgentRunner(ExecutionEngine(provider, cache=MemoryCache()), packs)
    spec = AgentSpec(name="planner", response_model=Plan, token_budget=2000, max_schema_repair_attempts=0)
    assert not (await agents.run(spec, GOAL)).success
    assert (await agents.run(replace(spec, max_schema_repair_attempts=1), GOAL)).success
    assert len(provider.requests) == 2


@pytest.mark.parametrize("status", [None, 503])
async def test_what_never_left_and_what_was_refused_count_nothing(status: int | None, packs: Path) -> None:
    refused = ProviderUnavailable("no", status=status)
    refused.has_left = status is not None
    agents, provider, _ = runner(packs, refused, GOOD)
    result = await agents.run(AgentSpec(name="planner", token_budget=2000), GOAL)
    assert (result.success, len(provider.requests)) == (True, 2)


async def test_what_has_no_bound_is_refused_under_a_budget(packs: Path) -> None:
    agents, provider, _ = runner(packs, GOOD)
    spec = AgentSpec(
        name="planner", token_budget=2000, request=RequestSpec(messages=(), extra={"file_url": "x"})
    )
    assert "token_budget cannot be kept" in ((await agents.run(spec, GOAL)).error_message or "")
    assert provider.requests == []


# Conversations

TALK = AgentSpec(name="planner", response_model=Plan, mode=AgentMode.CONVERSATIONAL)


async def test_a_conversation_goes_on(packs: Path) -> None:
    agents, provider, kept = runner(packs, BAD, GOOD, GOOD)
    state = AgentState(name="planner")
    first = await agents.run(TALK, GOAL, state)
    (packs / "planner" / "system.j2").write_text("Changed.")
    second = await agents.run(TALK, {"goal": "the way back"}, state)

    assert first.conversation_id == second.conversation_id == state.conversation_id
    assert state.attempt_count == 2
    said = [message.text for message in provider.requests[2].messages]
    assert said == ["You plan.", "Plan a trip.", GOOD, "Plan the way back."]
    assert kept.records[-1].conversation_id == state.conversation_id
    assert kept.records[-1].iteration == 1


async def test_a_failed_question_leaves_no_trace_in_a_conversation(packs: Path) -> None:
    agents, provider, _ = runner(packs, GOOD, *[BAD] * 3, GOOD)
    state = AgentState(name="planner")
    await agents.run(TALK, GOAL, state)
    assert not (await agents.run(TALK, {"goal": "nonsense"}, state)).success
    await agents.run(TALK, {"goal": "the way back"}, state)

    assert [message.text for message in provider.requests[-1].messages][1:] == [
        "Plan a trip.",
        GOOD,
        "Plan the way back.",
    ]


async def test_two_questions_of_one_conversation_wait_for_each_other(packs: Path) -> None:
    agents, provider, _ = runner(packs, Delay(0.01, GOOD), GOOD)
    state = AgentState(name="planner")
    await asyncio.gather(agents.run(TALK, GOAL, state), agents.run(TALK, {"goal": "more"}, state))
    assert len(provider.requests[1].messages) == 4


async def test_a_conversation_needs_a_state_that_is_this_runners(packs: Path) -> None:
    agents, provider, _ = runner(packs, GOOD)
    assert "needs a state" in ((await agents.run(TALK, GOAL)).error_message or "")
    other = AgentState(name="planner", conversation_id="planner_iter0_00000000")
    assert "no conversation" in ((await agents.run(TALK, GOAL, other)).error_message or "")
    assert provider.requests == []


async def test_a_conversation_is_its_tenants_and_its_agents(packs: Path) -> None:
    """Whoever knew an id, of which four bytes were chance, was told what another tenant had said."""
    agents, provider, _ = runner(packs, GOOD, GOOD)
    state = AgentState(name="planner")
    ours = RequestContext(tenant_id="acme")
    await agents.run(TALK, GOAL, state, context=ours)
    assert state.conversation_id is not None
    assert len(state.conversation_id.rpartition("_")[2]) == 32
    for spec, context in (
        (TALK, RequestContext(tenant_id="other")),
        (TALK, RequestContext()),
        (replace(TALK, name="other", prompt_pack="planner"), ours),
    ):
        stolen = AgentState(name="planner", conversation_id=state.conversation_id)
        assert "no conversation" in (
            (await agents.run(spec, GOAL, stolen, context=context)).error_message or ""
        )
    assert len(provider.requests) == 1
    assert (await agents.run(TALK, GOAL, state, context=ours)).success


async def test_a_flood_of_one_tenants_conversations_forgets_no_other_tenants(
    packs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "MAX_CONVERSATIONS", 3)
    agents, _, _ = runner(packs, *[GOOD] * 12)
    quiet, loud = RequestContext(tenant_id="quiet"), RequestContext(tenant_id="loud")
    mine = AgentState(name="planner")
    await agents.run(TALK, GOAL, mine, context=quiet)
    theirs = [AgentState(name="planner") for _ in range(6)]
    for state in theirs:
        await agents.run(TALK, GOAL, state, context=loud)
    assert (await agents.run(TALK, GOAL, mine, context=quiet)).success
    kept = [(await agents.run(TALK, GOAL, state, context=loud)).success for state in theirs]
    assert kept == [False] * 4 + [True] * 2


# Other providers


@dataclass
class Answer:
    content: dict[str, Any]
    metadata: Any


async def test_an_object_that_generates_json_is_a_provider(packs: Path) -> None:
    class Theirs:
        provider_type = "theirs"

        async def generate_json_async(
            self, messages: Sequence[Any], model: str, temperature: float | None = None
        ) -> Answer:
            self.asked = messages
            usage = SimpleNamespace(prompt_tokens=7, completion_tokens=3, total_tokens=10)
            return Answer(
                {"steps": [model]}, SimpleNamespace(token_usage=usage, response_id="r1", model=model)
            )

    theirs, kept = Theirs(), Kept()
    result = await AsyncAgentRunner(theirs, packs, kept).run(
        AgentSpec(name="planner", model="m1", response_model=Plan), GOAL
    )

    assert result.data == Plan(steps=["m1"])
    assert result.tokens_used == 10
    assert theirs.asked[-1] == {"role": "user", "content": "Plan a trip."}
    assert "JSON Schema" in theirs.asked[0]["content"]
    record = kept.records[0]
    assert (record.provider, record.model, record.request_id) == ("theirs", "m1", "r1")


async def test_a_plain_method_that_generates_json_holds_no_loop(packs: Path) -> None:
    class Theirs:
        def generate_json(self, messages: Sequence[Any], model: str, **options: Any) -> dict[str, Any]:
            asyncio.run(asyncio.sleep(0))  # would not work on the loop
            self.options = options
            return {"steps": [model]}

    theirs = Theirs()
    spec = AgentSpec(name="planner", response_model=Plan, request=RequestSpec(messages=(), max_tokens=9))
    assert (await AsyncAgentRunner(theirs, packs).run(spec, GOAL)).data == Plan(steps=["default"])
    assert theirs.options == {"max_tokens": 9}


def test_what_can_answer_nothing_is_no_provider(packs: Path) -> None:
    with pytest.raises(ConfigurationError, match="neither generate_json_async nor generate_json"):
        AsyncAgentRunner(object(), packs)


# Ordinary code


def test_ordinary_code_runs_agents(packs: Path) -> None:
    agents = AgentRunner(provider=ScriptedProvider([GOOD, GOOD]), prompt_base_path=packs)
    for _ in range(2):
        assert agents.run(spec=SPEC, variables=GOAL).data == Plan(steps=["pack"])
    agents.close()
    agents.close()


async def test_ordinary_code_inside_a_loop_is_told_what_to_write(packs: Path) -> None:
    agents = AgentRunner(provider=ScriptedProvider([GOOD]), prompt_base_path=packs)
    with pytest.raises(ConfigurationError, match=r"await AsyncAgentRunner\(\.\.\.\)\.run"):
        agents.run(spec=SPEC, variables=GOAL)


# Specs


def test_a_spec_is_a_value() -> None:
    given = {"a": 1}
    spec = AgentSpec(name="planner", default_variables=given, mode="conversational")  # type: ignore[arg-type]
    given["a"] = 2
    assert (spec.prompt_pack, spec.mode, dict(spec.default_variables)) == (
        "planner",
        AgentMode.CONVERSATIONAL,
        {"a": 1},
    )
    with pytest.raises(TypeError):
        spec.default_variables["a"] = 3  # type: ignore[index]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"max_schema_repair_attempts": -1},
        {"token_budget": 0},
        {"temperature": 3},
        {"mode": "talkative"},
    ],
)
def test_a_spec_with_a_mistake_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((InvalidInput, ValueError)):
        AgentSpec(**({"name": "planner"} | wrong))
