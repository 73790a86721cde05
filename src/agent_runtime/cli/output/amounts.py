"""Numbers as people read them: money, tokens, durations, moments."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

_TINY: Final = Decimal("0.001")
"""Dollars below which every place counts, down to the last that the ledger keeps."""


def money(cost: Decimal | None) -> str:
    """Return dollars with as many places as small amounts need."""
    if cost is None:
        return "no price"
    if cost == 0:
        return "$0"
    if cost >= 100:
        return f"${cost:,.2f}"
    if abs(cost) >= _TINY:
        return f"${cost:,.6f}"
    whole, _, places = f"{cost:.10f}".partition(".")
    return f"${whole}.{places.rstrip('0'):0<6}"


def spent(cost: Decimal, *, unpriced: int, of: int) -> str:
    """Return what some requests have cost, of which a few have no known price: an unknown price is not nothing."""
    if not unpriced:
        return money(cost)
    return money(None) if unpriced >= of else f"≥ {money(cost)}"


def counted(number: int, what: str, many: str | None = None) -> str:
    """Return a number of things: `1 job`, `2 jobs`; `many` where no s makes a plural."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {many or f'{what}s'}"


def tokens(count: int) -> str:
    """Return a number of tokens."""
    return f"{count:,}"


def seconds(duration: timedelta | float | None) -> str:
    """Return a duration, exact where it is short."""
    if duration is None:
        return "–"
    total = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if total < 60:
        return f"{total:.2f} s"
    minutes, rest = divmod(round(total), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def moment(at: datetime | None) -> str:
    """Return a moment in the local time zone."""
    return "–" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
