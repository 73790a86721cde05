"""Fields of values that hold dollars: read as `Decimal`, given as whatever a person writes."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, overload

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


class Dollars:
    """The declared type of such a field of a dataclass; its default is `None`.

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
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(Decimal | None)


NO_LIMIT: Final = Dollars()
"""The default."""
