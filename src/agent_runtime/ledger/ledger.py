"""`Ledger`: what was spent, what may still be, and what is set aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Unpack, cast

from agent_runtime.errors import AlreadySettled, BudgetExceededError, BudgetRejected
from agent_runtime.ledger.accounts import BudgetAccounts
from agent_runtime.ledger.assessment import Assessment, assess
from agent_runtime.ledger.budget_registry import Spender, run_budget
from agent_runtime.ledger.corrections import correction
from agent_runtime.ledger.entries import PAGE, EntryFilters, entry_of, page_of, totals_of
from agent_runtime.ledger.held import RESERVATION_EXPIRED, Reservation
from agent_runtime.ledger.opening import added_up, openings
from agent_runtime.ledger.recording import (
    EntryFields,
    UsageFields,
    check_amount,
    check_said,
    check_usage,
    entry,
    fields_of,
    spent,
    units_of,
    usage_fields,
)
from agent_runtime.ledger.reservations import ApplicableBudget, Hold, reserve, settle, spend
from agent_runtime.ledger.room import BUDGET_TIMER, MOST_WAITS, with_room
from agent_runtime.ledger.statement import status_of
from agent_runtime.ledger.store import LedgerWriter
from agent_runtime.ledger.totals import CHECK, UsageTotal, grouping
from agent_runtime.ports.clock import Clock, clock_of
from agent_runtime.ports.commit import Commit, CommitFields, Timer
from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.ids import new_commit_id
from agent_runtime.ports.storage import Storage
from agent_runtime.time_zones import check_zone, load_zones
from agent_runtime.values.budget import Amount, LedgerEntry, run_budget_id
from agent_runtime.values.checks import check_seconds, check_text
from agent_runtime.values.context import ExecutionContext, execution_of
from agent_runtime.values.money import to_dollars
from agent_runtime.values.standing_budget import EACH, Budget, BudgetDecision, BudgetStatus
from llm_client.json_text import JsonValue
from llm_client.usage import Usage

_FLOORS: Final = 100
"""Counters that one commit lifts to what the ledger has: others wait for it."""


@after_the_journal()
class Ledger:
    """Keeps budgets, and reads and writes the append-only ledger.

    Inside a kernel's jobs everything here happens by itself; the methods are for code that spends on its own, and for
    people who look.

    Args:
        writer: Where entries, counters and budgets are kept.
        clock: What time it is; by default that of the storage.
    """

    def __init__(self, writer: LedgerWriter, *, clock: Clock | None = None) -> None:
        self.writer = writer
        self._clock = clock or clock_of(writer.storage)
        self.accounts = BudgetAccounts(writer.storage, self._clock)
        """What this process knows of budgets."""
        self._looked_at: tuple[datetime, str] | None = None
        """Where the last look at what waits for room has ended."""

    @property
    def storage(self) -> Storage:
        """Where everything is kept."""
        return self.writer.storage

    def set_budget(self, budget: Budget) -> None:
        """Let a budget hold in this process from now on; what counts against it is shared with all others.

        Raises:
            ConfigurationError: Its time zone is not known here.
        """
        check_zone(budget.timezone)
        self.accounts.registry.set(budget)
        self.accounts.line.call_everybody()

    def drop_budget(self, budget_id: str) -> bool:
        """Forget a budget that was set in this process; return whether there was one."""
        dropped = self.accounts.registry.drop(budget_id)
        self.accounts.line.call_everybody()
        return dropped

    async def save_budget(self, budget: Budget) -> None:
        """Store a budget for every process; within a second it holds for all of them.

        What the ledger already has of the current windows counts from the beginning.
        """
        await self.change_budgets(save=[budget])

    async def delete_budget(self, budget_id: str) -> None:
        """Delete a stored budget; what was counted against it stays, and counts when it is stored again."""
        await self.change_budgets(delete=[budget_id])

    async def change_budgets(self, *, save: Sequence[Budget] = (), delete: Sequence[str] = ()) -> None:
        """Store some budgets and delete others, by id: all of it or nothing.

        Raises:
            ConfigurationError: The time zone of one is not known here; nothing is stored.
        """
        await load_zones(budget.timezone for budget in save)
        stored = {budget.budget_id: budget for budget in await self.storage.standing_budgets()}
        begun = await added_up(openings(save, stored, self._clock.now()), self.storage)
        floors = [floor for opening in begun for floor in opening.floors]
        for first in range(0, len(floors), _FLOORS):
            await self._commit(floors=floors[first : first + _FLOORS])
        await self._commit(budgets=save, drop_budgets=delete, openings=begun)
        self.accounts.changed()

    async def budgets(self, *, scope_id: str | None = None) -> Sequence[Budget]:
        """Return the budgets that hold here: set in this process, or stored; of one scope if asked."""
        registry = self.accounts.registry
        registry.forget_stored()
        await registry.refresh(self.storage)
        return [budget for budget in registry.all() if scope_id in (None, budget.scope_id)]

    async def status(self, budget: Budget, context: ExecutionContext | None = None) -> BudgetStatus:
        """Return where a budget stands; `context` says whose, where each one has a budget of their own.

        Raises:
            InvalidInput: The budget is not about this context, or needs one.
        """
        await load_zones([budget.timezone])
        return await status_of(budget, self.storage, self._clock.now(), context)

    async def status_for(
        self,
        budget: Budget,
        *,
        scope_id: str | None = None,
        principal_id: str | None = None,
        session_id: str | None = None,
    ) -> BudgetStatus:
        """Return where a budget stands for those who are named; without lines where each one has a budget of their own, and nobody is."""
        own = (budget.scope_id, budget.principal_id, budget.session_id)
        if EACH not in own:
            return await self.status(budget)
        asked = (scope_id, principal_id, session_id)
        scope, principal, session = (
            named if whose == EACH else whose for whose, named in zip(own, asked, strict=True)
        )
        missing = (whose == EACH and named is None for whose, named in zip(own, asked, strict=True))
        if scope is None or any(missing):
            return BudgetStatus(budget=budget, lines=())
        context = ExecutionContext(scope_id=scope, principal_id=principal, session_id=session)
        return await self.status(budget, context)

    async def check_budget(
        self,
        context: ExecutionContext,
        pending_tokens: int = 0,
        pending_cost: Decimal | float | str | int = 0,
        *,
        pending_tool_calls: int = 0,
        model: str | None = None,
        provider: str | None = None,
    ) -> BudgetDecision:
        """Ask whether one more call, of about this size, fits every budget. Nothing is set aside."""
        found = await self.assess(
            context,
            pending_tokens,
            pending_cost,
            pending_tool_calls=pending_tool_calls,
            model=model,
            provider=provider,
        )
        return found.decision

    async def require_budget(
        self,
        context: ExecutionContext,
        pending_tokens: int = 0,
        pending_cost: Decimal | float | str | int = 0,
        *,
        pending_tool_calls: int = 0,
        model: str | None = None,
        provider: str | None = None,
    ) -> BudgetDecision:
        """Ask as `check_budget` does, record the answer in the ledger, and refuse where it is no.

        Raises:
            BudgetExceededError: A budget has no room.
        """
        found = await self.assess(
            context,
            pending_tokens,
            pending_cost,
            pending_tool_calls=pending_tool_calls,
            model=model,
            provider=provider,
        )
        asked: dict[str, JsonValue] = {"tokens": pending_tokens, "cost": str(pending_cost)}
        further = {"pending_tool_calls": pending_tool_calls, "model": model, "provider": provider}
        asked |= {name: value for name, value in further.items() if value}
        metadata = {"decision": found.decision.value, "reason": found.reason, "pending": asked}
        now = self._clock.now()
        check = entry(_new_id("chk"), CHECK, now, fields_of(context), metadata=metadata)
        await self._commit(ledger=[check])
        if found.decision is BudgetDecision.DENY:
            raise BudgetExceededError(found.reason)
        return found.decision

    async def assess(
        self,
        context: ExecutionContext,
        pending_tokens: int = 0,
        pending_cost: Decimal | float | str | int = 0,
        *,
        pending_tool_calls: int = 0,
        model: str | None = None,
        provider: str | None = None,
    ) -> Assessment:
        """Return the decision of `check_budget` with its reason."""
        asked = Amount(tokens=pending_tokens, cost=units_of(pending_cost), tool_calls=pending_tool_calls)
        check_amount(asked)
        check_said(model=model, provider=provider)
        pending = Amount(tool_calls=pending_tool_calls)
        if not pending_tool_calls or pending_tokens or pending_cost:
            pending += Amount(tokens=max(1, asked.tokens), cost=max(1, asked.cost), requests=1, turns=1)
        budgets = await self._applicable(context, model, provider)
        counters = await self.accounts.read(budgets, fresh=True)
        return assess(zip(budgets, counters, strict=True), pending)

    async def _applicable(
        self, context: ExecutionContext, model: str | None, provider: str | None
    ) -> list[ApplicableBudget]:
        await self.accounts.refresh()
        execution = execution_of(context)
        spender = Spender(
            scope_id=execution.scope_id,
            principal_id=execution.principal_id,
            session_id=execution.session_id,
        )
        found = self.accounts.registry.applicable(spender, self._clock.now(), model=model, provider=provider)
        return [*found, *await self._of_run(execution)]

    async def _of_run(self, execution: ExecutionContext) -> list[ApplicableBudget]:
        """Return the run's own budgets. A job spends by hand from what its model calls spend from: its chain's and its ancestors'."""
        job_id, scope_id = execution.job_id, execution.scope_id
        job = None if job_id is None else await self.storage.get_job(job_id, scope_id=scope_id)
        found = [] if job is None else [run_budget(one.budget_id, one.spec) for one in job.spends_from]
        if job is not None and execution.budgets in (None, job.budgets):
            return found
        run = execution.run_id if job_id is None else job_id if job is None else job.chain_id
        if execution.budgets is not None and run is not None:
            found.append(run_budget(run_budget_id(scope_id, run), execution.budgets))
        return found

    async def record_model_usage(
        self,
        context: ExecutionContext,
        usage: Usage,
        *,
        model: str | None = None,
        provider: str | None = None,
        entry_id: str | None = None,
        duration_ms: int | None = None,
    ) -> LedgerEntry:
        """Write down one model call that was not made in a job, and count it in every budget.

        Args:
            context: On whose behalf.
            usage: What the vendor billed.
            model: Which model.
            provider: Whose.
            entry_id: A name of your own; the same one is written and counted once.
            duration_ms: How long it took.
        """
        check_usage(usage)
        check_said(duration_ms=duration_ms, entry_id=entry_id, model=model, provider=provider)
        about: EntryFields = {"model": model, "provider": provider, "duration_ms": duration_ms}
        return await self._record(context, "model_usage", entry_id, spent(usage), about, usage_fields(usage))

    async def record_tool_usage(
        self,
        context: ExecutionContext,
        tool_name: str,
        *,
        cost: Decimal | float | str | int = 0,
        entry_id: str | None = None,
        duration_ms: int | None = None,
    ) -> LedgerEntry:
        """Write down one tool call that was not made in a job, and count it in every budget."""
        check_said(duration_ms=duration_ms, entry_id=entry_id, tool_name=tool_name)
        units = units_of(cost)
        amount, used = Amount(tool_calls=1, cost=units), UsageFields(cost=to_dollars(units))
        about: EntryFields = {"tool_name": tool_name, "duration_ms": duration_ms}
        return await self._record(context, "tool_usage", entry_id, amount, about, used)

    async def record_connector_usage(
        self,
        context: ExecutionContext,
        connector: str,
        *,
        cost: Decimal | float | str | int = 0,
        entry_id: str | None = None,
    ) -> LedgerEntry:
        """Write down one use of a source of data, and count its cost in every budget."""
        check_said(entry_id=entry_id, connector=connector)
        units = units_of(cost)
        used = UsageFields(cost=to_dollars(units), metadata={"connector": connector})
        return await self._record(context, "connector_usage", entry_id, Amount(cost=units), {}, used)

    async def _record(
        self,
        context: ExecutionContext,
        type_: str,
        entry_id: str | None,
        amount: Amount,
        about: EntryFields,
        used: UsageFields,
    ) -> LedgerEntry:
        check_amount(amount)
        budgets = await self._applicable(context, about.get("model"), about.get("provider"))
        whole: EntryFields = {**fields_of(context), **about}
        made = entry(entry_id or _new_id("use"), type_, self._clock.now(), whole, **used)
        charges = spend(budgets, amount)
        try:
            await self._commit(ledger=[made], charges=charges, unique_ledger=True)
        except AlreadySettled:
            return await entry_of(self.storage, made.entry_id, made.scope_id)
        return made

    async def reserve(
        self,
        context: ExecutionContext,
        *,
        tokens: int = 0,
        cost: Decimal | float | str | int = 0,
        requests: int = 1,
        tool_calls: int = 0,
        turns: int | None = None,
        model: str | None = None,
        provider: str | None = None,
        expires_in: float = 600.0,
    ) -> Reservation:
        """Set aside what a call may use at most, in every budget at once.

        Args:
            context: On whose behalf.
            tokens: Input and output at most.
            cost: US dollars at most.
            requests: Requests to a provider.
            tool_calls: Tool calls.
            turns: Answers of a model; by default one if there are requests.
            model: Which model.
            provider: Whose.
            expires_in: Seconds after which it counts as lost and is settled at its maximum, as `uncertain`.

        Raises:
            BudgetExceededError: A budget has no room.
            InvalidInput: Something is negative, or too large to be counted.
        """
        check_seconds("expires_in", expires_in, zero=False)
        check_said(model=model, provider=provider)
        amount = Amount(
            tokens=tokens,
            cost=units_of(cost),
            requests=requests,
            tool_calls=tool_calls,
            turns=int(requests != 0) if turns is None else turns,
        )
        check_amount(amount)
        budgets = await self._applicable(context, model, provider)
        for budget in budgets:
            enforced = None if budget.counted else budget.enforced
            if enforced is not None and enforced.exceeded_by(Amount(), amount):
                raise BudgetExceededError(f"budget {budget.display_name} allows no call of this size")
        counted = [budget for budget in budgets if budget.counted]
        made = Reservation(
            reservation_id=_new_id("rsv"),
            amount=amount,
            holds=tuple(Hold(budget.key, amount, budget.hard) for budget in counted),
            expires_at=self._clock.now() + timedelta(seconds=expires_in),
            about={**fields_of(context), "model": model, "provider": provider},
        )
        charges = [reserve(budget, amount) for budget in counted]
        try:
            await self._commit(charges=charges, set_timers=[made.timer])
        except BudgetRejected as error:
            said = next(budget.display_name for budget in counted if budget.budget_id == error.budget_id)
            raise BudgetExceededError(f"budget {said} has no room for this call") from error
        return made

    async def settle(self, reservation: Reservation, usage: Usage | None = None) -> LedgerEntry:
        """Turn a reservation into what was really used, with one ledger entry.

        Args:
            reservation: From `reserve`.
            usage: What was billed; `None` when the answer was lost: then the reserved maximum counts, as `uncertain`.

        Raises:
            AlreadySettled: It was settled or released before, or it has expired.
        """
        return await self._settle(reservation, usage)

    async def release(self, reservation: Reservation) -> None:
        """Give a reservation back: the call was not made.

        Raises:
            AlreadySettled: It was settled or released before, or it has expired.
        """
        charges = settle(reservation.holds, Amount())
        await self._commit(charges=charges, take_timers=[reservation.timer_key])

    async def expire(self, timer: Timer) -> None:
        """Settle a reservation that nobody has settled in time at its maximum; too late if somebody was faster."""
        try:
            await self._settle(Reservation.of_timer(timer), None)
        except AlreadySettled:
            return

    async def waits_with_room(self) -> Sequence[Timer]:
        """Return the waits of jobs that budgets have room for by now, as many as fit, first come first served.

        Where more wait than are looked at together, the next look goes on behind them, so that nobody's are never seen.
        """
        waiting = await self.storage.timers_named(BUDGET_TIMER, limit=MOST_WAITS, after=self._looked_at)
        last = waiting[-1] if len(waiting) == MOST_WAITS else None
        self._looked_at = None if last is None else (last.due_at, last.job_id)
        if not waiting:
            return []
        await self.accounts.refresh()
        return await with_room(waiting, self.accounts.registry, self.storage, self._clock.now())

    async def expire_reservations(self) -> int:
        """Settle every reservation that has expired; a running kernel does this by itself. Returns how many."""
        due = [
            timer
            for timer in await self.storage.due_timers(self._clock.now())
            if timer.type == RESERVATION_EXPIRED
        ]
        for timer in due:
            await self.expire(timer)
        return len(due)

    async def _settle(self, reservation: Reservation, usage: Usage | None) -> LedgerEntry:
        if usage is not None:
            check_usage(usage)
        lost = usage is None
        amount = reservation.amount if usage is None else spent(usage, if_unpriced=reservation.amount.cost)
        charges = settle(reservation.holds, None if lost else amount)
        settled: dict[str, JsonValue] = {}
        if usage is None or usage.cost is None:
            settled["settled"] = [
                [*hold.key, (hold.amount if lost else amount).to_dict()] for hold in reservation.holds
            ]
        values: UsageFields = (
            {
                "input_tokens": amount.tokens,
                "cost": to_dollars(amount.cost),
                "price_source": "reserved maximum",
                "metadata": settled,
            }
            if usage is None
            else usage_fields(usage, settled)
        )
        made = entry(
            reservation.reservation_id,
            "model_usage" if reservation.amount.requests else "tool_usage",
            self._clock.now(),
            cast("EntryFields", reservation.about),  # it was made of them
            uncertain=lost,
            **values,
        )
        take = [reservation.timer_key]
        await self._commit(ledger=[made], charges=charges, take_timers=take, unique_ledger=True)
        return made

    async def reconcile(self, entry_id: str, usage: Usage, *, scope_id: str | None = None) -> LedgerEntry:
        """Correct an entry whose truth was not known: one that is `uncertain`, or that had no price.

        The entry stays; the difference is a further one, with status `adjusted`, and moves the budgets' counters in the
        windows the call was counted in.

        Args:
            entry_id: The entry.
            usage: The truth.
            scope_id: Whose entry; other scopes' are not there. `None` is trusted code that knows the entry by its id.

        Raises:
            InvalidInput: There is no such entry, several scopes have one, or nothing about it is uncertain.
            AlreadySettled: It was corrected before.
        """
        check_usage(usage)
        made, charges = correction(await entry_of(self.storage, entry_id, scope_id), usage, self._clock.now())
        await self._commit(ledger=[made], charges=charges, unique_ledger=True)
        return made

    async def _commit(self, **parts: Unpack[CommitFields]) -> None:
        commit = Commit(at=self._clock.now(), **parts)
        await self.storage.commit(commit)
        self.accounts.charged(commit.charges)

    async def entries(
        self,
        *,
        after: LedgerEntry | str | None = None,
        limit: int = PAGE,
        **filters: Unpack[EntryFilters],
    ) -> Sequence[LedgerEntry]:
        """Return entries in the order they were written; `after` is the last entry of the page before, or its id.

        Raises:
            InvalidInput: There is no entry with the id in `after`, or several scopes have one and none is named.
        """
        if isinstance(after, str):
            after = await entry_of(self.storage, after, filters.get("scope_id"))
        return await page_of(self.storage, filters, after, limit)

    async def total(self, **filters: Unpack[EntryFilters]) -> UsageTotal:
        """Add up the entries that match the filters of `entries`."""
        totals = await totals_of(self.storage, filters, lambda _: "")
        return totals.get("", UsageTotal())

    async def costs(
        self, by: str = "model", *, timezone: str = "UTC", **filters: Unpack[EntryFilters]
    ) -> Mapping[str, UsageTotal]:
        """Add up the entries that match the filters of `entries`, group by group.

        Args:
            by: `scope`, `principal`, `session`, `model`, `provider`, `agent`, `tool`, `job` or `day`.
            timezone: In which days begin.
            **filters: As in `entries`.

        Raises:
            InvalidInput: Nothing can be grouped by this.
        """
        check_text("timezone", timezone)
        await load_zones([timezone])
        return dict(sorted((await totals_of(self.storage, filters, grouping(by, timezone))).items()))


def _new_id(prefix: str) -> str:
    """Return the name of an entry; unlike that of a job it is drawn without asking the system for chance each time."""
    return f"{prefix}-{new_commit_id()}"
