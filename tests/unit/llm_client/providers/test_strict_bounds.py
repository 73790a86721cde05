"""What is larger than a vendor's strict mode takes is sent otherwise, and checked here: never a 400 for its size."""

from __future__ import annotations

from typing import Any

import pytest

from llm_client import Message, RequestSpec, Tool
from llm_client.providers.anthropic.request import MessagesFormat
from llm_client.providers.strict_schema import close_objects
from llm_client.spec import OutputSchema

TEXT = {"type": "string"}
MAYBE = {"anyOf": [TEXT, {"type": "null"}]}


def thing(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    needed = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def optional(number: int, kind: Any = None) -> dict[str, Any]:
    return thing({f"p{each}": kind or TEXT for each in range(number)}, [])


def unions(number: int, kind: Any = None) -> dict[str, Any]:
    return thing({f"p{each}": kind or MAYBE for each in range(number)})


def tools(*schemas: dict[str, Any]) -> list[Tool]:
    return [
        Tool(name=f"t{number}", description="", parameters=schema, handler=print, strict=True)
        for number, schema in enumerate(schemas)
    ]


def asked(*schemas: dict[str, Any], output: dict[str, Any] | None = None) -> dict[str, Any]:
    spec = RequestSpec(
        messages=[Message.user("Say.")],
        tools=tools(*schemas),
        output_schema=None if output is None else OutputSchema(name="o", schema=output),
    )
    return MessagesFormat().encode(spec, "claude-sonnet-4-6", stream=False)


def strict(*schemas: dict[str, Any], output: dict[str, Any] | None = None) -> list[bool]:
    body: Any = asked(*schemas, output=output)
    return [tool.get("strict", False) for tool in body["tools"]]


@pytest.mark.parametrize(
    ("schema", "is_strict"),
    [
        (optional(24), True),
        (optional(25), False),
        (thing({"a": optional(13), "b": {"type": "array", "items": optional(12)}}), False),
        (thing({"a": {"$ref": "#/$defs/O"}}) | {"$defs": {"O": optional(25)}}, False),
        (unions(16), True),
        (unions(17), False),
        (unions(17, {"type": ["string", "null"]}), False),
        (unions(17, {"type": "array", "items": MAYBE}), False),
        (thing({"a": unions(9), "b": unions(8)}), False),
    ],
)
def test_schema_of_anthropics_has_its_bounds(schema: dict[str, Any], is_strict: bool) -> None:
    assert strict(schema) == [is_strict]
    body: Any = asked(output=schema)
    assert ("output_config" in body) == is_strict
    assert ("system" in body) == (not is_strict)  # the schema is told there


def test_all_strict_schemas_of_a_request_share_anthropics_bounds() -> None:
    assert strict(optional(10), optional(10), optional(10), optional(4)) == [True, True, False, True]
    assert strict(unions(10), unions(7), thing({})) == [True, False, True]
    assert strict(optional(10), optional(4), output=optional(15)) == [False, True]
    assert strict(*[thing({"a": TEXT})] * 22) == [True] * 20 + [False] * 2


def test_tool_that_is_not_strict_takes_none_of_the_room() -> None:
    loose = Tool(name="loose", description="", parameters=optional(24), handler=print)
    spec = RequestSpec(messages=[Message.user("Say.")], tools=[loose, *tools(optional(24))])
    body: Any = MessagesFormat().encode(spec, "claude-sonnet-4-6", stream=False)
    assert [tool.get("strict", False) for tool in body["tools"]] == [False, True]
    assert body["tools"][0]["input_schema"] == optional(24)


def deep(levels: int) -> dict[str, Any]:
    return thing({"a": deep(levels - 1) if levels > 1 else TEXT})


@pytest.mark.parametrize(
    ("schema", "is_strict"),
    [
        (thing({f"p{each}": TEXT for each in range(5_000)}), True),
        (thing({f"p{each}": TEXT for each in range(5_001)}), False),
        (thing({"a": thing({f"p{each}": TEXT for each in range(2_500)}),
                "b": thing({f"p{each}": TEXT for each in range(2_500)})}), False),
        (deep(10), True),
        (deep(11), False),
        (thing({"a": {"type": "string", "enum": [f"{each}" for each in range(1_000)]}}), True),
        (thing({"a": {"type": "string", "enum": [f"{each}" for each in range(1_001)]}}), False),
        (thing({"a" * 119_999: TEXT, "b": TEXT}), True),
        (thing({"a" * 120_000: TEXT, "b": TEXT}), False),
        (thing({"a": {"$ref": "#/$defs/" + "D" * 120_000}}) | {"$defs": {"D" * 120_000: TEXT}}, False),
        (thing({"a": {"type": "string", "const": "x" * 120_000}}), False),
        (thing({"a": {"type": "string", "enum": ["x" * 60_000, "y" * 60_000]}}), False),
        (thing({"a": {"type": "string", "enum": [f"{each:060}" for each in range(250)]}}), True),
        (thing({"a": {"type": "string", "enum": [f"{each:060}" for each in range(251)]}}), False),
        (thing({"a": {"type": "string", "enum": [f"{each:059}" for each in range(251)]}}), True),
    ],
)  # fmt: skip
def test_schema_of_openais_has_its_bounds(schema: dict[str, Any], is_strict: bool) -> None:
    assert (close_objects(schema) is not None) == is_strict


@pytest.mark.parametrize(
    "values",
    [{"enum": [{"x": 1}, "a"]}, {"const": {"x": 1}}, {"const": [1]}, {"enum": [[1]]}, {"enum": []}],
    ids=str,
)
def test_values_that_are_objects_or_lists_are_no_strict_ones(values: dict[str, Any]) -> None:
    assert strict(thing({"a": values})) == [False]
    assert close_objects(thing({"a": values})) is None


@pytest.mark.parametrize(
    ("schema", "is_strict"),
    [
        ({"type": "string", "enum": ["a", None]}, False),  # "enum value None does not validate against {'type': 'string'}"
        ({"type": "integer", "enum": [1, "2"]}, False),
        ({"type": "string", "const": 1}, False),
        ({"type": ["string", "null"], "enum": ["a", None]}, True),
        ({"type": "number", "enum": [1, 2.5]}, True),
        ({"type": "integer", "enum": [1, 2]}, True),
        ({"type": "boolean", "const": True}, True),
        ({"enum": ["a", None]}, True),
    ],
)  # fmt: skip
def test_values_have_the_type_that_is_stated(schema: dict[str, Any], is_strict: bool) -> None:
    assert (close_objects(thing({"a": schema})) is not None) == is_strict
