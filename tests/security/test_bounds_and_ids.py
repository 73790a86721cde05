"""What a caller chooses fills no memory, makes nobody forget failures, and is refused alike on every store."""

import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ExecutionContext, ExecutionRequest, InvalidInput, OperatorContext, RuntimeKernel
from agent_runtime.ledger.token_bounds import text_bytes
from agent_runtime.values.budget import LedgerFilter
from agent_runtime.values.job import JobFilter
from llm_client import CircuitBreakerConfig, CompletionResult, RequestSpec, Usage
from llm_client.engine.breaker import MAX_BREAKERS, CircuitBreakers
from llm_client.engine.outcomes import MemoryOutcomeStore, Outcome
from llm_client.errors import InvalidRequest
from llm_client.unseen import as_seen
from support.kernels import kernel, opened

IMPOSSIBLE: list[Any] = [
    "", "\x00", "a\x00b", "a\nb", "\x1b[2K", "x" * 600, "é" * 300, "\ud800", "a\udfff", 7, 1.5, True, b"x", ["a"], {"a": 1}, ("a",), object(),
]  # fmt: skip
ABSENT = [
    "job-0",
    "'; drop table jobs; --",
    "%",
    "../../etc/passwd",
    "日本",
    "job-" + "9" * 400,
    "NULL",
    "\u202ejob",
]

LOOKUPS: dict[str, Callable[[RuntimeKernel, Any], Awaitable[Any]]] = {
    "get a job": lambda k, v: k.jobs.get(v),
    "head of a chain": lambda k, v: k.jobs.head(v),
    "cancel a job": lambda k, v: k.jobs.cancel(v),
    "resume a job": lambda k, v: k.jobs.resume(v),
    "get an action": lambda k, v: k.actions.get(v),
    "resolve an action": lambda k, v: k.actions.resolve_by_id(v, {"approved": True}),
    "status of a handle": lambda k, v: k.handle(v).status(),
    "list jobs": lambda k, v: k.jobs.list(JobFilter(scope_id=v)),
    "list actions": lambda k, v: k.actions.list_pending(job_id=v),
    "add up the ledger": lambda k, v: k.ledger.total(job_id=v),
    "list the ledger": lambda k, v: k.storage.ledger_entries(LedgerFilter(principal_id=v)),
}


async def outcome(call: Awaitable[Any]) -> str:
    """Return what a call gives or raises, without what differs for good reasons."""
    try:
        return repr(await call)
    except InvalidInput as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("name", LOOKUPS)
async def test_ids_of_any_shape_get_the_same_refusal_on_every_store(
    name: str, tmp_path: Path, module_database: str
) -> None:
    answers: list[list[str]] = []
    for kind in ("memory", "sqlite", module_database):
        async with opened(kind, tmp_path) as storage, kernel(storage, worker=False) as k:

            async def look_up(value: Any, k: RuntimeKernel = k) -> Any:
                return await LOOKUPS[name](k, value)

            answers.append([await outcome(look_up(value)) for value in (*IMPOSSIBLE, *ABSENT)])

    assert answers[0] == answers[1] == answers[2]
    for given, answer in zip(IMPOSSIBLE, answers[0], strict=False):
        assert answer.startswith(("InvalidInput", "UnknownJob", "UnknownAction")), (given, answer)
        assert not (isinstance(given, str) and len(given) > 4 and given in answer)


WHO = ExecutionContext(scope_id="mine")
ONE = Usage(input_tokens=1)


async def nothing(context: OperatorContext, given: Any) -> None:
    """Do nothing."""


async def first_event(k: RuntimeKernel, after_seq: Any) -> int | None:
    handle = await k.execute(ExecutionRequest(operator="nothing", idempotency_key="once"))
    async for event in handle.events(after_seq=after_seq):
        return event.seq
    return None


NAMES: dict[str, Callable[[RuntimeKernel, Any], Awaitable[Any]]] = {
    "a tool that was used": lambda k, v: k.ledger.record_tool_usage(WHO, v),
    "an entry": lambda k, v: k.ledger.record_tool_usage(WHO, "search", entry_id=v),
    "a connector": lambda k, v: k.ledger.record_connector_usage(WHO, v),
    "a model that was asked": lambda k, v: k.ledger.record_model_usage(WHO, ONE, model=v),
    "a provider": lambda k, v: k.ledger.record_model_usage(WHO, ONE, provider=v),
    "a model that is to be asked": lambda k, v: k.ledger.reserve(WHO, tokens=1, model=v),
    "a model that may be asked": lambda k, v: k.ledger.check_budget(WHO, 1, model=v),
    "an operator": lambda k, v: k.execute(ExecutionRequest(operator=v or "\x00")),
    "a time zone": lambda k, v: k.ledger.costs("day", timezone=v),
    "a group of costs": lambda k, v: k.ledger.costs(v),
}
ODD_NUMBERS: list[Any] = [-1, True, "1", math.nan, math.inf, -math.inf, 2**70, [1], {}, object()]
COUNTS: dict[str, Callable[[RuntimeKernel, Any], Awaitable[Any]]] = {
    "events after": first_event,
    "tokens set aside": lambda k, v: k.ledger.reserve(WHO, tokens=v),
    "requests set aside": lambda k, v: k.ledger.reserve(WHO, requests=v),
    "tool calls set aside": lambda k, v: k.ledger.reserve(WHO, tool_calls=v),
    "turns set aside": lambda k, v: k.ledger.reserve(WHO, turns=v),
    "tokens that may be used": lambda k, v: k.ledger.check_budget(WHO, v),
    "tool calls that may be made": lambda k, v: k.ledger.check_budget(WHO, pending_tool_calls=v),
    "how long a tool took": lambda k, v: k.ledger.record_tool_usage(WHO, "search", duration_ms=v),
    "how long a model took": lambda k, v: k.ledger.record_model_usage(WHO, ONE, duration_ms=v),
    "messages after": lambda k, v: k.inbox.list_waiting("ann", after=v),
}
QUANTITIES: dict[str, Callable[[RuntimeKernel, Any], Awaitable[Any]]] = {
    "how long it is set aside": lambda k, v: k.ledger.reserve(WHO, expires_in=v),
    "what a model has cost": lambda k, v: k.ledger.record_model_usage(WHO, Usage(input_tokens=1, cost=v)),
}
GIVEN = (
    [(name, call, [value for value in IMPOSSIBLE if value != ""]) for name, call in NAMES.items()]
    + [(name, call, [*ODD_NUMBERS, 1.5]) for name, call in COUNTS.items()]
    + [(name, call, ODD_NUMBERS) for name, call in QUANTITIES.items()]
)


@pytest.mark.parametrize(("name", "call", "values"), GIVEN, ids=[name for name, *_ in GIVEN])
async def test_names_and_numbers_that_are_none_are_refused_on_every_store(
    name: str,
    call: Callable[[RuntimeKernel, Any], Awaitable[Any]],
    values: list[Any],
    tmp_path: Path,
    module_database: str,
) -> None:
    for kind in ("memory", "sqlite", module_database):
        async with opened(kind, tmp_path) as storage, kernel(storage, operators={"nothing": nothing}) as k:
            for value in values:
                with pytest.raises(InvalidInput) as refused:
                    await call(k, value)
                assert not isinstance(value, str) or len(value) < 4 or value not in str(refused.value)


def test_a_flood_of_models_forgets_no_failure() -> None:
    breakers = CircuitBreakers(CircuitBreakerConfig(failure_threshold=3))
    counting, opened_circuit = breakers.of("openai", "counting"), breakers.of("openai", "down")
    for _ in range(2):
        counting.fail(counting.enter())
    for _ in range(3):
        opened_circuit.fail(opened_circuit.enter())

    for number in range(MAX_BREAKERS * 2):
        breakers.of("openai", f"made-up-{number}")

    assert len(breakers) <= MAX_BREAKERS
    assert breakers.of("openai", "down").state == "open"
    again = breakers.of("openai", "counting")
    again.fail(again.enter())
    assert again.state == "open"


def test_when_every_circuit_has_failed_new_ones_share_one() -> None:
    breakers = CircuitBreakers(CircuitBreakerConfig(failure_threshold=2))
    for number in range(MAX_BREAKERS):
        breaker = breakers.of("openai", f"m{number}")
        breaker.fail(breaker.enter())

    assert breakers.of("openai", "new") is breakers.of("openai", "newer")
    assert len(breakers) == MAX_BREAKERS
    first = breakers.of("openai", "m0")
    first.fail(first.enter())
    assert first.state == "open"


@pytest.mark.parametrize("name", ["m" * 257, "m" * 1_000_000, 5, b"m"])
def test_a_name_of_any_length_is_no_models_and_remembered_nowhere(name: Any) -> None:
    with pytest.raises(InvalidRequest, match="model is a name"):
        RequestSpec(messages=(), model=name)


async def test_dead_claims_and_old_outcomes_make_room_before_those_that_count() -> None:
    now = 0.0
    store = MemoryOutcomeStore(max_results=10, clock=lambda: now)
    for number in range(10):
        await store.claim(f"dead-{number}", "d", owner="o", lease=1)
    now = 5.0
    kept = Outcome(result=CompletionResult(content="kept"))
    await store.claim("kept", "d", owner="o", lease=60)
    await store.complete("kept", "d", owner="o", outcome=kept, ttl=1_000)
    for number in range(9):
        await store.claim(f"brief-{number}", "d", owner="o", lease=60)
        await store.complete(f"brief-{number}", "d", owner="o", outcome=kept, ttl=1)
    now = 10.0
    await store.claim("new", "d", owner="o", lease=60)
    await store.complete("new", "d", owner="o", outcome=kept, ttl=1_000)

    assert len(store) <= 10
    assert (await store.claim("kept", "d", owner="other", lease=1)).state == "done"
    assert (await store.claim("new", "d", owner="other", lease=1)).state == "done"


@pytest.mark.timeout(10)  # they were put in order in the square of their number, for twenty seconds
@pytest.mark.parametrize("marks", ["\u0300\u0316", "\u0f73", "\U0001d165\U0001d16e"])
def test_countless_marks_on_a_letter_hold_nobody_up(marks: str) -> None:
    text = "a" + marks * 50_000
    assert len(as_seen(text)) > 50_000
    assert as_seen("e\u0301" * 1_000) == "\u00e9" * 1_000
    assert text_bytes(text) >= len(text)
