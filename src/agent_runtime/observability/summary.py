"""What a run's calls come to, added up one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

MAX_ERRORS: Final = 10
"""Failures that a summary names."""
MAX_AGENTS: Final = 200
"""Agents that a summary tells apart."""
_OTHERS: Final = "others"
_TOKENS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
_OF_AN_AGENT: Final = (
    "total_calls",
    "successful_calls",
    "failed_calls",
    "repair_calls",
    "total_tokens",
)
_SECONDS: Final = "total_duration_seconds"
_OF_AN_ERROR: Final = ("agent", "error_type")
_LONGEST_NAME: Final = 600
_MOST: Final = 10**15
"""Of anything that is added up."""
_COUNTS: Final = (
    "last_call", "total_calls", "successful_calls", "failed_calls", "cancelled_calls", "repair_calls", "lost_calls",
    "calls_without_content", "iterations",
)  # fmt: skip


class Summary:
    """The sums over the files of a run, up to the one whose number is `last_call`."""

    def __init__(self, written: Mapping[str, object] | None = None) -> None:
        found = written or {}
        self.counts = {name: _whole(found.get(name)) for name in _COUNTS}
        self.tokens = {name: _whole(found.get(name)) for name in _TOKENS}
        self.seconds = _seconds(found.get("total_duration_seconds"))
        self.cost = _money(found.get("cost"))
        self.unpriced = _whole(found.get("unpriced_calls"))
        known = [(name, sums) for name, sums in _items(found.get("agents")) if isinstance(sums, Mapping)]
        self.agents: dict[str, dict[str, Any]] = {
            _name(name): _sums(sums) for name, sums in known[: MAX_AGENTS + 1]
        }
        errors = found.get("errors")
        self.errors: list[Any] = [
            {"call": _whole(error.get("call")), **{key: _name(error.get(key)) for key in _OF_AN_ERROR}}
            for error in (errors[:MAX_ERRORS] if isinstance(errors, list) else ())
            if isinstance(error, Mapping)
        ]

    @property
    def last_call(self) -> int:
        """The number up to which files are added up."""
        return self.counts["last_call"]

    @property
    def status(self) -> str:
        """`succeeded`, `failed` or `partial`; `empty` before the first call."""
        counts = self.counts
        if not counts["total_calls"]:
            return "empty"
        if counts["successful_calls"] == counts["total_calls"]:
            return "succeeded"
        return "partial" if counts["successful_calls"] else "failed"

    def add(self, number: int, call: Mapping[str, object]) -> None:
        """Add what a file says."""
        counts, status = self.counts, call.get("status")
        counts["last_call"] = max(number, counts["last_call"])
        counts["total_calls"] += 1
        counts["successful_calls"] += status == "succeeded"
        counts["failed_calls"] += status == "failed"
        counts["cancelled_calls"] += status == "cancelled"
        counts["repair_calls"] += bool(_whole(call.get("repair_attempts")))
        counts["calls_without_content"] += bool(call.get("content_dropped"))
        counts["iterations"] = max(counts["iterations"], _whole(call.get("iteration")) + 1)
        for name in _TOKENS:
            self.tokens[name] += _whole(call.get(name))
        seconds = _seconds(call.get("duration_seconds"))
        self.seconds += seconds
        cost = call.get("cost")
        if cost is not None:
            self.cost += _money(cost)
        elif status == "succeeded":
            self.unpriced += 1
        self._add_to_agent(_name(call.get("agent_name")), call, seconds)
        if status == "failed" and len(self.errors) < MAX_ERRORS:
            what = _name(call.get("error_type")) or "failed"
            self.errors.append({"call": number, "agent": _name(call.get("agent_name")), "error_type": what})

    def _add_to_agent(self, name: str, call: Mapping[str, object], seconds: float) -> None:
        if name not in self.agents and len(self.agents) >= MAX_AGENTS:
            name = _OTHERS
        sums = self.agents.setdefault(name, {})
        added = {
            "total_calls": 1,
            "successful_calls": int(call.get("status") == "succeeded"),
            "failed_calls": int(call.get("status") == "failed"),
            "repair_calls": int(bool(_whole(call.get("repair_attempts")))),
            "total_tokens": _whole(call.get("input_tokens")) + _whole(call.get("output_tokens")),
        }
        for key, amount in added.items():
            sums[key] = _whole(sums.get(key)) + amount
        sums["total_duration_seconds"] = round(_seconds(sums.get("total_duration_seconds")) + seconds, 3)

    def document(self, facts: Mapping[str, str]) -> dict[str, object]:
        """Return it as it is written.

        Args:
            facts: What else is to be told: the run, the time, how it is logged.
        """
        tokens = self.tokens
        return {
            **facts,
            "status": self.status,
            **self.counts,
            **tokens,
            "prompt_tokens": tokens["input_tokens"],
            "completion_tokens": tokens["output_tokens"],
            "total_tokens": tokens["input_tokens"] + tokens["output_tokens"],
            "cost": str(self.cost),
            "unpriced_calls": self.unpriced,
            "total_duration_seconds": round(self.seconds, 3),
            "agents": self.agents,
            "errors": self.errors,
        }


def _sums(found: Mapping[Any, object]) -> dict[str, Any]:
    """Return an agent's sums as they are written: whatever else a file holds may be anything, of any size."""
    sums: dict[str, Any] = {key: _whole(found.get(key)) for key in _OF_AN_AGENT}
    return sums | {_SECONDS: _seconds(found.get(_SECONDS))}


def _name(value: object) -> str:
    return value[:_LONGEST_NAME] if isinstance(value, str) else ""


def _items(value: object) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, Mapping) else ()


def _whole(value: object) -> int:
    is_one = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST
    return value if is_one and isinstance(value, int) else 0


def _seconds(value: object) -> float:
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MOST
    return float(value) if is_one and isinstance(value, int | float) else 0.0


def _money(value: object) -> Decimal:
    """Return an amount as it is written: a text."""
    try:
        amount = Decimal(value) if isinstance(value, str) and len(value) <= _LONGEST_NAME else Decimal(0)
    except InvalidOperation:
        return Decimal(0)
    return amount if amount.is_finite() and abs(amount) <= _MOST else Decimal(0)
