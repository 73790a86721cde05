"""What a run does about an error that has left its operator and is not the job's own: it waits, or is blocked."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.operations.failed_at import failed_at
from agent_runtime.execution.operations.failures import describe_failure
from agent_runtime.execution.outages import Outage, is_outage, to_mend
from agent_runtime.execution.reopening import Reopening, reopening, sleeps_again
from agent_runtime.jobs.manager import RETRY_TIMER
from agent_runtime.ports.commit import JobChange, NewEvent, Timer
from agent_runtime.values.event import RuntimeEventType
from agent_runtime.values.job import JobStatus
from llm_client.logs import logger_of
from llm_client.public_text import public_text, text_of

logger = logger_of(__name__)


async def block_or_retry(run: JobRun, task: asyncio.Task[object]) -> bool:
    """Give a job up that is to go on later, with the operation that failed done anew; return whether it is.

    It is not when what failed is the job's own failure, or cannot be done anew because effects have followed it.

    Raises:
        SignalsPending: A signal has arrived meanwhile.
    """
    error = None if task.cancelled() else task.exception()
    if not isinstance(error, Exception):
        return False
    cut = reopening(run.history, failed_at(error))
    if cut.in_the_way:
        return False
    broken = to_mend(error)
    if broken is not None:
        await _block(run, *broken, cut)
        return True
    return await _wait(run, error, cut)


async def _block(run: JobRun, what: str, code: str, cut: Reopening) -> None:
    reason = public_text(what)
    logger.error("job %s is blocked: %s", run.job_id, reason)
    events = [
        NewEvent(RuntimeEventType.JOB_RETRIED, None, cut.told()),
        NewEvent(RuntimeEventType.JOB_BLOCKED, None, {"reason": reason, "code": code}),
    ]
    services = run.services
    change = services.abilities.blocking(run.job, reason, code, services.clock.now())
    timers = list(sleeps_again(run.history, cut.timers, run.job_id))
    async with run.journal.final_turn():
        await run.journal.final_commit(events, job=change, set_timers=timers, require_no_signals=True)


async def _wait(run: JobRun, error: Exception, cut: Reopening) -> bool:
    policy, now = run.retry, run.services.clock.now()
    if not is_outage(error, policy):
        return False
    following = Outage.of(run.history.outage, now).after(error, policy, now)
    if following is None:
        return False
    outage, wanted = following
    due = run.services.outages.slot(wanted, now, run.job.scope_id)
    logger.warning("job %s tries again at %s: %s", run.job_id, f"{due:%H:%M:%S}", text_of(error))
    events = [
        NewEvent(RuntimeEventType.JOB_RETRIED, None, _told(error, cut, outage, due)),
        NewEvent(RuntimeEventType.JOB_SUSPENDED, None, {"waits": ["retry"]}),
    ]
    timer = Timer(run.job_id, RETRY_TIMER, due, RuntimeEventType.JOB_RETRY_REQUESTED)
    timers = [timer, *sleeps_again(run.history, cut.timers, run.job_id)]
    async with run.journal.final_turn():
        await run.journal.final_commit(
            events,
            job=JobChange(status=JobStatus.WAITING, release=True),
            set_timers=timers,
            require_no_signals=True,
        )
    return True


def _told(error: Exception, cut: Reopening, outage: Outage, due: datetime) -> dict[str, Any]:
    failure = describe_failure(error)
    said: dict[str, Any] = {
        name: failure[name] for name in ("error", "error_code", "error_type") if name in failure
    }
    return {**cut.told(), **outage.told(), "due_at": due.isoformat(), **said}
