"""Recording how far budgets are used up, when what a step has cost is written."""

from __future__ import annotations

from collections.abc import Sequence

from agent_runtime.errors import BudgetRejected
from agent_runtime.execution.job_run import JobRun
from agent_runtime.ledger.reservations import ApplicableBudget
from agent_runtime.ledger.stages import ThresholdCrossing
from agent_runtime.ports.commit import NewEvent
from agent_runtime.values.event import RuntimeEventType
from llm_client.logs import logger_of

logger = logger_of(__name__)


async def record_crossings(run: JobRun, operation_id: str, budgets: Sequence[ApplicableBudget]) -> None:
    """Write down which stages the spending of budgets has come to, each once per window.

    What counts is what stands in the counters, not what this step has added: what a process that has died could not
    record is recorded by the next settlement.
    """
    for crossing in await run.budgets.crossings(budgets):
        warned = NewEvent(RuntimeEventType.BUDGET_WARNED, operation_id, _about(crossing))
        try:
            await run.journal.commit([warned], charges=[crossing.latch])
        except BudgetRejected:
            logger.debug("somebody has recorded %s before", crossing.key)
        run.budgets.note_recorded(crossing)


def _about(crossing: ThresholdCrossing) -> dict[str, str | int]:
    budget = crossing.budget
    return {
        "budget": budget.label or budget.budget_id,
        "window": budget.window,
        "stage": crossing.stage,
        "quantity": crossing.dimension,
        "used": crossing.used,
        "limit": crossing.limit,
    }
