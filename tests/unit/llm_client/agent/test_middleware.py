"""The default steps around a tool call."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from llm_client import (
    Agent,
    AgentConfig,
    BudgetMiddleware,
    CircuitBreakerConfig,
    CircuitBreakerMiddleware,
    ConcurrencyMiddleware,
    FunctionProvider,
    LoggingMiddleware,
    ModelRetry,
    PolicyMiddleware,
    RedactionMiddleware,
    Redactor,
    RequestContext,
    RequestSpec,
    ResultSizeMiddleware,
    RetryMiddleware,
    RunAborted,
    ScriptedProvider,
    TelemetryMiddleware,
    TimeoutMiddleware,
    Tool,
    ToolCall,
    ToolError,
    ToolInvocation,
    ToolMiddleware,
    ToolResult,
    default_middleware,
    minimal_middleware,
    paused,
    tool,
)
from llm_client.agent.middleware.result_size import truncate
from llm_client.agent.middleware.telemetry import ToolStatistics
from llm_client.testing.cache_contract import FakeTime
from llm_client.tools.execution import execute

BOUND = 5.0


def invoke(made: Tool, *, run_id: str = "run", **arguments: Any) -> ToolInvocation:
    return ToolInvocation(
        tool=made,
        call=ToolCall("1", made.name, arguments),
        arguments=arguments,
        context=RequestContext(),
        run_id=run_id,
        operation_id="op",
    )


def failing(error: Exception, *, times: int = 10**9, **options: Any) -> tuple[Tool, list[int]]:
    """A tool that fails a number of times, and the attempts it saw."""
    attempts: list[int] = []

    @tool(**options)
    async def act() -> str:
        attempts.append(1)
        if len(attempts) <= times:
            raise error
        return "done"

    return act, attempts


@tool(effect="read")
async def fine() -> str:
    return "fine"


# retry


@pytest.mark.parametrize("effect", ["pure", "read", "idempotent"])
async def test_a_broken_tool_that_may_be_repeated_is(effect: str) -> None:
    act, attempts = failing(OSError("flaky"), times=2, effect=effect)

    result = await RetryMiddleware(2, backoff=0).call_tool(invoke(act), execute)

    assert (result.content, len(attempts)) == ("done", 3)


@pytest.mark.parametrize("options", [{"effect": "unsafe"}, {"effect": "unsafe", "retries": 5}])
async def test_a_tool_that_may_not_be_repeated_is_not(options: dict[str, Any]) -> None:
    act, attempts = failing(OSError("flaky"), times=1, **options)

    result = await RetryMiddleware(2, backoff=0).call_tool(invoke(act), execute)

    assert (result.success, len(attempts)) == (False, 1)


async def test_a_tools_own_number_of_retries_wins() -> None:
    act, attempts = failing(OSError("flaky"), effect="read", retries=0)
    await RetryMiddleware(2, backoff=0).call_tool(invoke(act), execute)

    assert len(attempts) == 1


@pytest.mark.parametrize("error", [ToolError("no such order"), ModelRetry("be precise")])
async def test_what_a_tool_says_on_purpose_is_not_repeated(error: Exception) -> None:
    act, attempts = failing(error, effect="read")
    await RetryMiddleware(2, backoff=0).call_tool(invoke(act), execute)

    assert len(attempts) == 1


async def test_attempts_are_numbered() -> None:
    seen: list[int] = []

    async def note(invocation: ToolInvocation) -> ToolResult:
        seen.append(invocation.attempt)
        return ToolResult(content="", error="x", error_type="OSError")

    await RetryMiddleware(2, backoff=0).call_tool(invoke(fine), note)

    assert seen == [1, 2, 3]


# time-out


async def test_a_tool_that_takes_too_long_fails_with_a_time_out() -> None:
    cancelled = asyncio.Event()

    @tool(timeout=0.01)
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    result = await TimeoutMiddleware(60).call_tool(invoke(hang), execute)

    assert (result.error_type, cancelled.is_set()) == ("timeout", True)
    assert "0.01 seconds" in result.content


async def test_the_time_out_covers_all_attempts() -> None:
    act, attempts = failing(OSError("flaky"), effect="read", retries=10**8, timeout=0.05)
    retry = RetryMiddleware(backoff=0)

    async def with_retries(invocation: ToolInvocation) -> ToolResult:
        return await retry.call_tool(invocation, execute)

    result = await TimeoutMiddleware().call_tool(invoke(act), with_retries)

    assert result.error_type == "timeout"
    assert len(attempts) > 1


async def test_a_durable_wait_does_not_count() -> None:
    answered = asyncio.Event()

    @tool(timeout=0.1)
    async def ask() -> str:
        async with paused():
            asyncio.get_running_loop().call_later(0.2, answered.set)
            await answered.wait()
        return "yes"

    assert (await TimeoutMiddleware().call_tool(invoke(ask), execute)).content == "yes"


async def test_a_tools_own_time_out_is_told_apart() -> None:
    act, _ = failing(TimeoutError("the database"))
    result = await TimeoutMiddleware(60).call_tool(invoke(act), execute)

    assert result.error_type == "TimeoutError"


async def test_a_tool_knows_its_deadline() -> None:
    deadlines: list[float | None] = []

    async def note(invocation: ToolInvocation) -> ToolResult:
        deadlines.append(invocation.deadline)
        return ToolResult(content="")

    before = asyncio.get_running_loop().time()
    await TimeoutMiddleware(60).call_tool(invoke(fine), note)

    assert deadlines[0] is not None
    assert before + 60 <= deadlines[0] <= asyncio.get_running_loop().time() + 60


# circuit breaker


def breaker(threshold: int = 2) -> CircuitBreakerMiddleware:
    return CircuitBreakerMiddleware(CircuitBreakerConfig(failure_threshold=threshold, recovery_timeout=60))


async def test_a_tool_that_keeps_breaking_is_left_alone() -> None:
    act, attempts = failing(OSError("down"))
    step = breaker()
    results = [await step.call_tool(invoke(act), execute) for _ in range(4)]

    assert [result.error_type for result in results] == ["OSError", "OSError", "circuit_open", "circuit_open"]
    assert len(attempts) == 2


async def test_what_a_tool_says_on_purpose_does_not_break_the_circuit() -> None:
    act, attempts = failing(ToolError("no such order"))
    step = breaker()
    for _ in range(5):
        await step.call_tool(invoke(act), execute)

    assert len(attempts) == 5


async def test_time_outs_break_the_circuit_and_cancellations_do_not() -> None:
    @tool(timeout=0.01)
    async def hang() -> None:
        await asyncio.Event().wait()

    step, clock = breaker(1), TimeoutMiddleware()

    async def guarded(invocation: ToolInvocation) -> ToolResult:
        return await step.call_tool(invocation, execute)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await step.call_tool(invoke(hang), execute)
    late = await clock.call_tool(invoke(hang), guarded)
    refused = await clock.call_tool(invoke(hang), guarded)

    assert (late.error_type, refused.error_type) == ("timeout", "circuit_open")


async def test_a_cancellation_after_a_long_durable_wait_is_not_taken_for_a_time_out() -> None:
    waited, answered = asyncio.Event(), asyncio.Event()

    @tool(timeout=0.1)
    async def ask() -> None:
        async with paused():
            asyncio.get_running_loop().call_later(0.2, answered.set)
            await answered.wait()
        waited.set()
        await asyncio.Event().wait()

    step = breaker(1)

    async def guarded(invocation: ToolInvocation) -> ToolResult:
        return await step.call_tool(invocation, execute)

    task = asyncio.create_task(TimeoutMiddleware().call_tool(invoke(ask), guarded))
    await asyncio.wait_for(waited.wait(), BOUND)
    task.cancel()
    await asyncio.wait((task,))

    assert task.cancelled()
    assert (await step.call_tool(invoke(fine), execute)).success
    assert step._breakers.of("tool", "ask").state == "closed"


async def test_an_aborted_run_says_nothing_about_a_tool() -> None:
    act, attempts = failing(RunAborted("stop"))
    step = breaker(1)
    for _ in range(3):
        with pytest.raises(RunAborted):
            await step.call_tool(invoke(act), execute)

    assert len(attempts) == 3


async def test_one_tools_circuit_is_not_anothers() -> None:
    act, _ = failing(OSError("down"))
    step = breaker(1)
    await step.call_tool(invoke(act), execute)

    assert (await step.call_tool(invoke(fine), execute)).success


# policy and budget


@pytest.mark.parametrize(
    ("allow", "deny", "allowed"),
    [
        (("*",), (), True),
        (("fi*",), (), True),
        (("search_*",), (), False),
        (("*",), ("f*",), False),
        ((), (), False),
    ],
)
async def test_policy_goes_by_name_and_denial_wins(
    allow: tuple[str], deny: tuple[str], allowed: bool
) -> None:
    result = await PolicyMiddleware(allow, deny).call_tool(invoke(fine), execute)

    assert result.success is allowed
    assert result.error_type == (None if allowed else "denied")


async def test_a_runs_budget_of_calls_is_its_own() -> None:
    step = BudgetMiddleware(max_calls=2)
    one = [await step.call_tool(invoke(fine, run_id="one"), execute) for _ in range(3)]
    other = await step.call_tool(invoke(fine, run_id="other"), execute)

    assert [result.error_type for result in one] == [None, None, "budget_exceeded"]
    assert other.success


async def test_large_arguments_are_refused_and_cost_no_call() -> None:
    step = BudgetMiddleware(max_calls=1, max_argument_bytes=100)
    large = invoke(Tool(name="any", description="", parameters={}, handler=print), text="x" * 200)

    assert (await step.call_tool(large, execute)).error_type == "budget_exceeded"
    assert (await step.call_tool(invoke(fine), execute)).success


async def test_the_budget_outlives_a_turn() -> None:
    agent = Agent(
        provider=FunctionProvider(lambda _: [ToolCall("1", "fine", {})]),
        tools=[fine],
        config=AgentConfig(max_turns=4, middleware_chain=[BudgetMiddleware(max_calls=2)]),
    )
    result = await agent.run("go")
    answers = [message.text for message in result.messages if message.role == "tool"]

    assert answers[:2] == ["fine", "fine"]
    assert all("may call tools 2 times" in answer for answer in answers[2:])


# concurrency


async def test_no_more_calls_run_at_once_than_allowed_over_all_runs() -> None:
    running = most = 0

    @tool
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    step = ConcurrencyMiddleware(3)
    await asyncio.gather(*(step.call_tool(invoke(work, run_id=str(number)), execute) for number in range(20)))

    assert most == 3


async def test_a_tool_that_waits_durably_lets_others_in() -> None:
    step = ConcurrencyMiddleware(1)
    waiting, answered = asyncio.Event(), asyncio.Event()

    @tool
    async def ask() -> str:
        async with paused():
            waiting.set()
            await answered.wait()
        return "yes"

    asking = asyncio.create_task(step.call_tool(invoke(ask), execute))
    await waiting.wait()
    other = await asyncio.wait_for(step.call_tool(invoke(fine), execute), BOUND)
    answered.set()

    assert other.success
    assert (await asking).content == "yes"


# results


async def test_a_long_result_is_cut_and_says_so() -> None:
    @tool
    async def long() -> str:
        return "x" * 60

    result = await ResultSizeMiddleware(10).call_tool(invoke(long), execute)

    assert result.content == "xxxxxxxxxx\n[… 50 characters left out]"
    assert result.value == result.content


@pytest.mark.parametrize(
    ("first", "second", "missing"), [(30, 10, 50), (10, 10, 50), (10, 30, 50), (59, 10, 50)]
)
def test_cutting_twice_says_how_much_is_missing_in_all(first: int, second: int, missing: int) -> None:
    once = truncate(ToolResult(content="x" * 60), first)
    twice = truncate(once, second)

    assert twice.content == f"{'x' * min(first, second)}\n[… {missing} characters left out]"


async def test_a_huge_result_full_of_secrets_is_cut_before_it_is_redacted() -> None:
    seen: list[int] = []

    class Counting(Redactor):
        def redact(self, value: Any) -> Any:
            seen.append(len(value or ""))
            return super().redact(value)

    @tool
    async def huge() -> str:
        return "password=hunter2hunter2 " * 100_000

    step, size = RedactionMiddleware(Counting(), max_characters=3_000), ResultSizeMiddleware(1_000)

    async def redacted(invocation: ToolInvocation) -> ToolResult:
        return await step.call_tool(invocation, execute)

    result = await size.call_tool(invoke(huge), redacted)

    assert max(seen) < 3_100
    assert "hunter2" not in result.content
    assert len(result.content) < 1_100


async def test_a_long_failure_stays_a_failure() -> None:
    act, _ = failing(ValueError("y" * 100))
    result = await ResultSizeMiddleware(10).call_tool(invoke(act), execute)

    assert (result.success, result.error_type) == (False, "ValueError")


async def test_secrets_are_taken_out_of_texts_values_and_errors() -> None:
    key = "sk-proj-" + "a1B2c3D4" * 6

    @tool
    async def leak() -> dict[str, Any]:
        return {"note": f"use {key}", "deep": [{"password": "hunter2"}], "count": 12345}

    leaky, _ = failing(ValueError(f"bad key {key}"))
    step = RedactionMiddleware()
    result = await step.call_tool(invoke(leak), execute)
    failed = await step.call_tool(invoke(leaky), execute)

    assert key not in result.content
    assert "hunter2" not in str(result.value)
    assert result.value["count"] == 12345
    assert failed.error is not None
    assert key not in failed.error + failed.content
    assert failed.error_type == "ValueError"


async def test_a_harmless_result_is_passed_on_untouched() -> None:
    ready = ToolResult(content="harmless", value={"id": "run_20260128_123456"})

    async def give(_invocation: ToolInvocation) -> ToolResult:
        return ready

    assert await RedactionMiddleware().call_tool(invoke(fine), give) is ready


# telemetry and logs


async def test_calls_failures_and_time_are_counted() -> None:
    time = FakeTime()

    @tool
    async def work() -> None:
        time.now += 2

    act, _ = failing(OSError("down"))
    step = TelemetryMiddleware(clock=time)
    await step.call_tool(invoke(work), execute)
    await step.call_tool(invoke(work), execute)
    await step.call_tool(invoke(act), execute)

    assert step.statistics == {
        "work": ToolStatistics(calls=2, failures=0, seconds=4.0),
        "act": ToolStatistics(calls=1, failures=1, seconds=0.0),
    }


async def test_logs_tell_outcomes_and_never_arguments_or_results(caplog: pytest.LogCaptureFixture) -> None:
    @tool
    async def echo(secret: str) -> str:
        return secret

    act, _ = failing(ValueError("s3cret failure"))
    step = LoggingMiddleware()
    with caplog.at_level(logging.DEBUG, logger="llm_client.tools"):
        await step.call_tool(invoke(echo, secret="s3cret"), execute)
        await step.call_tool(invoke(act), execute)

    assert [
        (record.levelname, record.args[0]) for record in caplog.records if isinstance(record.args, tuple)
    ] == [
        ("DEBUG", "echo"),
        ("WARNING", "act"),
    ]
    assert "s3cret" not in caplog.text


# the chain


def kinds(chain: list[ToolMiddleware]) -> list[str]:
    return [type(step).__name__.removesuffix("Middleware") for step in chain]


def test_the_default_chain_has_its_documented_order() -> None:
    assert kinds(default_middleware()) == [
        "Telemetry",
        "Logging",
        "Policy",
        "Budget",
        "Concurrency",
        "Timeout",
        "Retry",
        "CircuitBreaker",
        "ResultSize",
        "Redaction",
    ]
    assert kinds(minimal_middleware()) == ["Logging", "Timeout", "Retry", "ResultSize", "Redaction"]


@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({}, 10),
        ({"use_middleware": True}, 10),
        ({"use_middleware": False}, 0),
        ({"config": AgentConfig(use_default_middleware=False)}, 0),
        ({"config": AgentConfig(use_default_middleware=False), "use_middleware": True}, 10),
        ({"config": AgentConfig(middleware_chain=[LoggingMiddleware()])}, 1),
        ({"middleware": [LoggingMiddleware()]}, 11),
    ],
)
def test_which_steps_an_agent_uses(options: dict[str, Any], length: int) -> None:
    assert len(Agent(provider=ScriptedProvider([]), **options).middleware) == length


async def test_limits_and_breakers_remember_from_run_to_run() -> None:
    act, attempts = failing(OSError("down"), effect="read")

    def reply(spec: RequestSpec) -> Any:
        return "done" if spec.messages[-1].role == "tool" else [ToolCall("1", "act", {})]

    config = AgentConfig(
        middleware_chain=[
            CircuitBreakerMiddleware(CircuitBreakerConfig(failure_threshold=2, recovery_timeout=60))
        ]
    )
    agent = Agent(provider=FunctionProvider(reply), tools=[act], config=config)
    for _ in range(5):
        await agent.run("go")

    assert len(attempts) == 2


async def test_a_plain_tool_is_cut_off_even_while_its_thread_works() -> None:
    import threading

    release = threading.Event()
    wait: Callable[[float], bool] = release.wait

    @tool(timeout=0.01)
    def slow() -> str:
        wait(BOUND)
        return "late"

    result = await TimeoutMiddleware().call_tool(invoke(slow), execute)
    release.set()

    assert result.error_type == "timeout"
