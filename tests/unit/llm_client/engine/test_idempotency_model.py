"""Idempotency against a naive model: callers come, leave and finish in any order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_client import (
    ExecutionEngine,
    FunctionProvider,
    IdempotencyConflict,
    IdempotencyTracker,
    Message,
    ProviderUnavailable,
    RequestContext,
    RequestSpec,
    RetryConfig,
)

KEYS = ("k1", "k2")
TENANTS = ("a", "b")
REQUESTS = ("x", "y")

steps = st.one_of(
    st.tuples(st.just("call"), st.sampled_from(KEYS), st.sampled_from(TENANTS), st.sampled_from(REQUESTS)),
    st.tuples(st.just("leave"), st.integers(0, 30)),
    st.tuples(st.just("answer"), st.integers(0, 5)),
    st.tuples(st.just("fail"), st.integers(0, 5)),
)


@dataclass
class Asked:
    """A question the model has been asked and not answered."""

    text: str
    answer: asyncio.Future[str]


@dataclass
class Known:
    """What the naive model knows about a key."""

    request: str
    callers: list[int] = field(default_factory=list)
    """Who waits; empty when the call is over."""
    result: str | None = None


class World:
    """The engine and the naive model, side by side."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.count = 0
        self.tracker = IdempotencyTracker()
        self.engine = ExecutionEngine(
            FunctionProvider(self.model),
            idempotency_tracker=self.tracker,
            retry=RetryConfig(attempts=1),
            max_concurrency=None,
        )
        self.callers: list[asyncio.Task[str]] = []
        self.expected: dict[int, str] = {}
        self.known: dict[tuple[str, str], Known] = {}

    async def model(self, spec: RequestSpec) -> str:
        asked = Asked(spec.messages[0].text, asyncio.get_running_loop().create_future())
        self.asked.append(asked)
        try:
            return await asked.answer
        finally:
            self.asked.remove(asked)

    async def ask(self, key: str, tenant: str, request: str) -> str:
        spec = RequestSpec(messages=[Message.user(f"{tenant}/{key}/{request}")])
        context = RequestContext(tenant_id=tenant)
        return (await self.engine.complete(spec, idempotency_key=key, context=context)).content

    def call(self, key: str, tenant: str, request: str) -> None:
        number = len(self.callers)
        self.callers.append(asyncio.ensure_future(self.ask(key, tenant, request)))
        known = self.known.setdefault((tenant, key), Known(request))
        if known.request != request:
            self.expected[number] = "conflict"
        elif known.result is not None:
            self.expected[number] = known.result
        else:
            known.callers.append(number)

    def leave(self, number: int) -> None:
        if number >= len(self.callers) or number in self.expected:
            return
        self.callers[number].cancel()
        self.expected[number] = "cancelled"
        for place, known in list(self.known.items()):
            if number in known.callers:
                known.callers.remove(number)
                if not known.callers:
                    del self.known[place]

    def finish(self, which: int, succeed: bool) -> None:
        if which >= len(self.asked):
            return
        asked = self.asked[which]
        tenant, key, _ = asked.text.split("/")
        known = self.known[tenant, key]
        self.count += 1
        outcome = f"answer {self.count}" if succeed else "failed"
        for number in known.callers:
            self.expected[number] = outcome
        known.callers = []
        if succeed:
            known.result = outcome
            asked.answer.set_result(outcome)
        else:
            del self.known[tenant, key]
            asked.answer.set_exception(ProviderUnavailable("failed"))

    def check(self) -> None:
        """Exactly the calls that somebody waits for are running, once each, and everybody has what was expected."""
        waiting = [place for place, known in self.known.items() if known.callers]
        running = sorted(asked.text for asked in self.asked)
        assert running == sorted(
            f"{tenant}/{key}/{self.known[tenant, key].request}" for tenant, key in waiting
        )
        assert self.tracker.pending_count == len(waiting)
        for number, task in enumerate(self.callers):
            assert task.done() == (number in self.expected)
            if task.done():
                assert outcome_of(task) == self.expected[number]


def outcome_of(task: asyncio.Task[str]) -> str:
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    if isinstance(error, IdempotencyConflict):
        return "conflict"
    return task.result() if error is None else str(error)


async def settle() -> None:
    for _ in range(15):
        await asyncio.sleep(0)


@settings(max_examples=150)
@given(st.lists(steps, max_size=30))
def test_every_caller_gets_what_a_naive_model_says(script: list[tuple[str, ...]]) -> None:
    async def play() -> None:
        world = World()
        for name, *arguments in script:
            if name == "call":
                world.call(*arguments)
            elif name == "leave":
                world.leave(int(arguments[0]))
            else:
                world.finish(int(arguments[0]), succeed=name == "answer")
            await settle()
            world.check()
        for number in range(len(world.callers)):
            world.leave(number)
        await settle()
        world.check()
        assert world.tracker.pending_count == 0

    asyncio.run(play())
