"""Money: `Decimal` US dollars at the edges, whole 10⁻¹⁰ dollars inside.

Integers add up exactly on every storage; SQLite's NUMERIC does not (3 × 0.1 > 0.3 there).
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

UNITS_PER_DOLLAR = 10**10
MAX_DOLLARS = 100_000_000
"""The largest amount a limit may be; in units it fits 64 bits with room to add."""
_SCALE = Decimal(UNITS_PER_DOLLAR)


def as_decimal(value: Decimal | float | str | int) -> Decimal:
    """Return exact dollars; a float counts as the text it prints as, so 0.1 is one tenth."""
    return value if isinstance(value, Decimal) else Decimal(str(value))


def to_units(dollars: Decimal | float | str | int) -> int:
    """Return dollars as whole units, rounded up so that nothing is ever under-counted."""
    return int((as_decimal(dollars) * _SCALE).to_integral_value(rounding=ROUND_CEILING))


def to_dollars(units: int) -> Decimal:
    """Return units as dollars."""
    return Decimal(units) / _SCALE
