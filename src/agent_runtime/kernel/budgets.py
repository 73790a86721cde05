"""The budgets a run spends from: its own and its ancestors'."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from agent_runtime.errors import BudgetExceededError, BudgetRejected
from agent_runtime.kernel.options import KernelOptions
from agent_runtime.ledger.reservations import (
    ApplicableBudget,
    CostOf,
    Plan,
    Shortage,
    plan_model_call,
    reserve,
)
from agent_runtime.ports.journal import Storage
from agent_runtime.values.budget import Amount, Charge, Counters, Limits
from agent_runtime.values.job import InheritedBudget, JobRecord
from llm_client.pausing import paused

_POLL_SECONDS = 0.05


def run_budget_id(job_id: str) -> str:
    """Return the name of a run's own budget."""
    return f"run:{job_id}"


def budgets_for_child(job: JobRecord) -> tuple[InheritedBudget, ...]:
    """Return the budgets that a child of `job` spends from besides its own."""
    own = (
        ()
        if job.budgets is None
        else (InheritedBudget(budget_id=run_budget_id(job.job_id), spec=job.budgets),)
    )
    return (*job.inherited_budgets, *own)


class RunBudgets:
    """Reserves for one run. Counters are shared rows; what is kept here is only what they were when last seen."""

    def __init__(self, job: JobRecord, storage: Storage, options: KernelOptions) -> None:
        self._storage = storage
        self._options = options
        self.applicable: list[ApplicableBudget] = [
            ApplicableBudget(budget_id=budget.budget_id, limits=Limits.of(budget.spec))
            for budget in budgets_for_child(job)
        ]
        self._seen: list[Counters] | None = None

    def __bool__(self) -> bool:
        return bool(self.applicable)

    @property
    def limits_tool_calls(self) -> bool:
        """Whether any budget bounds the number of tool calls."""
        return any(budget.limits.tool_calls is not None for budget in self.applicable)

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Names of the counters, for the journal."""
        return [budget.key for budget in self.applicable]

    async def reserve_model_call(
        self,
        *,
        input_tokens: int,
        output_tokens: int,
        cost_of: CostOf,
        commit: Callable[[Plan, Sequence[Charge]], Awaitable[Any]],
    ) -> Plan:
        """Plan a call, and commit its intent together with the reservation.

        When only other calls' reservations are in the way it waits for them, without holding a concurrency slot.

        Raises:
            BudgetExceededError: A budget has no room.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._options.reservation_wait
        while True:
            if self._seen is None:
                self._seen = list(await self._storage.counters(self.keys))
            plan = plan_model_call(
                list(zip(self.applicable, self._seen, strict=True)),
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cost_of=cost_of,
            )
            if isinstance(plan, Shortage):
                plan_again = await self._reconsider(plan, loop.time() < give_up_at)
                if not plan_again:
                    raise BudgetExceededError(f"budget {plan.budget_id!r}: {plan.reason}")
                continue
            try:
                await commit(plan, reserve(self.applicable, plan.amount))
            except BudgetRejected:
                self._seen = None
                continue
            self._note(reserved=plan.amount)
            return plan

    async def _reconsider(self, shortage: Shortage, may_wait: bool) -> bool:
        """Look at the counters again before giving up, and wait a moment if that can help."""
        fresh = list(await self._storage.counters(self.keys))
        changed = fresh != self._seen
        self._seen = fresh
        if changed:
            return True
        if not (shortage.passing and may_wait):
            return False
        async with paused():
            await asyncio.sleep(_POLL_SECONDS)
        self._seen = None
        return True

    def charge_tool_call(self) -> list[Charge]:
        """Return the charges that count one tool call, refused where that passes a limit."""
        one = Amount(tool_calls=1)
        return [
            *reserve(self.applicable, one),
            *(
                Charge(budget_id=budget.budget_id, window=budget.window, reserve=-one, settle=one)
                for budget in self.applicable
            ),
        ]

    def note_settled(self, reserved: Amount, spent: Amount) -> None:
        """Remember a settlement that has been committed."""
        self._note(reserved=-reserved, settled=spent)

    def _note(self, *, reserved: Amount, settled: Amount | None = None) -> None:
        if self._seen is not None:
            self._seen = [
                Counters(
                    settled=counters.settled + settled if settled is not None else counters.settled,
                    reserved=counters.reserved + reserved,
                )
                for counters in self._seen
            ]
