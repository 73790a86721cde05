"""What steps return, as JSON and back through the declared type.

A step's value is read back from its JSON the first time already, so that the first run and every resume see the same.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson

from agent_runtime.errors import ContentTooLarge, ResultNotSerializable
from agent_runtime.values.content import decode, encode
from llm_client.tools.schema import describe_problems

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_PLAIN: Final = (type(None), bool, str)
_UNTYPED: Final = (Any, inspect.Signature.empty, object)


def write_result(function: Callable[..., Any], value: Any) -> tuple[bytes, Any]:
    """Return a value as content, and as it will be read on a resume.

    Raises:
        ResultNotSerializable: The value is not JSON, or its JSON does not read back as the declared type.
    """
    if isinstance(value, _PLAIN):
        return encode(value), value
    adapter = _adapter_of(function, type(value))
    if adapter is None:
        content = encode(value)
        return content, decode(content)
    try:
        content = encode(adapter.dump_python(value, mode="json"))
        return content, adapter.validate_python(decode(content))
    except ResultNotSerializable:
        raise
    except Exception as error:
        raise ResultNotSerializable(f"a {type(value).__name__} does not survive JSON: {error}") from error


def read_result(function: Callable[..., Any], content: bytes | None) -> Any:
    """Return a recorded value in the function's declared type."""
    value = None if content is None else decode(content)
    if isinstance(value, _PLAIN):
        return value
    adapter = _declared_adapter(function)
    return value if adapter is None else adapter.validate_python(value)


def misfit(function: Callable[..., Any], value: Any) -> str | None:
    """Return why JSON that a person gives cannot be what a function returned, in words after 'the result', or `None`."""
    try:
        content = encode(value)
    except (ResultNotSerializable, ContentTooLarge) as error:
        return f"cannot be recorded: {error}"
    declared = _declared_type(function)
    if declared in _UNTYPED:
        return None
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

    try:
        TypeAdapter(declared).validate_json(orjson.dumps(decode(content)), strict=True)
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation):
        return None
    except ValidationError as error:
        return f"does not fit what is declared: {describe_problems(error)}"
    return None


def _adapter_of(function: Callable[..., Any], kind: type) -> TypeAdapter[Any] | None:
    """Return the adapter of the declared type; an undeclared rich value is refused by the encoder."""
    return None if kind in (int, float) else _declared_adapter(function)


def _declared_type(function: Callable[..., Any]) -> Any:
    try:
        return typing.get_type_hints(function, include_extras=True).get("return", Any)
    except (TypeError, NameError):
        return Any


@lru_cache(maxsize=1024)
def _declared_adapter(function: Callable[..., Any]) -> TypeAdapter[Any] | None:
    declared = _declared_type(function)
    if declared in _UNTYPED or declared in (int, float, str, bool, None, type(None), dict, list):
        return None
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(declared)
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation):
        return None
    return adapter
