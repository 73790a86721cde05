"""Carrying a call out: providers in turn, attempts per provider, and one request through the attempt gate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from llm_client.engine.breaker import CircuitBreaker, CircuitBreakers, is_outage
from llm_client.engine.hooks import Hooks
from llm_client.engine.limits import RateLimiter
from llm_client.engine.retry import RetryConfig
from llm_client.engine.router import Router, may_fail_over
from llm_client.engine.streams import closing
from llm_client.errors import (
    CircuitOpen,
    InvalidResponse,
    LLMClientError,
    ProviderError,
    ProviderTimeout,
    StreamInterrupted,
)
from llm_client.messages import CompletionResult, StreamEvent
from llm_client.middleware import (
    HOST,
    OBSERVER,
    Emit,
    ModelAttempt,
    ModelCall,
    ModelMiddleware,
    ProceedAttempt,
)
from llm_client.pausing import TimeLimit
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import asked_conditions
from llm_client.providers.base import Provider
from llm_client.spec import RequestSpec
from llm_client.tokens import TokenEstimator
from llm_client.turns import begun_aside
from llm_client.usage import Usage

_CONTENT = frozenset({"token", "reasoning", "tool_call_start", "tool_call_delta", "tool_call_end"})


class _Watched:
    """An `emit` that remembers whether content went through, after which nothing may be tried again."""

    __slots__ = ("_emit", "started")

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.started = False

    def __call__(self, event: StreamEvent) -> None:
        if event.type in _CONTENT:
            self.started = True
        self._emit(event)


class _Progress:
    """What one call has done so far."""

    __slots__ = ("breaker", "error", "limit", "number", "ticket", "watched")

    def __init__(self, watched: _Watched | None, limit: TimeLimit | None) -> None:
        self.watched = watched
        self.limit = limit
        self.number = 0
        self.error: ProviderError | None = None
        self.breaker: CircuitBreaker | None = None
        """Of the attempt that is running, or was when the time was up."""
        self.ticket = 0

    @property
    def started(self) -> bool:
        return self.watched is not None and self.watched.started


class Attempts:
    """Finds an answer to a call, with as many attempts as it takes and the rules allow."""

    def __init__(
        self,
        *,
        router: Router,
        retry: RetryConfig,
        breakers: CircuitBreakers,
        rates: RateLimiter | None,
        estimator: TokenEstimator,
        prices: PriceBook,
        hooks: Hooks,
        middleware: Sequence[ModelMiddleware],
    ) -> None:
        self._router = router
        self._retry = retry
        self._breakers = breakers
        self._rates = rates
        self._estimator = estimator
        self._prices = prices
        self._hooks = hooks
        self._gate = _attempt_chain(middleware, self._send)

    async def run(self, call: ModelCall) -> tuple[CompletionResult, bool]:
        """Carry out a call.

        Returns:
            The answer, and whether the first choice gave it.

        Raises:
            ProviderError: The last failure when nothing helped; `ProviderTimeout` when the time was up.
            CircuitOpen: Nobody was asked.
        """
        seconds = call.timeout if call.timeout is not None else call.spec.timeout
        watched = None
        if call.emit is not None:
            watched = _Watched(call.emit)
            call = call.evolve(emit=watched)
        if seconds is None:
            return await self._failover(call, _Progress(watched, None))
        progress = _Progress(watched, TimeLimit(seconds))
        return await self._in_time(call, progress, seconds)

    async def _in_time(
        self, call: ModelCall, progress: _Progress, seconds: float
    ) -> tuple[CompletionResult, bool]:
        limit = cast("TimeLimit", progress.limit)
        try:
            async with limit:
                return await self._failover(call, progress)
        except TimeoutError:
            if not limit.expired:
                raise
        if progress.breaker is not None:
            progress.breaker.fail(progress.ticket)
        raise ProviderTimeout(
            f"no answer within {seconds:g} seconds, {progress.number} attempts together",
            provider=call.provider.name,
            model=call.spec.model or call.provider.model,
        ) from progress.error

    async def _failover(self, call: ModelCall, progress: _Progress) -> tuple[CompletionResult, bool]:
        """Ask one provider after the other. A request's own model name means only the first choice's."""
        chosen = () if call.embeds else self._router.select(call.spec)  # vectors of two models do not compare
        others = [provider for provider in chosen if provider is not call.provider]
        if not others:
            return await self._with_retries(call, call.spec, call.provider, progress), True
        foreign = call.spec if call.spec.model is None else call.spec.evolve(model=None)
        candidates = [(call.provider, call.spec), *((provider, foreign) for provider in others)]
        for position, (provider, spec) in enumerate(candidates):
            try:
                return await self._with_retries(call, spec, provider, progress), position == 0
            except LLMClientError as error:
                if progress.started or position == len(others) or not may_fail_over(error):
                    raise
                following = candidates[position + 1][0]
                await self._hooks.fire(
                    "router.fallback",
                    call.context,
                    provider=provider.name,
                    fallback=following.name,
                    error=error,
                )
        raise AssertionError("unreachable: the last candidate returns or raises")

    async def _with_retries(
        self, call: ModelCall, spec: RequestSpec, provider: Provider, progress: _Progress
    ) -> CompletionResult:
        """Ask one provider until it answers or the retry rules say stop."""
        failures = 0
        while True:
            try:
                return await self._attempt(call, spec, provider, progress)
            except ProviderError as error:
                failures += 1
                progress.error = error
                delay = self._retry.delay_after(failures, error)
                left = progress.limit.remaining() if progress.limit is not None else None
                if delay is None or progress.started or (left is not None and delay >= left):
                    raise
                await self._hooks.fire(
                    "request.retry",
                    call.context,
                    provider=provider.name,
                    delay=delay,
                    failures=failures,
                    error=error,
                )
            except CircuitOpen:
                if failures and progress.error is not None:
                    raise progress.error from None
                raise
            await asyncio.sleep(delay)

    async def _attempt(
        self, call: ModelCall, spec: RequestSpec, provider: Provider, progress: _Progress
    ) -> CompletionResult:
        """Make one attempt, if the breaker and the rate limits let it."""
        model = spec.model or provider.model
        breaker = self._breakers.of(provider.name, model, call.whose)
        try:
            ticket = breaker.enter()
        except CircuitOpen as error:
            await self._hooks.fire(
                "circuit.open",
                call.context,
                provider=provider.name,
                model=model,
                retry_after=error.retry_after,
            )
            raise
        progress.breaker, progress.ticket = breaker, ticket
        progress.number += 1
        attempt = ModelAttempt(call=call, spec=spec, provider=provider, number=progress.number)
        gate = self._send if call.embeds else self._gate  # middleware is about conversations
        observer = OBSERVER.get()
        if observer is not None and not call.embeds:
            gate = _bound(observer, gate)
        try:
            result = await HOST.get().attempt(attempt, gate)
        except asyncio.CancelledError:
            breaker.abandon(ticket)
            raise
        except BaseException as error:
            progress.breaker = None
            if is_outage(error):
                breaker.fail(ticket)
            else:
                breaker.abandon(ticket)
            raise
        progress.breaker = None
        breaker.succeed(ticket)
        return result

    async def _send(self, attempt: ModelAttempt) -> CompletionResult:
        """Let one request leave the process, and price what comes back."""
        provider, hooks, prices = attempt.provider, self._hooks, self._prices_of(attempt)
        about = {"provider": provider.name, "model": attempt.model, "number": attempt.number} if hooks else {}
        estimate = await self._enter_rates(self._rates, attempt) if self._rates is not None else 0
        loading = None
        if prices.needs_loading(provider.name, attempt.model):
            loading = begun_aside(prices.load)
        if hooks:
            await hooks.fire("request.attempt", attempt.call.context, spec=attempt.spec, **about)
        used = 0
        try:
            result = await self._exchange(attempt, loading)
            is_plausible = result.usage.is_plausible
            used = result.usage.total_tokens if is_plausible else estimate
            counted = is_plausible and not result.usage.iterations  # whose sum is no request's input
            if self._rates is not None and self._rates.counts_tokens and counted:
                self._estimator.learn(
                    attempt.spec.messages,
                    attempt.spec.tools,
                    model=attempt.model,
                    input_tokens=result.usage.input_tokens,
                )
        except ProviderError as error:
            is_known = error.usage is not None and error.usage.is_plausible
            used = error.usage.total_tokens if error.usage is not None and is_known else 0
            if loading is not None:
                await loading  # a failure has its price as well
            self._complete_error(attempt, error)
            await hooks.fire("provider.error", attempt.call.context, error=error, **about)
            raise
        finally:
            if self._rates is not None:
                self._rates.settle(estimate, used)
        if hooks:
            await hooks.fire("provider.success", attempt.call.context, result=result, **about)
        return result

    async def _exchange(
        self, attempt: ModelAttempt, loading: asyncio.Future[None] | None
    ) -> CompletionResult:
        """Ask the provider while the prices load, if they have to."""
        emit = attempt.call.emit
        HOST.get().sending()
        if emit is None:
            result = await attempt.provider.complete(attempt.spec, attempt.call.context)
        else:
            result = await self._consume(attempt, emit, loading)
        if loading is not None:
            await loading
        usage = self._price(attempt, result.model, result.usage)
        HOST.get().answered(usage)
        return replace(result, usage=usage)

    async def _enter_rates(self, rates: RateLimiter, attempt: ModelAttempt) -> int:
        """Wait for the rate limits; returns the tokens that were counted in advance."""
        spec, estimate = attempt.spec, 0
        if rates.counts_tokens:
            estimate = self._estimator.estimate(spec.messages, spec.tools, model=attempt.model) + (
                spec.max_tokens or 0
            )
        await rates.enter(estimate, attempt.call.whose)
        return estimate

    async def _consume(
        self, attempt: ModelAttempt, emit: Emit, loading: asyncio.Future[None] | None
    ) -> CompletionResult:
        """Stream an answer: pass its events on and return what its last event carries."""
        result: CompletionResult | None = None
        async with closing(attempt.provider.stream(attempt.spec, attempt.call.context)) as stream:
            async for event in stream:
                if event.type == "done":
                    result = event.result
                elif event.usage is not None:
                    if loading is not None:
                        await loading
                    _tell(emit, replace(event, usage=self._price(attempt, "", event.usage)))
                else:
                    _tell(emit, event)
        if result is None:
            raise StreamInterrupted("the provider's stream ended without a result")
        return result

    def _complete_error(self, attempt: ModelAttempt, error: ProviderError) -> None:
        """Add what the provider did not say: its name, the model, and the price of what was billed."""
        error.provider = error.provider or attempt.provider.name
        error.model = error.model or attempt.model
        if error.usage is not None and error.usage.is_negative:
            error.usage = None  # nobody knows what was billed
        if error.usage is not None:
            error.usage = self._price(attempt, "", error.usage)
        if isinstance(error, StreamInterrupted) and error.partial is not None:
            usage = Usage() if error.partial.usage.is_negative else error.partial.usage
            usage = self._price(attempt, error.partial.model, usage)
            error.partial = replace(error.partial, usage=usage)

    def _price(self, attempt: ModelAttempt, answered: str, usage: Usage) -> Usage:
        """Price a usage by the model that answered, or by the one that was asked if that has no price.

        Raises:
            InvalidResponse: Something in it is negative: it would take away from what others have used.
        """
        if usage.is_negative:
            raise InvalidResponse("the provider says that less than nothing was used")
        conditions = asked_conditions(attempt.spec.extra) if attempt.spec.extra else None
        asked = attempt.model
        prices = self._prices_of(attempt)
        return prices.price(attempt.provider.name, answered or asked, usage, conditions, asked=asked)

    def _prices_of(self, attempt: ModelAttempt) -> PriceBook:
        """Return the prices that hold for a call: a host may have put its own in the engine's place."""
        return attempt.call.prices or self._prices


def _tell(emit: Emit, event: StreamEvent) -> None:
    """Pass an event on; whoever raises at it refuses an answer that has begun."""
    try:
        emit(event)
    except BaseException:
        HOST.get().answered(None)
        raise


def _attempt_chain(middleware: Sequence[ModelMiddleware], last: ProceedAttempt) -> ProceedAttempt:
    chain = last
    for step in reversed(middleware):
        if type(step).attempt is not ModelMiddleware.attempt:
            chain = _bound(step, chain)
    return chain


def _bound(step: ModelMiddleware, proceed: ProceedAttempt) -> ProceedAttempt:
    async def run(attempt: ModelAttempt) -> CompletionResult:
        return await step.attempt(attempt, proceed)

    return run
