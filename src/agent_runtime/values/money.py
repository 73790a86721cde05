"""Money: `Decimal` US dollars at the edges, whole 10⁻¹⁰ dollars inside.

Integers add up exactly on every storage; SQLite's NUMERIC does not (3 × 0.1 > 0.3 there).
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Final, overload

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

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


class Dollars:
    """The declared type of a dataclass's field that holds dollars; its default is `None`.

    A type checker takes from it that the field reads as `Decimal | None` and that `"1.00"` may be given. At run time the
    slot of the dataclass stands in its place, and `__post_init__` converts.
    """

    @overload
    def __get__(self, instance: None, owner: type) -> None: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Decimal | None: ...
    def __get__(self, instance: object | None, owner: type) -> Decimal | None:
        """Return the field's default."""
        return None

    def __set__(self, instance: object, value: Decimal | float | str | None) -> None:
        """Say what may be given; never called."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(Decimal | None)


NO_LIMIT: Final = Dollars()
"""The default."""
