"""The ids of rows that tell of a job: the same whenever and by whomever they are written."""

from __future__ import annotations

from typing import Final
from uuid import UUID, uuid5

from agent_runtime.ports.ids import new_id

_SPACE: Final = UUID("5f2d9c1e-6b0a-5a5e-9d3b-7f2c0f4f6a11")


def new_row() -> str:
    """Return the id of a row that tells of nothing but itself."""
    return str(uuid5(_SPACE, new_id("row")))


def run_row(job_id: str) -> str:
    """Return the id of the row of a job's run."""
    return str(uuid5(_SPACE, job_id))


def step_row(job_id: str, operation_id: str) -> str:
    """Return the id of the row of a step or a tool's call: a retried job has operations of the same id as the one before it."""
    return str(uuid5(_SPACE, f"{job_id}:{place_of(operation_id)}"))


def call_row(job_id: str, operation_id: str, attempt: int) -> str:
    """Return the id of the row of one attempt to ask a model."""
    return call_row_of(f"{job_id}:{place_of(operation_id)}#{attempt}")


def call_row_of(entry_id: str) -> str:
    """Return the id of the row of the attempt that an entry of the ledger tells of."""
    return str(uuid5(_SPACE, entry_id))


def place_of(operation_id: str) -> str:
    """Return the place of an operation in its job."""
    return operation_id.partition(":")[2]
