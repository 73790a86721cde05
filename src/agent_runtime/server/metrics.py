"""What Prometheus reads: how requests were answered here, and how jobs, people, workers and spending stand in the database."""

from __future__ import annotations

import asyncio
from collections import Counter as Counting
from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime.kernel.kernel import Kernel
from agent_runtime.ports.clock import Clock
from agent_runtime.server.readers import Readers
from agent_runtime.values.budget import NOTHING, Amount
from agent_runtime.values.event import EPOCH
from agent_runtime.values.job import JobFilter, JobStatus
from agent_runtime.values.money import to_dollars

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MAX_MODELS: Final = 200
"""Models that are told apart; what the others have cost is added up under `other`."""
AT_ONCE: Final = 20_000
"""Entries of the ledger that are added up at once."""
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""Those that are told apart: a stranger may write anything there."""
_ACTIVE: Final = tuple(status for status in JobStatus if status.is_active)


class _Model(NamedTuple):
    """Whose calls are added up."""

    provider: str
    model: str


class Spending:
    """What was spent by model since the ledger began: each look reads only what has come since the one before.

    Args:
        kernel: Whose ledger.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._upto = 0
        self._by: dict[_Model, Amount] = {}
        self._looking = asyncio.Lock()

    async def by_model(self) -> dict[_Model, Amount]:
        """Return it as of now."""
        async with self._looking:
            storage = self._kernel.storage
            _, last = await storage.ledger_positions()
            while self._upto < last:
                upto = min(last, self._upto + AT_ONCE)
                for one in await storage.spent(EPOCH, after=self._upto, upto=upto):
                    key = _Model(one.provider or "", one.model or "")
                    if key not in self._by and len(self._by) >= MAX_MODELS:
                        key = _Model("other", "other")
                    self._by[key] = self._by.get(key, NOTHING) + one.amount
                self._upto = upto
            return dict(self._by)


class ServiceMetrics:
    """The metrics of one service.

    Args:
        kernel: Whose jobs it serves.
        readers: Who reads streams.
    """

    def __init__(self, kernel: Kernel, readers: Readers) -> None:
        self._kernel = kernel
        self._readers = readers
        self._spending = Spending(kernel)
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "agent_runtime_http_requests", "Requests, by how they were answered.",
            ("method", "route", "status"), registry=self._registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "agent_runtime_http_request_seconds", "Until an answer began.",
            ("method", "route"), buckets=_BUCKETS, registry=self._registry,
        )  # fmt: skip

    async def text(self) -> bytes:
        """Return all of them in Prometheus' own format. Raises `StorageError`."""
        families = await self._stored()
        return generate_latest(self._registry) + generate_latest(_Told(families))

    async def _stored(self) -> list[Metric]:
        kernel = self._kernel
        jobs = GaugeMetricFamily("agent_runtime_jobs", "Jobs that have not ended.", labels=("status",))
        for status in _ACTIVE:
            jobs.add_metric((status,), await kernel.jobs.count(JobFilter(status=frozenset({status}))))
        pending = await kernel.storage.pending_actions()
        workers = Counting(worker.only_waits for worker in await kernel.storage.list_workers())
        return [
            jobs,
            _gauge("agent_runtime_pending_actions", "Questions that wait for people.", pending.number),
            _gauge("agent_runtime_oldest_action_seconds", "How long the oldest of them has waited.", _age(pending.oldest, kernel.clock)),
            _gauge("agent_runtime_workers", "Processes that execute jobs.", workers[False]),
            _gauge("agent_runtime_streams", "Readers of streams in this process.", len(self._readers)),
            *self._spent(await self._spending.by_model()),
        ]  # fmt: skip

    def _spent(self, by_model: dict[_Model, Amount]) -> list[Metric]:
        labels = ("provider", "model")
        cost = CounterMetricFamily(
            "agent_runtime_spent_dollars", "US dollars of all that has a price.", labels=labels
        )
        tokens = CounterMetricFamily(
            "agent_runtime_tokens", "Tokens, of requests and of answers.", labels=labels
        )
        requests = CounterMetricFamily("agent_runtime_model_requests", "Requests to models.", labels=labels)
        for key, amount in by_model.items():
            cost.add_metric(key, float(to_dollars(amount.cost)))
            tokens.add_metric(key, amount.tokens)
            requests.add_metric(key, amount.requests)
        return [cost, tokens, requests]


class _Told(CollectorRegistry):
    """What was read from the database, as a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        super().__init__()
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        """Return it."""
        return self._families


def _gauge(name: str, said: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, said, value=value)


def _age(since: datetime | None, clock: Clock) -> float:
    return 0.0 if since is None else max(0.0, (clock.now() - since).total_seconds())


class Counted:
    """Counts requests, whatever becomes of them.

    Args:
        app: What is behind it.
        metrics: Where they are counted.
        clock: What time it is.
    """

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics, clock: Clock) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, and note when and how its answer began."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock.monotonic()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = _route_of(scope)
                method = scope["method"] if route and scope["method"] in _METHODS else "other"
                self._metrics.requests.labels(method, route, message["status"]).inc()
                self._metrics.seconds.labels(method, route).observe(self._clock.monotonic() - began)
            await send(message)

        await self._app(scope, receive, noted)


def _route_of(scope: Scope) -> str:
    """Return the pattern of the route that answered; none where a request was refused before, or has none."""
    return str(getattr(scope.get("route"), "path", None) or "")
