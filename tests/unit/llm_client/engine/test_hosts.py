"""What a host and middleware see at the gates, and may change."""

import pytest

from llm_client import (
    HOST,
    Chunks,
    CircuitBreakerConfig,
    CompletionResult,
    ExecutionEngine,
    Host,
    MemoryCache,
    ModelAttempt,
    ModelCall,
    ModelMiddleware,
    RateLimited,
    RequestContext,
    RunAborted,
    ScriptedProvider,
    StreamEvent,
    ToolCall,
)
from llm_client.middleware import ProceedAttempt, ProceedCall
from support.engine import FAST, SPEC, collect, shape


class Recorder(Host):
    """A host that notes what passes its gates."""

    def __init__(self) -> None:
        self.calls: list[ModelCall] = []
        self.attempts: list[ModelAttempt] = []

    async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
        self.calls.append(call)
        return await proceed(call)

    async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
        self.attempts.append(attempt)
        return await proceed(attempt)


async def test_a_host_sees_a_call_once_and_every_attempt() -> None:
    host = Recorder()
    token = HOST.set(host)
    engine = ExecutionEngine(ScriptedProvider([RateLimited(status=429), "ok"]), retry=FAST)
    context = RequestContext(tenant_id="t")
    await engine.complete(SPEC, context=context)
    HOST.reset(token)

    assert [call.context for call in host.calls] == [context]
    assert [attempt.number for attempt in host.attempts] == [1, 2]


async def test_a_cache_hit_passes_the_call_gate_and_makes_no_attempt() -> None:
    engine = ExecutionEngine(ScriptedProvider(["once"]), cache=MemoryCache())
    await engine.complete(SPEC)
    host = Recorder()
    token = HOST.set(host)
    await engine.complete(SPEC)
    HOST.reset(token)

    assert (len(host.calls), len(host.attempts)) == (1, 0)


@pytest.mark.parametrize(
    ("options", "asked", "transformed"),
    [
        ({}, {}, False),
        ({"cache": MemoryCache()}, {}, True),
        ({"cache": MemoryCache()}, {"cache": "bypass"}, False),
        ({"middleware": [ModelMiddleware()]}, {}, True),
        ({}, {"idempotency_key": "k"}, True),
    ],
)
async def test_a_call_says_whether_something_may_stand_between_it_and_its_attempts(
    options: dict[str, object], asked: dict[str, object], transformed: bool
) -> None:
    host = Recorder()
    token = HOST.set(host)
    await ExecutionEngine(ScriptedProvider(["x"]), **options).complete(SPEC, **asked)  # type: ignore[arg-type]
    HOST.reset(token)

    assert host.calls[0].transformed is transformed


async def test_middleware_runs_in_order_around_calls_and_attempts_inside_the_host() -> None:
    trail: list[str] = []

    class Step(Host):
        def __init__(self, name: str) -> None:
            self.name = name

        async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
            trail.append(f"{self.name} call")
            return await proceed(call)

        async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
            trail.append(f"{self.name} attempt")
            return await proceed(attempt)

    engine = ExecutionEngine(ScriptedProvider(["x"]), middleware=[Step("outer"), Step("inner")])
    token = HOST.set(Step("host"))
    await engine.complete(SPEC)
    HOST.reset(token)

    assert trail == [
        "host call",
        "outer call",
        "inner call",
        "host attempt",
        "outer attempt",
        "inner attempt",
    ]


async def test_a_middleware_may_change_the_request() -> None:
    class Colder(ModelMiddleware):
        async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
            return await proceed(call.evolve(spec=call.spec.evolve(temperature=0.0)))

    provider = ScriptedProvider(["x"])
    await ExecutionEngine(provider, middleware=[Colder()]).complete(SPEC)

    assert provider.requests[0].temperature == 0.0


@pytest.mark.parametrize("gate", ["call", "attempt"])
async def test_an_aborted_run_is_neither_repeated_nor_counted(gate: str) -> None:
    class Aborts(Recorder):
        async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
            await super().call(call, proceed) if gate != "call" else None
            raise RunAborted("stop")

        async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
            self.attempts.append(attempt)
            raise RunAborted("stop")

    host = Aborts()
    other = ScriptedProvider(["never"])
    engine = ExecutionEngine(
        ScriptedProvider(["later"]),
        fallbacks=[other],
        breaker_config=CircuitBreakerConfig(failure_threshold=1),
        retry=FAST,
    )
    token = HOST.set(host)
    with pytest.raises(RunAborted):
        await engine.complete(SPEC)
    HOST.reset(token)

    assert len(host.attempts) == (0 if gate == "call" else 1)
    assert other.requests == []
    assert (await engine.complete(SPEC)).content == "later"


async def test_a_recorded_answer_of_a_host_is_streamed_as_events() -> None:
    recorded = CompletionResult(content="recorded", tool_calls=(ToolCall("1", "f", {"a": 1}),))

    class Recalls(Host):
        async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
            return recorded

    provider = ScriptedProvider([])
    token = HOST.set(Recalls())
    events = await collect(ExecutionEngine(provider).stream(SPEC))
    HOST.reset(token)

    assert [event.type for event in events] == [
        "token",
        "tool_call_start",
        "tool_call_delta",
        "tool_call_end",
        "usage",
        "done",
    ]
    assert events[-1].result is recorded
    assert provider.requests == []


async def test_a_host_may_listen_in() -> None:
    heard: list[str] = []

    class Listens(Host):
        async def call(self, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
            emit = call.emit
            assert emit is not None

            def both(event: StreamEvent) -> None:
                heard.append(event.text)
                emit(event)

            return await proceed(call.evolve(emit=both))

    token = HOST.set(Listens())
    events = await collect(ExecutionEngine(ScriptedProvider([Chunks(["a", "b"])])).stream(SPEC))
    HOST.reset(token)

    assert heard == ["a", "b", ""]
    assert shape(events) == [("token", "a"), ("token", "b"), ("usage", ""), ("done", "")]
