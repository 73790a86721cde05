"""Which operation a failure comes from: the innermost one that failed, when its error leaves the operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

_OPERATION: Final = "_agent_runtime_operation"


def note_failure(error: BaseException, operation_id: str) -> None:
    """Remember on an error which operation it is the failure of, unless one inside of that has said so.

    What it says of anything else is forgotten: code may raise one error object many times.
    """
    if not (operation_of(error) or "").startswith(f"{operation_id}."):
        with suppress(
            AttributeError
        ):  # an exception with slots of its own tells nothing, which loses nothing
            setattr(error, _OPERATION, operation_id)


class failure_of:  # noqa: N801 -- a context manager, written out because every operation enters one
    """Note failures that leave an operation."""

    __slots__ = ("_operation_id",)

    def __init__(self, operation_id: str) -> None:
        self._operation_id = operation_id

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            note_failure(error, self._operation_id)


def operation_of(error: BaseException) -> str | None:
    """Return the operation that an error is the failure of, not that of its cause."""
    found: str | None = getattr(error, _OPERATION, None)
    return found


def failed_at(error: BaseException | None) -> str | None:
    """Return the operation whose failure left the operator, as itself or as a cause; `None` when it was none."""
    found = None
    for each in causes(error):
        found = operation_of(each) or found
    return found


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was explicitly raised from, outermost first.

    What it merely was raised beside, while another was handled, is the code's own decision.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__
