"""Answers of a type: the JSON Schema a model is given, and the check of what it wrote."""

from __future__ import annotations

import re
from typing import Any

import orjson

from llm_client.errors import ConfigurationError, OutputInvalid
from llm_client.json_text import loads
from llm_client.spec import OutputSchema
from llm_client.tools.schema import describe_problems, without_titles

_FENCE = "```"
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
        text = orjson.dumps(self.schema.schema).decode()
        return f"Answer with JSON alone, without any other text, matching this JSON Schema:\n{text}"

    def parse(self, text: str) -> Any:
        """Return an answer as a value of the type.

        Raises:
            OutputInvalid: The answer does not match; the message lists the problems for the model.
        """
        from pydantic import ValidationError

        try:
            data = loads(_unfenced(text))
        except orjson.JSONDecodeError as error:
            raise OutputInvalid(f"the answer is not JSON: {error}") from None
        if self._wrapped:
            if not isinstance(data, dict) or "value" not in data:
                raise OutputInvalid("- value: Field required")
            data = data["value"]
        try:
            return self._adapter.validate_json(orjson.dumps(data))
        except ValidationError as error:
            raise OutputInvalid(describe_problems(error)) from None

    def dump(self, value: Any) -> Any:
        """Return a value of the type as JSON values, as the type itself writes it."""
        return self._adapter.dump_python(value, mode="json")


def _unfenced(text: str) -> str:
    """Return what stands between a fence of Markdown, which models like to put round JSON; else the text as it is.

    Not by a regular expression: several runs of blanks side by side would be tried in every division, for hours.
    """
    fenced = text.strip()
    first, newline, rest = fenced.partition("\n")
    if newline and first.strip() in (_FENCE, f"{_FENCE}json") and rest.endswith(_FENCE):
        return rest.removesuffix(_FENCE).strip()
    return text


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
