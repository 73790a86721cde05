"""What operators give back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Final

from agent_runtime.errors import ResultNotSerializable
from llm_client.public_text import text_of
from llm_client.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorResult:
    """What an operator gives back."""

    content: str = ""
    """Text for people and for models."""
    output_data: Mapping[str, Any] = field(default_factory=dict)
    """JSON values for the next operator."""
    success: bool = True
    error: str | None = None
    error_code: str | None = None
    usage: Usage | None = None
    turns: int = 0

    @property
    def output(self) -> Any:
        """The value that the operator returned, or its `output_data`; `None` where there is none."""
        return plain_output(self.output_data)


def plain_output(output_data: Mapping[str, object] | None) -> Any:
    """Return the plain value that an operator's data stands for."""
    if not output_data:
        return None
    return output_data["output"] if output_data.keys() == {"output"} else output_data


_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


def plain(value: object) -> object:
    """Return JSON values for models and dataclasses, and what they hold, wherever they are; other values as they are.

    Raises:
        ResultNotSerializable: One of them holds what cannot be written as JSON.
    """
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    if isinstance(value, Mapping):
        return {key: item if type(item) in _PLAIN else plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [item if type(item) in _PLAIN else plain(item) for item in value]
    if not callable(getattr(type(value), "model_dump", None)) and not is_dataclass(value):
        return value
    try:
        return to_jsonable_python(value, by_alias=False, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, TypeError) as error:
        raise ResultNotSerializable(f"not JSON: {text_of(error)}") from error
