"""What steps return, as content of the journal and back through the declared type.

A step's value is read back from its content the first time already, so that the first run and every resume see the
same: equal, and of the same types. What would come back as something else is refused, with the remedy.
"""

from __future__ import annotations

import contextlib
import inspect
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from agent_runtime.errors import ContentTooLarge, InvalidInput, ResultNotSerializable
from agent_runtime.execution.operations.annotations import readable, returned, underlying
from agent_runtime.execution.operations.tagged import tag, tag_plain, untag
from agent_runtime.values.content import content_aside, decode, encode, json_text
from llm_client.json_text import MOST_ALIKE, has_alike
from llm_client.public_text import text_of
from llm_client.tools.schema import describe_problems
from llm_client.turns import read_aside

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_SCALARS: Final = (str, int, float, bool)
_UNTYPED: Final = (Any, object, None, type(None), inspect.Signature.empty, typing.NoReturn, typing.Never)
"""Annotations that say nothing about the value; what a function returns that is said to return nothing is kept too."""

_LEAVES: Final = frozenset({*_SCALARS, bytes, Decimal, datetime, date, time, timedelta, UUID})
_PLAIN: Final = "$plain"
"""Marks JSON values that are not of the declared type."""
_MODES: Final[tuple[Literal["python", "json"], ...]] = ("python", "json")
"""Only the first keeps the types of the leaves; sets of models need the second."""


class ResultType:
    """The type that a function says it returns, or its lack.

    Args:
        declared: The annotation; `Any` when there is none.
    """

    def __init__(self, declared: object) -> None:
        self.declared = declared
        self._adapter = None if declared in _UNTYPED or declared in _SCALARS else _adapter_of(declared)
        self._enums = {} if self._adapter is None else _enums_in(self._adapter.core_schema)

    @property
    def is_declared(self) -> bool:
        """Whether values are read back as a type; otherwise they are JSON values."""
        return self._adapter is not None or self.declared in _SCALARS

    def write(self, value: object) -> tuple[bytes, object]:
        """Return a value as content, and as it will be read on a resume.

        JSON values that the declared type does not take are kept as they are: the function has done its work, and JSON
        tells their types by itself.

        Raises:
            ResultNotSerializable: The value would not come back as what it is.
            ContentTooLarge: It is longer than a journal's entry may be.
        """
        if type(value) is self.declared and self.declared in (str, bool):
            return encode(value), value
        if not self.is_declared:
            return self._write_plain(value)
        written, problem = self._write_typed(value)
        if written is not None:
            return written
        with contextlib.suppress(ResultNotSerializable, RecursionError):
            content = encode({_PLAIN: tag_plain(value)})
            return content, self.read(content)
        raise ResultNotSerializable(self._refusal(value, problem))

    async def write_aside(self, value: object) -> tuple[bytes, object]:
        """As `write`; a large value in a thread, so that others go on meanwhile."""
        return await read_aside(value, lambda: self.write(value))

    async def read_aside(self, content: bytes | None) -> object:
        """As `read`; large content in a thread."""
        return await content_aside(content, lambda: self.read(content))

    def _write_typed(self, value: Any) -> tuple[tuple[bytes, Any] | None, Exception | None]:
        """Return a value as content and as it is read back as the declared type, or why that is not possible."""
        problem: Exception | None = None
        for mode in _MODES:
            try:
                content = encode(tag(self._dump(value, mode)))
                as_read = self.read(content)
                if self._is_same(value, as_read):
                    return (content, as_read), None
            except ContentTooLarge:
                raise
            except Exception as error:  # noqa: BLE001 -- whatever the type's own code raises
                problem = problem or error
        return None, problem

    def _write_plain(self, value: Any) -> tuple[bytes, Any]:
        try:
            content = encode(tag_plain(value))
        except RecursionError as error:
            raise ResultNotSerializable("not JSON: nested too deeply, or a circle") from error
        except ResultNotSerializable as error:
            raise ResultNotSerializable(
                f"{error}; say what the function returns (`-> …`), so that it can be read back as that"
            ) from error
        return content, untag(decode(content))

    def _dump(self, value: Any, mode: Literal["json", "python"]) -> Any:
        if self._adapter is None:
            return value
        return self._adapter.dump_python(value, mode=mode, round_trip=True, by_alias=False, warnings=False)

    def read(self, content: bytes | None) -> object:
        """Return a recorded value.

        Raises:
            ValueError: It is not of the declared type.
        """
        written = None if content is None else decode(content)
        if isinstance(written, dict) and written.keys() == {_PLAIN}:
            return untag(written[_PLAIN])
        return self.accept(untag(written, self._enums))

    def accept(self, value: object) -> object:
        """Return a value as the declared type, as a person may have written it, say.

        Raises:
            ValueError: It is not of the declared type.
        """
        if self.declared in _SCALARS:
            if type(value) is self.declared:
                return value
            return _adapter_for_scalar(self.declared).validate_python(value)
        if self._adapter is None:
            return value
        from pydantic import ValidationError
        from pydantic_core import to_json

        try:
            return self._adapter.validate_python(value, by_alias=True, by_name=True)
        except ValidationError:
            with contextlib.suppress(Exception):  # strict types take dictionaries for objects from JSON alone
                return self._adapter.validate_json(to_json(value), by_alias=True, by_name=True)
            raise

    def write_told(self, given: object) -> bytes:
        """Return what somebody says that a lost call has returned, as content.

        Raises:
            InvalidInput: It cannot be what the function returns, in words that follow 'the result'.
        """
        return self.write(self.told(given))[0]

    def told(self, given: object) -> object:
        """Return what somebody says that a lost call has returned, as the declared type; JSON is read strictly.

        Raises:
            InvalidInput: It cannot be what the function returns, in words that follow 'the result'.
        """
        from pydantic import ValidationError

        if has_alike(given):
            raise InvalidInput(f"has more than {MOST_ALIKE}")
        adapter = _adapter_for_scalar(self.declared) if self.declared in _SCALARS else self._adapter
        try:
            if adapter is None:
                json_text(given, exact=True)
                return given
            try:
                written = json_text(given)
            except ResultNotSerializable:
                return self.accept(given)
            return adapter.validate_json(written, strict=True, by_alias=True, by_name=True)
        except ValidationError as error:
            raise InvalidInput(f"does not fit what is declared: {describe_problems(error)}") from error
        except ResultNotSerializable as error:
            raise InvalidInput(f"cannot be recorded: {error}") from error

    def _is_same(self, value: Any, as_read: Any) -> bool:
        """Whether what is read back is what the function returned, as its declared type takes it."""
        if type(as_read) is type(value) and _equal(as_read, value):
            return True
        taken = self.accept(value)
        if type(as_read) is not type(taken):  # a clock's own kind of `datetime`, say
            return type(as_read) in _LEAVES and isinstance(taken, type(as_read)) and _equal(as_read, taken)
        return _equal(as_read, taken) or _equal(self._dump(as_read, "python"), self._dump(taken, "python"))

    def _refusal(self, value: Any, problem: Exception | None) -> str:
        kind, declared = type(value).__name__, _name_of(self.declared)
        if problem is None:
            return f"a {kind} does not come back as what it is when it is read as the declared {declared}"
        return f"a {kind} cannot be kept as the declared {declared}: {text_of(problem)}"


@lru_cache(maxsize=1024)
def _adapter_for_scalar(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _adapter_of(declared: Any) -> TypeAdapter[Any] | None:
    """Return what reads and writes a type; `None` where nothing can."""
    from pydantic import PydanticUserError, TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError

    try:
        return TypeAdapter(readable(declared))
    except (PydanticUserError, PydanticSchemaGenerationError, NameError, TypeError):
        return None


def _enums_in(schema: Any) -> dict[str, type[Enum]]:
    """Return the enumerations that a declared type names, by name."""
    found: dict[str, type[Enum]] = {}
    below, seen = [schema], set()
    while below:
        part = below.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Mapping):
            kind = part.get("cls")
            if isinstance(kind, type) and issubclass(kind, Enum):
                found[kind.__qualname__] = kind
            below += part.values()
        elif isinstance(part, list | tuple):
            below += part
    return found


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 -- somebody's own comparison
        return False


def _name_of(declared: Any) -> str:
    return declared.__name__ if isinstance(declared, type) else str(declared)


def result_type(function: Callable[..., object]) -> ResultType:
    """Return the type that a function says it returns."""
    return _result_type(underlying(function))


@lru_cache(maxsize=1024)
def _result_type(function: Any) -> ResultType:
    return ResultType(returned(function))
