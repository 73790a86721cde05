"""langgraph #6718 and #6598: values of a type (dates, decimals, enumerations) were text after a run was resumed.

The symptom: code that had worked with a `Decimal` got `"12.50"` when the process had died in between, and `price * 2` was
`"12.5012.50"`; comparisons with an enumeration were false from then on.
"""

import enum
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from agent_runtime import ExecutionRequest, OperatorContext
from support.kernels import BOUND, kernel, opened, status_becomes

pytestmark = pytest.mark.timeout(BOUND * 3)


class Status(enum.Enum):
    PAID = "paid"


def price() -> Decimal:
    return Decimal("12.50")


def status() -> Status:
    return Status.PAID


def due() -> datetime | None:
    return datetime(2026, 1, 1, tzinfo=UTC)


def receipts() -> dict[UUID, bytes]:
    return {UUID(int=1): b"\xff"}


async def invoice(context: OperatorContext, given: object) -> list[object]:
    cost, state = await context.step(price), await context.step(status)
    when, files = await context.step(due), await context.step(receipts)
    await context.sleep(0.3)
    assert when is not None
    return [str(cost * 2), state is Status.PAID, when.year, files[UUID(int=1)].hex()]


async def test_values_keep_their_types_in_the_process_that_goes_on(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as storage, kernel(storage, operators=[invoice]) as first:
        handle = await first.execute(ExecutionRequest(operator="invoice"))
        await status_becomes(handle, "sleeping")
    async with opened("sqlite", tmp_path) as storage, kernel(storage, operators=[invoice]) as second:
        result = await second.handle(handle.job_id).result()
    assert result.output == ["25.00", True, 2026, "ff"]
