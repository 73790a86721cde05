"""Who adds to a family looks at its head: a job is not born into a family that ends without being told.

A parent's end asks the children it finds to stop. One that is created at the same moment – by the parent, or by a
child that goes on as a new job – would be missed. So the commit that creates it locks the parent's row, and carries the
request itself when the parent has ended or is asked to stop; an end that comes later locks the row too, and finds it.
"""

from __future__ import annotations

from agent_runtime.ports.commit import Signal
from agent_runtime.values.event import RuntimeEventType
from agent_runtime.values.job import TERMINAL, JobRecord

PARENT_HAS_ENDED = "its parent has ended"


def parent_of(job: JobRecord) -> str | None:
    """Return the parent whose end a new job must not miss.

    Jobs that are driven by hand hear no requests, and one that is to be kept gets none.
    """
    is_told = job.operator is not None and job.status.is_active and job.on_parent_end == "cancel"
    return job.parent_job_id if is_told else None


def stop_with(parent_id: str, job_id: str, *, status: str | None, is_stopping: bool) -> Signal | None:
    """Return the request that a new job is born with.

    Args:
        parent_id: Its parent.
        job_id: The new job.
        status: The parent's, `None` when it has been forgotten, which happens long after its end.
        is_stopping: Whether a request to stop waits for the parent.
    """
    if status is None or status in TERMINAL:
        reason = PARENT_HAS_ENDED
    elif is_stopping:
        reason = "its parent is asked to stop"
    else:
        return None
    signal_id = f"{parent_id}:cancel:{job_id}"
    return Signal(signal_id, job_id, RuntimeEventType.JOB_CANCEL_REQUESTED, None, {"reason": reason})
