"""What becomes of due times: each is fired, coalesced into a newer one, or missed, and nothing else.

Whether one that is to be fired is skipped after all (an earlier run goes on, a check found no news, a pause, a budget of
wakes) is decided by who fires it, for that due time alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from agent_runtime.schedules.timing import Timing, count_within, first_within, last_within, next_after
from agent_runtime.values.checks import check_choice, check_seconds, check_time, check_whole

CatchUp = Literal["none", "last", "all"]
"""What to do about due times that nobody was there for."""
Outcome = Literal["fired", "coalesced", "missed"]
"""What becomes of a due time: it is to be fired now, a newer one stands for it, or nothing happens for it."""
Reason = Literal["on_time", "caught_up", "newer_one", "no_catch_up", "outside_window", "over_cap"]
"""Why: `fired` is `on_time` within the grace and `caught_up` after it, `coalesced` because a `newer_one` is fired, `missed`
because the policy has `no_catch_up`, it is `outside_window`, or `over_cap`."""

MAX_CAP: Final = 500
"""Due times that can be fired at once."""
_CATCH_UPS: Final = ("none", "last", "all")
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What becomes of due times that come to be seen late: after a stop, a suspended machine, or a busy moment.

    Raises:
        InvalidInput: A field has a value it cannot have; it names the field.
    """

    catch_up: CatchUp = "last"
    """`none`: only the newest is fired, and only within `grace`. `last`: the newest is fired, and stands for the older ones of
    the window. `all`: each of the window is fired, oldest first, or the newest of them where there are more than `cap`."""
    window: float = 3600.0
    """Seconds after which a due time is not caught up any more; never less than `grace`. Without meaning for `none`."""
    cap: int = 100
    """Due times that `all` fires at once, from 1 to 500."""
    grace: float = 60.0
    """Seconds by which a due time can be late and counts as on time."""

    def __post_init__(self) -> None:
        check_choice("catch_up", self.catch_up, _CATCH_UPS)
        check_seconds("window", self.window)
        check_whole("cap", self.cap, least=1, most=MAX_CAP)
        check_seconds("grace", self.grace)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRange:
    """Due times that follow each other and end the same way, in UTC."""

    first_due: datetime
    last_due: datetime
    count: int
    """How many; one, where it is fired. Exact, unless a range of a cron expression is longer than a hundred calendar years:
    then those of its first hundred."""
    outcome: Outcome
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What becomes of the due times up to now, oldest first, and when the next one is."""

    outcomes: tuple[DueRange, ...]
    """Ranges without overlap: at most two, then what is to be fired, one by one."""
    next_due: datetime | None
    """The first due time after now; `None` if there is none any more."""


def plan(timing: Timing, policy: Policy, due: datetime, now: datetime) -> Plan:
    """Decide what becomes of every due time from `due` to `now`, both included; each is in exactly one of the outcomes.

    It reads no clock and stores nothing: asked the same, it says the same. To ask again with its `next_due` leaves nothing out
    and has nothing twice. Time and rows are bounded however far `now` is: long ranges are counted, not walked through.

    Args:
        timing: Whose zone was loaded, as for `next_after`.
        policy: What to do about those that are late.
        due: The stored next due time, which nothing was decided about. If it is after `now`, there is nothing to decide,
            even if a clock was put back.
        now: What time it is.
    """
    check_time("due", due)
    check_time("now", now)
    if due > now:
        return Plan(outcomes=(), next_due=due)
    fired = _fired(timing, policy, due, now)
    until = fired[0] if fired else now + _TICK
    ranges = (
        *_left(timing, policy, due, until, now),
        *(_one(moment, now - moment <= timedelta(seconds=policy.grace)) for moment in fired),
    )
    return Plan(outcomes=ranges, next_due=next_after(timing, now))


def _fired(timing: Timing, policy: Policy, due: datetime, now: datetime) -> list[datetime]:
    """Return what is to be fired, oldest first."""
    start = max(due, _oldest(policy, now))
    most = policy.cap if policy.catch_up == "all" else 1
    found: list[datetime] = []
    end = now + _TICK
    while len(found) < most:
        newest = last_within(timing, start, end)
        if newest is None:
            break
        found.append(newest)
        end = newest
    return found[::-1]


def _left(
    timing: Timing, policy: Policy, due: datetime, until: datetime, now: datetime
) -> Iterator[DueRange]:
    """Yield what becomes of those from `due` on that are before what is fired."""
    if policy.catch_up == "none":
        yield from _range(timing, due, until, "missed", "no_catch_up")
        return
    oldest = _oldest(policy, now)
    yield from _range(timing, due, min(oldest, until), "missed", "outside_window")
    if policy.catch_up == "last":
        yield from _range(timing, max(due, oldest), until, "coalesced", "newer_one")
    else:
        yield from _range(timing, max(due, oldest), until, "missed", "over_cap")


def _oldest(policy: Policy, now: datetime) -> datetime:
    """Return from when on a due time can be fired."""
    seconds = policy.grace if policy.catch_up == "none" else max(policy.window, policy.grace)
    return now - timedelta(seconds=seconds)


def _range(
    timing: Timing, start: datetime, end: datetime, outcome: Outcome, reason: Reason
) -> Iterator[DueRange]:
    """Yield the due times in `[start, end)` as one, if there are any."""
    first, last = first_within(timing, start, end), last_within(timing, start, end)
    if first is not None and last is not None:
        yield DueRange(
            first_due=first,
            last_due=last,
            count=count_within(timing, start, end),
            outcome=outcome,
            reason=reason,
        )


def _one(moment: datetime, on_time: bool) -> DueRange:
    reason: Reason = "on_time" if on_time else "caught_up"
    return DueRange(first_due=moment, last_due=moment, count=1, outcome="fired", reason=reason)
