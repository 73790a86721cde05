"""API keys against a naive model: two processes that make, rotate and revoke them, and look at them at any time."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from agent_runtime import ApiKeyManager, Role
from agent_runtime.errors import InvalidTransition
from agent_runtime.keys.known import KNOWN_SECONDS
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.clock import FakeClock

T = TypeVar("T")
processes = st.sampled_from([0, 1])
scopes = st.sampled_from(["a", "b", None])
seconds = st.sampled_from([0.3, 1.0, 30.0, 3600.0])


@dataclass(eq=False)
class Known:
    """A key as the model remembers it."""

    key_id: str
    text: str
    scope_id: str | None
    ends_at: datetime | None
    is_replaced: bool = False
    is_revoked: bool = False
    changed_at: datetime | None = None
    changed_by: int = 0

    def holds_at(self, moment: datetime) -> bool:
        return not self.is_revoked and (self.ends_at is None or moment < self.ends_at)


class KeyMachine(RuleBasedStateMachine):
    """The machine."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.storage = MemoryStorage()
        self.managers = [ApiKeyManager(self.storage, self.clock) for _ in range(2)]
        self.made: list[Known] = []

    def run(self, work: Coroutine[object, None, T]) -> T:
        return self.runner.run(work)

    def remember(self, key_id: str, text: str, scope_id: str | None, ends_at: datetime | None) -> Known:
        self.made.append(Known(key_id, text, scope_id, ends_at))
        return self.made[-1]

    @rule(target=keys, process=processes, scope_id=scopes, life=st.none() | seconds)
    def create(self, process: int, scope_id: str | None, life: float | None) -> Known:
        ends_at = None if life is None else self.clock.now() + timedelta(seconds=life)
        key, text = self.run(
            self.managers[process].create(name="k", role=Role.VIEWER, scope_id=scope_id, expires_at=ends_at)
        )
        return self.remember(key.key_id, text, scope_id, ends_at)

    @rule(target=keys, process=processes, old=keys, overlap=st.just(0.0) | seconds)
    def rotate(self, process: int, old: Known, overlap: float) -> Known:
        now = self.clock.now()
        wanted = self.managers[process].rotate(old.key_id, overlap=timedelta(seconds=overlap))
        if not old.holds_at(now) or old.is_replaced:
            try:
                self.run(wanted)
            except InvalidTransition:
                return old
            raise AssertionError("a key that has ended was rotated")
        key, text = self.run(wanted)
        ends_at = now + timedelta(seconds=overlap)
        assert key.scope_id == old.scope_id
        assert (key.expires_at is None) == (old.ends_at is None)
        old.ends_at = ends_at if old.ends_at is None else min(ends_at, old.ends_at)
        old.is_replaced, old.changed_at, old.changed_by = True, now, process
        return self.remember(key.key_id, text, key.scope_id, key.expires_at)

    @rule(process=processes, key=keys)
    def revoke(self, process: int, key: Known) -> None:
        self.run(self.managers[process].revoke(key.key_id))
        if not key.is_revoked:
            key.is_revoked, key.changed_at, key.changed_by = True, self.clock.now(), process

    @rule(by=seconds)
    def time_passes(self, by: float) -> None:
        self.clock.move(seconds=by)

    @rule(process=processes, key=keys)
    def look(self, process: int, key: Known) -> None:
        now = self.clock.now()
        found = self.run(self.managers[process].authenticate(key.text))
        holds = key.holds_at(now)
        is_fresh = key.changed_by == process or key.changed_at is None
        is_seen = is_fresh or now - (key.changed_at or now) >= timedelta(seconds=KNOWN_SECONDS)
        if holds or is_seen:
            assert (found is not None) == holds
        if found is not None:
            assert (found.key_id, found.scope_id) == (key.key_id, key.scope_id)

    @invariant()
    def what_is_listed_is_what_was_made(self) -> None:
        for scope_id in ("a", "b", None):
            listed = self.run(self.managers[0].list(scope_id=scope_id, limit=1000))
            wanted = {key.key_id for key in self.made if scope_id in (None, key.scope_id)}
            assert {key.key_id for key in listed} == wanted

    def teardown(self) -> None:
        self.runner.close()


KeyMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestKeys = KeyMachine.TestCase
