"""The engine: one request to a model, made reliable, limited, cached and priced.

Everything happens on one path; a streamed call is the same call with somebody listening. From the outside in: the host's
middleware, the engine's own, hooks, idempotency, cache, concurrency, deadline, fallback, retry, breaker, and then, around
each attempt, the host's and the engine's middleware again, rate limits, and the provider.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from types import TracebackType
from typing import Literal, overload

from llm_client.engine.attempts import Attempts
from llm_client.engine.batch import run_batch
from llm_client.engine.breaker import CircuitBreakerConfig, CircuitBreakers
from llm_client.engine.cache.base import Cache
from llm_client.engine.embedding import EmbeddingProvider, embedding_spec
from llm_client.engine.event_stream import EventStream, OpenStream
from llm_client.engine.hooks import Hook, Hooks
from llm_client.engine.idempotency import IdempotencyTracker
from llm_client.engine.keys import request_hash, scoped_key
from llm_client.engine.limits import RateLimiter, RateLimits
from llm_client.engine.retry import RetryConfig
from llm_client.engine.router import Router, StaticRouter
from llm_client.engine.streams import events_of
from llm_client.errors import ConfigurationError
from llm_client.governed import host_for
from llm_client.logs import logger_of
from llm_client.messages import CompletionResult, Embeddings, StreamEvent
from llm_client.middleware import Emit, ModelCall, ModelMiddleware, ProceedCall
from llm_client.pausing import Slots
from llm_client.pricing.book import PriceBook
from llm_client.providers.base import Provider
from llm_client.spec import CacheMode, RequestContext, RequestSpec
from llm_client.tokens import TokenEstimator
from llm_client.usage import Usage

logger = logger_of(__name__)

_CACHEABLE = frozenset({"stop", "tool_calls", "length"})


class ExecutionEngine:
    """Sends requests to models. One engine serves any number of concurrent calls; make one per application.

    Args:
        provider: The first choice: a provider, or a string such as `openai:gpt-5.2`.
        fallbacks: Who is asked when the first choice is down, limited or out of credit, in this order.
        router: Chooses providers per request, instead of `provider` and `fallbacks`.
        cache: Answers of earlier requests; used by default when given.
        hooks: Callables that are told what happens.
        retry: How failed attempts are repeated; by default three attempts.
        breaker_config: When to stop asking a provider that keeps failing.
        max_concurrency: How many calls run at the same time; `None` is no bound.
        rate_limits: Requests and tokens per minute.
        idempotency_tracker: Remembers calls with an idempotency key; by default one in memory.
        middleware: Steps around calls and attempts, the first one outermost.
        prices: Where prices come from.

    Raises:
        ConfigurationError: There is neither a provider nor a router, or there are both.
    """

    def __init__(
        self,
        provider: Provider | str | None = None,
        *,
        fallbacks: Sequence[Provider | str] = (),
        router: Router | None = None,
        cache: Cache | None = None,
        hooks: Iterable[Hook] | None = None,
        retry: RetryConfig | None = None,
        breaker_config: CircuitBreakerConfig | None = None,
        max_concurrency: int | None = 20,
        rate_limits: RateLimits | None = None,
        idempotency_tracker: IdempotencyTracker | None = None,
        middleware: Sequence[ModelMiddleware] = (),
        prices: PriceBook | None = None,
    ) -> None:
        self._router = _router(provider, fallbacks, router)
        self._cache = cache
        self._hooks = Hooks(hooks or ())
        if max_concurrency is not None and max_concurrency < 1:
            raise ConfigurationError("max_concurrency is at least 1")
        self._slots = Slots(max_concurrency) if max_concurrency is not None else None
        self._tracker = idempotency_tracker or IdempotencyTracker()
        self._middleware = tuple(middleware)
        self.prices = prices or PriceBook()
        """Where prices come from; also answers what a call can cost at most."""
        self.estimator = TokenEstimator()
        self._attempts = Attempts(
            router=self._router,
            retry=retry or RetryConfig(),
            breakers=CircuitBreakers(breaker_config or CircuitBreakerConfig()),
            rates=RateLimiter(rate_limits) if rate_limits else None,
            estimator=self.estimator,
            prices=self.prices,
            hooks=self._hooks,
            middleware=self._middleware,
        )
        self._chain = _call_chain(self._middleware, self._observed if self._hooks else self._deduplicated)

    @property
    def provider(self) -> Provider:
        """The first choice for a request that names nothing special."""
        return self._first(RequestSpec(messages=()))

    @property
    def max_concurrency(self) -> int | None:
        """How many calls run at the same time."""
        return self._slots.size if self._slots is not None else None

    async def complete(
        self,
        spec: RequestSpec,
        *,
        context: RequestContext | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        cache: CacheMode = "use",
        emit: Emit | None = None,
        unseen: bool = False,
    ) -> CompletionResult:
        """Ask a model and return its whole answer.

        Args:
            spec: The request.
            context: On whose behalf; ids are generated when omitted.
            idempotency_key: Calls with the same key, tenant and request share one answer.
            timeout: Seconds for all attempts together; wins over the request's own.
            cache: `use` it, `bypass` it, or `refresh` the entry.
            emit: Receives the events of the answer as it comes; without it the answer is not streamed. An answer that was
                remembered instead of given comes without events.
            unseen: Whether nobody but the tools that the answer asks for sees it before `Host.settled` was awaited.

        Raises:
            ProviderError: The provider failed, and neither retry nor fallback helped.
            CircuitOpen: The provider is known to be down.
            IdempotencyConflict: The key was used for another request.
        """
        return await self._run(spec, context, idempotency_key, timeout, cache, emit, unseen=unseen)

    def stream(
        self,
        spec: RequestSpec,
        *,
        context: RequestContext | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        cache: CacheMode = "use",
    ) -> EventStream[StreamEvent]:
        """Ask a model and yield its answer as it comes; the last event is `done` with the whole result.

        Arguments and errors are those of `complete`. Nothing is tried again after the first piece of content. Leaving
        the stream – closing it, or leaving the loop over it – cancels the call.
        """
        context = context or RequestContext()

        async def ask(stream: OpenStream[StreamEvent]) -> None:
            spoken = False

            def emit(event: StreamEvent) -> None:
                nonlocal spoken
                spoken = spoken or event.type not in {"usage", "meta"}
                stream.tell(event)

            await self._hooks.fire("stream.start", context, spec=spec)
            result = await self._run(spec, context, idempotency_key, timeout, cache, emit)
            for event in () if spoken else events_of(result):
                stream.tell(event)
            stream.tell(StreamEvent(type="done", usage=result.usage, result=result))

        async def watch(event: StreamEvent | Exception) -> None:
            if isinstance(event, Exception):
                await self._hooks.fire("stream.error", context, error=event)
            elif event.type == "done":
                await self._hooks.fire("stream.end", context, result=event.result)
            else:
                await self._hooks.fire("stream.event", context, event=event)

        return EventStream(ask, watch if self._hooks else None)

    @overload
    async def batch_complete(
        self,
        specs: Sequence[RequestSpec],
        *,
        max_concurrency: int | None = None,
        context: RequestContext | None = None,
        return_exceptions: Literal[False] = False,
        timeout: float | None = None,
        cache: CacheMode = "use",
    ) -> list[CompletionResult]: ...

    @overload
    async def batch_complete(
        self,
        specs: Sequence[RequestSpec],
        *,
        max_concurrency: int | None = None,
        context: RequestContext | None = None,
        return_exceptions: bool,
        timeout: float | None = None,
        cache: CacheMode = "use",
    ) -> list[CompletionResult | Exception]: ...

    async def batch_complete(
        self,
        specs: Sequence[RequestSpec],
        *,
        max_concurrency: int | None = None,
        context: RequestContext | None = None,
        return_exceptions: bool = False,
        timeout: float | None = None,
        cache: CacheMode = "use",
    ) -> list[CompletionResult] | list[CompletionResult | Exception]:
        """Ask many requests, a few at a time, and return the results in their order.

        Args:
            specs: The requests.
            max_concurrency: How many run at the same time, within the engine's own bound.
            context: On whose behalf; each request gets a child of it.
            return_exceptions: Whether a failure takes its result's place. Otherwise the first failure cancels the rest.
            timeout: Seconds for each request.
            cache: As for `complete`.
        """
        parent = context or RequestContext()

        async def ask(spec: RequestSpec) -> CompletionResult:
            return await self.complete(spec, context=parent.child(), timeout=timeout, cache=cache)

        workers = max_concurrency or self.max_concurrency or len(specs) or 1
        return list(await run_batch(specs, ask, workers=workers, keep_failures=return_exceptions))

    async def embed(
        self,
        texts: Sequence[str],
        *,
        model: str | None = None,
        context: RequestContext | None = None,
        timeout: float | None = None,
    ) -> Embeddings:
        """Return one vector per text, from the first choice: vectors of different models cannot be compared.

        Raises:
            ProviderError: The provider failed; `ProviderTimeout` when the time was up.
            ConfigurationError: The vendor has no embeddings.
        """
        if not texts:
            return Embeddings()
        spec = embedding_spec(texts, model, timeout)
        call = ModelCall(
            spec=spec,
            context=context or RequestContext(),
            provider=EmbeddingProvider(self._first(spec), self.estimator),
            timeout=timeout,
            cache="bypass",
            prices=self.prices,
            estimator=self.estimator,
            embeds=True,
        )
        result = await host_for(self).call(call, self._embed)
        return Embeddings(result.vectors, model=result.model, usage=result.usage)

    async def _embed(self, call: ModelCall) -> CompletionResult:
        """Ask for vectors, and tell the hooks."""
        about = {"provider": call.provider.name, "count": len(call.spec.messages)}
        await self._hooks.fire("embed.start", call.context, **about)
        try:
            result, _ = await self._limited(call)
        except Exception as error:
            await self._hooks.fire("embed.error", call.context, error=error, **about)
            raise
        await self._hooks.fire("embed.end", call.context, usage=result.usage, **about)
        return result

    async def aclose(self) -> None:
        """Close the providers and the cache; may be called twice."""
        for provider in self._router.select(RequestSpec(messages=())):
            await provider.aclose()
        if self._cache is not None:
            await self._cache.aclose()

    async def __aenter__(self) -> ExecutionEngine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _first(self, spec: RequestSpec) -> Provider:
        for provider in self._router.select(spec):
            return provider
        raise ConfigurationError("the router returned no provider")

    async def _run(
        self,
        spec: RequestSpec,
        context: RequestContext | None,
        idempotency_key: str | None,
        timeout: float | None,
        cache: CacheMode,
        emit: Emit | None,
        *,
        unseen: bool = False,
    ) -> CompletionResult:
        """Take one call through the outer gate."""
        call = ModelCall(
            spec=spec,
            context=context or RequestContext(),
            provider=self._first(spec),
            emit=emit,
            transformed=bool(
                self._middleware
                or idempotency_key is not None
                or (self._cache is not None and cache != "bypass")
            ),
            idempotency_key=idempotency_key,
            timeout=timeout,
            cache=cache,
            prices=self.prices,
            estimator=self.estimator,
            unseen=unseen and not self._hooks and not self._middleware,
        )
        return await host_for(self).call(call, self._chain)

    async def _observed(self, call: ModelCall) -> CompletionResult:
        """Tell the hooks how a call begins and ends."""
        if not self._hooks:
            return await self._deduplicated(call)
        about = {
            "provider": call.provider.name,
            "model": call.spec.model or call.provider.model,
            "spec": call.spec,
        }
        await self._hooks.fire("request.start", call.context, stream=call.emit is not None, **about)
        try:
            result = await self._deduplicated(call)
        except BaseException as error:
            await self._hooks.fire("request.end", call.context, result=None, error=error, **about)
            raise
        await self._hooks.fire("request.end", call.context, result=result, error=None, **about)
        return result

    async def _deduplicated(self, call: ModelCall) -> CompletionResult:
        if call.idempotency_key is None:
            return await self._cached(call)
        key = scoped_key(call.context.tenant_id, call.idempotency_key, call.scope)
        digest = request_hash(call.spec, call.provider)
        return await self._tracker.run(key, digest, call, self._cached, self._hooks)

    async def _cached(self, call: ModelCall) -> CompletionResult:
        """Answer from the cache, or ask and remember. A cache that fails is as good as none."""
        cache = self._cache
        if cache is None or call.cache == "bypass":
            return (await self._limited(call))[0]
        key = scoped_key(call.context.tenant_id, request_hash(call.spec, call.provider), call.scope)
        known = await self._recall(cache, key, call) if call.cache == "use" else None
        if known is not None:
            await self._hooks.fire("cache.hit", call.context, key=key, saved=known.usage)
            return replace(known, cached=True, saved=known.usage, usage=Usage(cost=Decimal(0)))
        await self._hooks.fire("cache.miss", call.context, key=key)
        result, by_first_choice = await self._limited(call)
        if by_first_choice and result.finish_reason in _CACHEABLE and not result.is_empty:
            await self._remember(cache, key, result, call)
        return result

    async def _recall(self, cache: Cache, key: str, call: ModelCall) -> CompletionResult | None:
        try:
            return await cache.get(key)
        except Exception as error:
            logger.exception("the cache could not be read; the model is asked")
            await self._hooks.fire("cache.error", call.context, error=error)
            return None

    async def _remember(self, cache: Cache, key: str, result: CompletionResult, call: ModelCall) -> None:
        try:
            await cache.put(key, result)
        except Exception as error:
            logger.exception("the cache could not be written")
            await self._hooks.fire("cache.error", call.context, error=error)
        else:
            await self._hooks.fire("cache.write", call.context, key=key)

    async def _limited(self, call: ModelCall) -> tuple[CompletionResult, bool]:
        if self._slots is None:
            return await self._attempts.run(call)
        async with self._slots.occupied(call.whose):
            return await self._attempts.run(call)


def _router(
    provider: Provider | str | None, fallbacks: Sequence[Provider | str], router: Router | None
) -> Router:
    if router is not None:
        if provider is not None or fallbacks:
            raise ConfigurationError("an engine has either a router or a provider with fallbacks")
        return router
    if provider is None:
        raise ConfigurationError("an engine needs a provider or a router")
    return StaticRouter([_provider(entry) for entry in (provider, *fallbacks)])


def _provider(provider: Provider | str) -> Provider:
    if isinstance(provider, str):
        from llm_client.providers.registry import create_provider

        return create_provider(provider)
    return provider


def _call_chain(middleware: Sequence[ModelMiddleware], last: ProceedCall) -> ProceedCall:
    chain = last
    for step in reversed(middleware):
        if type(step).call is not ModelMiddleware.call:
            chain = _bound(step, chain)
    return chain


def _bound(step: ModelMiddleware, proceed: ProceedCall) -> ProceedCall:
    async def run(call: ModelCall) -> CompletionResult:
        return await step.call(call, proceed)

    return run
