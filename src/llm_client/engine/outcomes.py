"""Where the outcomes of calls with an idempotency key are kept: a port, and its implementation in memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from llm_client.messages import CompletionResult, StreamEvent

ClaimState = Literal["mine", "pending", "done", "conflict"]
MAX_EVENTS = 200_000
"""Stream events kept in memory over all outcomes; beyond it the oldest outcomes keep only their result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a finished call gave."""

    result: CompletionResult
    events: tuple[StreamEvent, ...] = ()
    """The events of a streamed call, without its `done`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An answer to the question who runs the call of a key."""

    state: ClaimState
    """`mine`: the asker runs it; `pending`: another owner does; `done`: see `outcome`; `conflict`: another request."""
    outcome: Outcome | None = None


class OutcomeStore(Protocol):
    """Outcomes by key, shared by all who must not repeat each other's calls.

    Each method is atomic. A claim lasts for its lease and can be renewed by claiming again as the same owner; when the
    lease ends the key is free. Keys are opaque and include the tenant. `llm_client.codec` writes results and events.
    """

    async def claim(self, key: str, digest: str, *, owner: str, lease: float) -> Claim:
        """Claim a key for a request, or tell what is known about it.

        Args:
            key: The key.
            digest: Hash of the request; a key that holds another digest is in conflict.
            owner: Who asks; unique per call.
            lease: Seconds the claim lasts.
        """
        ...

    async def complete(self, key: str, digest: str, *, owner: str, outcome: Outcome, ttl: float) -> None:
        """Store the outcome of a claimed key for some seconds; ignored when the owner lost its claim."""
        ...

    async def release(self, key: str, *, owner: str) -> None:
        """Free a claimed key after a failure; ignored when the owner lost its claim."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    digest: str
    owner: str
    expires: float
    outcome: Outcome | None = None


class MemoryOutcomeStore:
    """Outcomes in this process's memory, the oldest forgotten first.

    Args:
        max_results: How many outcomes are kept.
        clock: Returns monotonic seconds.
    """

    def __init__(self, max_results: int = 10_000, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_results = max_results
        self._clock = clock
        self._claims: dict[str, _Entry] = {}
        self._results: OrderedDict[str, _Entry] = OrderedDict()
        self._events = 0

    def __len__(self) -> int:
        return len(self._results)

    async def claim(self, key: str, digest: str, *, owner: str, lease: float) -> Claim:
        """Claim a key for a request, or tell what is known about it."""
        now = self._clock()
        known = self._claims.get(key) or self._results.get(key)
        if known is not None and known.expires <= now:
            self._forget(key)
            known = None
        if known is not None and known.digest != digest:
            return Claim(state="conflict")
        if known is not None and known.outcome is not None:
            return Claim(state="done", outcome=known.outcome)
        if known is not None and known.owner != owner:
            return Claim(state="pending")
        if len(self._claims) >= self._max_results:
            self._forget_expired(now)
        self._claims[key] = _Entry(digest=digest, owner=owner, expires=now + lease)
        return Claim(state="mine")

    async def complete(self, key: str, digest: str, *, owner: str, outcome: Outcome, ttl: float) -> None:
        """Store the outcome of a claimed key for some seconds; ignored when the owner lost its claim."""
        if not self._owns(key, owner):
            return
        self._forget(key)
        self._results[key] = _Entry(digest=digest, owner=owner, expires=self._clock() + ttl, outcome=outcome)
        self._events += len(outcome.events)
        if len(self._results) > self._max_results:
            self._forget_expired(self._clock())
        while len(self._results) > self._max_results:
            self._forget(next(iter(self._results)))
        if self._events > MAX_EVENTS:
            self._drop_events()

    async def release(self, key: str, *, owner: str) -> None:
        """Free a claimed key after a failure; ignored when the owner lost its claim."""
        if self._owns(key, owner):
            self._forget(key)

    def _forget_expired(self, now: float) -> None:
        """Make room: claims whose owners have died, and outcomes whose time is over, before any that still counts."""
        for entries in (self._claims, self._results):
            for key in [key for key, entry in entries.items() if entry.expires <= now]:
                self._forget(key)

    def _owns(self, key: str, owner: str) -> bool:
        claim = self._claims.get(key)
        return claim is not None and claim.owner == owner

    def _forget(self, key: str) -> None:
        self._claims.pop(key, None)
        entry = self._results.pop(key, None)
        if entry is not None and entry.outcome is not None:
            self._events -= len(entry.outcome.events)

    def _drop_events(self) -> None:
        for key, entry in self._results.items():
            if self._events <= MAX_EVENTS // 2:
                return
            if entry.outcome is not None and entry.outcome.events:
                self._events -= len(entry.outcome.events)
                self._results[key] = replace(entry, outcome=replace(entry.outcome, events=()))
