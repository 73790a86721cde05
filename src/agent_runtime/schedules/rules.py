"""What a schedule does with its due times, and what is asked before it fires."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, Literal

from agent_runtime.errors import InvalidInput
from agent_runtime.schedules.planning import Policy
from agent_runtime.values.checks import MAX_COUNT, check_choice, check_whole
from llm_client.json_text import JsonObject, JsonValue

Overlap = Literal["skip", "queue", "parallel"]
_OVERLAPS: Final = ("skip", "queue", "parallel")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRules(Policy):
    """What becomes of due times: of those that are seen late, and of those that come while an earlier one goes on.

    Raises:
        InvalidInput: A field has a value it cannot have; it names the field.
    """

    overlap: Overlap = "skip"
    """What a due time does while what the schedule has started last goes on: `skip` it, `queue` until that has ended, or start in
    `parallel`. Of messages, one goes on until it is received."""
    max_per_day: int | None = None
    """How often it may fire in a day of its time zone; what is beyond is skipped. What a day may cost is said by a budget."""

    def __post_init__(self) -> None:
        Policy.__post_init__(self)  # `super()` does not know this class, which its slots have made anew
        check_choice("overlap", self.overlap, _OVERLAPS)
        if self.max_per_day is not None:
            check_whole("max_per_day", self.max_per_day, most=MAX_COUNT)

    def to_json(self) -> dict[str, JsonValue]:
        """Return what is not as it is by default, as JSON values."""
        said = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in said.items() if value != default}

    @classmethod
    def from_json(cls, data: JsonObject) -> ScheduleRules:
        """Build from what `to_json` gave, or what somebody wrote like it.

        Raises:
            InvalidInput: As for rules, or there is a field that they do not have.
        """
        known = [field.name for field in fields(cls)]
        if any(name not in known for name in data):
            raise InvalidInput(f"rules of a schedule have the fields {', '.join(known)}")
        given: dict[str, Any] = {name: value for name, value in data.items() if value is not None}
        return cls(**given)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueTime:
    """A time at which a schedule is due, as a check is told of it."""

    scope_id: str
    schedule_id: str
    due_at: datetime
    last_id: str | None
    """The job or message that the schedule has started last."""


Check = Callable[[DueTime], bool | Awaitable[bool]]
"""Says whether there is reason to fire. It reads, and changes nothing: after a crash it is asked again. One that is no
coroutine function is called in a thread."""
