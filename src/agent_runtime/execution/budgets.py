"""The budgets a run spends from: its own, its ancestors', and the standing ones that match it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from agent_runtime.errors import BudgetExceededError, BudgetRejected
from agent_runtime.execution.options import KernelOptions
from agent_runtime.ledger.accounts import BudgetAccounts
from agent_runtime.ledger.budget_registry import Spender, run_budget
from agent_runtime.ledger.reservations import (
    ApplicableBudget,
    Demand,
    Key,
    Plan,
    Shortage,
    plan_model_call,
    spend,
)
from agent_runtime.ledger.room import RoomWanted, window_end
from agent_runtime.ledger.stages import ThresholdCrossing, crossings
from agent_runtime.ledger.waiting_line import Ticket
from agent_runtime.ports.clock import Clock
from agent_runtime.values.budget import Amount, Charge, Counters
from agent_runtime.values.job import JobRecord
from llm_client.pausing import paused

T = TypeVar("T")
StandBy = Callable[[RoomWanted], Awaitable[None]]

_SOON = 5.0
"""Seconds after which a job looks again that others' reservations have kept waiting for too long."""


class Read(Protocol):
    """Asks the storage something, patiently."""

    async def __call__(self, ask: Callable[[], Awaitable[T]], /) -> T:
        """Return the answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A call for which everything it may use has been set aside."""

    plan: Plan
    budgets: tuple[ApplicableBudget, ...]
    """Those that it is counted in."""


class RunBudgets:
    """Reserves for one run.

    Args:
        job: The run's job.
        accounts: What this process knows of standing budgets and counters.
        clock: In which windows calls fall.
        options: How long to wait for other calls' reservations.
        read: How the storage is asked.
        stand_by: Waits durably for room in a budget; the run may end there.
    """

    def __init__(
        self,
        job: JobRecord,
        accounts: BudgetAccounts,
        clock: Clock,
        options: KernelOptions,
        *,
        read: Read,
        stand_by: StandBy,
    ) -> None:
        self._read = read
        self._stand_by = stand_by
        self._accounts = accounts
        self._clock = clock
        self._options = options
        self._spender = Spender(
            scope_id=job.scope_id, principal_id=job.principal_id, session_id=job.session_id
        )
        self._own = [run_budget(budget.budget_id, budget.spec) for budget in job.spends_from]

    async def refresh(self) -> None:
        """Learn of standing budgets that others have stored or changed."""
        await self._read(self._accounts.refresh)

    def applicable(self, *, model: str | None = None, provider: str | None = None) -> list[ApplicableBudget]:
        """Return what a call of a model spends from now; without a model, a tool call."""
        standing = self._accounts.registry.applicable(
            self._spender, self._clock.now(), model=model, provider=provider
        )
        return [*self._own, *standing] if standing else self._own

    async def reserve_model_call(
        self,
        *,
        model: str,
        provider: str,
        demand: Callable[[str], Awaitable[Demand]],
        commit: Callable[[Plan], Awaitable[object]],
        degraded: Callable[[str, Shortage], Awaitable[None]],
    ) -> Granted | None:
        """Plan a call, and commit its intent together with the reservation.

        When only other calls' reservations are in the way it waits for them, without holding a concurrency slot. Where
        a budget degrades, its cheaper model is tried before the call is denied.

        Args:
            model: The model that is to be asked.
            provider: Its provider.
            demand: Returns what the call wants of a model.
            commit: Commits the intent with the plan's charges.
            degraded: Told of a cheaper model before it is tried; may refuse it.

        Returns:
            What was granted, or `None` when no budget applies and nothing was committed.

        Raises:
            BudgetExceededError: A budget has no room.
        """
        line = self._accounts.line
        ticket = line.ticket()
        try:
            return await self._reserve(ticket, model, provider, demand, commit, degraded)
        finally:
            line.leave(ticket)

    async def _reserve(
        self,
        ticket: Ticket,
        model: str,
        provider: str,
        demand: Callable[[str], Awaitable[Demand]],
        commit: Callable[[Plan], Awaitable[Any]],
        degraded: Callable[[str, Shortage], Awaitable[None]],
    ) -> Granted | None:
        loop, line = asyncio.get_running_loop(), self._accounts.line
        give_up_at = loop.time() + self._options.reservation_wait
        tried, fresh = {model}, False
        while True:
            budgets = self.applicable(model=model, provider=provider)
            if not budgets:
                return None
            counted = [budget.key for budget in budgets if budget.counted]
            in_the_way = line.before(ticket, counted)
            if in_the_way is not None and loop.time() < give_up_at:
                await self._wait(ticket, in_the_way, give_up_at - loop.time())
                continue
            wanted = await demand(model)
            seen = await self._seen(budgets, fresh=fresh)
            plan = plan_model_call(list(zip(budgets, seen, strict=True)), wanted)
            if isinstance(plan, Shortage) or (plan.max_tokens < wanted.output_tokens and not fresh):
                if not fresh:
                    fresh = True
                    continue
                assert isinstance(plan, Shortage)  # noqa: S101 -- what is fresh and fits is taken below
                cheaper = plan.budget.degrade_to
                if cheaper is not None and cheaper not in tried:
                    await degraded(cheaper, plan)
                    tried.add(cheaper)
                    model, fresh = cheaper, False
                elif plan.passing and loop.time() < give_up_at:
                    await self._wait(ticket, plan.budget.key, give_up_at - loop.time())
                elif plan.budget.on_exceed == "wait" and plan.fits_later:
                    line.leave(ticket)
                    await self._wait_for_room(
                        plan.budget, plan.need, plan.message, plan.passing, model, provider
                    )
                    give_up_at, fresh = loop.time() + self._options.reservation_wait, False
                else:
                    raise BudgetExceededError(plan.message)
                continue
            try:
                await commit(plan)
            except BudgetRejected:
                self._accounts.forget(budgets)
                continue
            return Granted(plan=plan, budgets=tuple(budget for budget in budgets if budget.counted))

    async def wait_for_tool_call(self, budget_id: str, reason: str) -> bool:
        """Wait until a budget has room for one more tool call; return whether it is one for which jobs wait."""
        need = Amount(tool_calls=1)
        for budget in self.applicable():
            is_meant = budget.budget_id == budget_id and budget.on_exceed == "wait"
            if is_meant and budget.limits.exceeded_by(Amount(), need) is None:
                await self._wait_for_room(budget, need, reason, False, None, None)
                return True
        return False

    async def _wait_for_room(
        self,
        budget: ApplicableBudget,
        need: Amount,
        reason: str,
        passing: bool,
        model: str | None,
        provider: str | None,
    ) -> None:
        """Stand aside until the window ends, or, where only reservations of others are in the way, for a while."""
        until = window_end(budget)
        if passing:
            soon = self._clock.now() + timedelta(seconds=max(_SOON, self._options.reservation_wait))
            until = soon if until is None else min(soon, until)
        wanted = RoomWanted(
            spender=self._spender,
            model=model,
            provider=provider,
            need=need,
            reason=reason,
            is_own=budget in self._own,
            until=until,
        )
        await self._stand_by(wanted)
        await self.refresh()

    async def _wait(self, ticket: Ticket, key: Key, seconds: float) -> None:
        """Stand in a line, without a concurrency slot; somebody may have raised a limit meanwhile."""
        async with paused():
            await self._accounts.line.wait(ticket, key, seconds)
        await self.refresh()

    async def _seen(self, budgets: Sequence[ApplicableBudget], *, fresh: bool = False) -> list[Counters]:
        known = None if fresh else self._accounts.known(budgets)
        if known is None:
            known = await self._read(lambda: self._accounts.read(budgets, fresh=fresh))
        return known

    async def crossings(self, budgets: Sequence[ApplicableBudget]) -> list[ThresholdCrossing]:
        """Return the stages that settled spending has come to and that nobody here has told of yet.

        Where others spend too, only the counters themselves know.
        """
        waiting = [budget for budget in budgets if budget.counted]
        if not waiting:
            return []
        seen = await self._seen(waiting, fresh=self._accounts.storage.is_shared)
        return [
            crossing
            for budget, counters in zip(waiting, seen, strict=True)
            for crossing in crossings(budget, counters.settled)
            if not self._accounts.was_recorded(crossing.key)
        ]

    @property
    def limits_tool_calls(self) -> bool:
        """Whether any budget bounds the number of tool calls."""
        return any(budget.limits.tool_calls is not None for budget in self.applicable())

    @property
    def bounds_input(self) -> bool:
        """Whether any budget refuses a model call on whose input there is no bound."""
        return any(
            budget.hard
            and budget.on_exceed != "warn"
            and (budget.limits.tokens is not None or budget.limits.cost is not None)
            for budget in self.applicable()
        )

    def display_name(self, budget_id: str) -> str:
        """Return how messages name a budget."""
        found = (budget.display_name for budget in self.applicable() if budget.budget_id == budget_id)
        return next(found, repr(budget_id))

    def charge_tool_call(self) -> list[Charge]:
        """Return the charges that count one tool call, refused where that passes a limit."""
        return spend(self.applicable(), Amount(tool_calls=1), enforce=True)

    def refuses_tool_call(self, index: int) -> ApplicableBudget | None:
        """Return the budget that lets a model answer have no further tool call than `index` before this one."""
        for budget in self.applicable():
            limit = budget.limits.tool_calls
            if not budget.counted and budget.on_exceed != "warn" and limit is not None and index >= limit:
                return budget
        return None

    def note_recorded(self, crossing: ThresholdCrossing) -> None:
        """Remember that a crossing is written."""
        self._accounts.note_recorded(crossing.key)
