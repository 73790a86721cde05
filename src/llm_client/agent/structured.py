"""Answers of a type: the JSON Schema a model is given, and the check of what it wrote."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import orjson

from llm_client.agent.answer_text import json_of
from llm_client.errors import ConfigurationError, OutputInvalid
from llm_client.json_text import (
    MOST_ALIKE,
    MOST_WRITTEN,
    dumps,
    has_alike,
    has_long_floats,
    is_beyond_writing,
)
from llm_client.public_text import kind_of, text_of
from llm_client.spec import OutputSchema
from llm_client.tools.mistakes import MOST_MISTAKES, has_room_for_mistakes
from llm_client.tools.schema import describe_problems, without_titles

_NAME = re.compile(r"[^A-Za-z0-9_-]+")


class OutputType:
    """A type that answers must have: a pydantic model, dataclass, typed dictionary, or anything pydantic understands.

    Vendors only enforce schemas of objects, so every other type travels as the `value` of an object.

    Args:
        kind: The type.

    Raises:
        ConfigurationError: The type cannot be described as JSON.
    """

    def __init__(self, kind: Any) -> None:
        from pydantic import PydanticUserError, TypeAdapter
        from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
            schema = without_titles(self._adapter.json_schema())
        except (PydanticUserError, PydanticSchemaGenerationError, PydanticInvalidForJsonSchema) as error:
            reason = str(error).splitlines()[0]
            raise ConfigurationError(f"{kind!r} cannot be an output type: {reason}") from error
        self._wrapped = not _is_object(schema)
        if self._wrapped:
            schema = _wrap(schema)
        self.schema = OutputSchema(name=_schema_name(kind), schema=schema)

    @property
    def instruction(self) -> str:
        """What a model is told that cannot be held to the schema by its vendor."""
        return self.schema.instruction

    def parse(self, text: str) -> Any:
        """Return an answer as a value of the type.

        Raises:
            OutputInvalid: The answer does not match; the message lists the problems for the model.
        """
        problem: OutputInvalid | None = None
        try:
            for data in json_of(text):
                try:
                    return self._value(data)
                except OutputInvalid as error:
                    problem = problem or error
        except orjson.JSONDecodeError as error:
            raise problem or OutputInvalid(f"the answer is not JSON: {error}") from None
        raise problem or OutputInvalid("the answer is not JSON")

    def _value(self, data: Any) -> Any:
        """Return decoded JSON as a value of the type."""
        from pydantic import ValidationError

        if self._wrapped:
            if not isinstance(data, dict) or "value" not in data:
                raise OutputInvalid("- value: Field required")
            data = data["value"]
        if is_beyond_writing(data):
            raise OutputInvalid(f"- value: more than {MOST_WRITTEN}")
        if has_alike(data):
            raise OutputInvalid(f"- value: more than {MOST_ALIKE}")
        if has_room_for_mistakes(data, self.schema.schema):
            raise OutputInvalid(f"- value: more than {MOST_MISTAKES} it")
        try:
            return self._read(data)
        except ValidationError as error:
            raise OutputInvalid(describe_problems(error)) from None
        except Exception as error:
            raise OutputInvalid(f"- value: {kind_of(error)}: {text_of(error)}") from error

    def _read(self, data: Any) -> Any:
        """Read JSON as JSON; numbers of more digits than a float has first as what they are, for the types that take them."""
        from pydantic import ValidationError

        text = dumps(data)
        if has_long_floats(data):
            with suppress(ValidationError):
                return self._adapter.validate_python(data)
        return self._adapter.validate_json(text)

    def dump(self, value: object) -> object:
        """Return a value of the type as JSON values, as the type itself writes it."""
        return self._adapter.dump_python(value, mode="json")


def _is_object(schema: dict[str, Any]) -> bool:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = schema.get("$defs", {}).get(reference.rsplit("/", 1)[-1], {})
        return isinstance(target, dict) and target.get("type") == "object"
    return schema.get("type") == "object"


def _wrap(schema: dict[str, Any]) -> dict[str, Any]:
    inner = dict(schema)
    definitions = inner.pop("$defs", None)
    wrapped = {
        "type": "object",
        "properties": {"value": inner},
        "required": ["value"],
        "additionalProperties": False,
    }
    return wrapped | {"$defs": definitions} if definitions else wrapped


def _schema_name(kind: Any) -> str:
    name = getattr(kind, "__name__", None) or str(kind)
    return _NAME.sub("_", name)[:64].strip("_") or "output"
