"""Schemas on their way to a vendor: in its strict subset, or not strict, or in the prompt; never refused here."""

import json
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field

from llm_client import Agent, Message, RequestSpec, Tool, create_provider
from llm_client.agent.structured import OutputType
from llm_client.providers.anthropic.request import MessagesFormat
from llm_client.providers.google.request import GenerateContentFormat
from llm_client.providers.openai.chat_dialect import (
    COMPATIBLE,
    DEEPSEEK,
    GROQ,
    LOCAL,
    OLLAMA,
    OPENAI,
    ChatDialect,
)
from llm_client.providers.openai.chat_request import ChatFormat
from llm_client.providers.openai.responses_request import ResponsesFormat
from llm_client.spec import OutputSchema

ASKED = (Message.user("Say."),)
REFUSED = (
    "oneOf", "allOf", "not", "if", "then", "else", "discriminator", "default", "prefixItems", "uniqueItems", "minLength", "maxLength",
    "minProperties", "maxProperties", "propertyNames", "contains", "minContains", "maxContains", "patternProperties",
    "unevaluatedProperties", "unevaluatedItems", "dependentRequired", "dependentSchemas", "examples", "readOnly", "deprecated",
    "contentEncoding", "$schema",
)  # fmt: skip
"""What OpenAI's strict mode answers 400 to, and Anthropic's as well but for `allOf`."""


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field(min_length=1, examples=["Rex"])


class Pets(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pair: tuple[int, str]
    tags: set[str]
    price: Decimal = Decimal("0.50")
    note: Annotated[str, Field(json_schema_extra={"pattern": "^(?!x).*$"})] | None = None


class Counts(BaseModel):
    counts: dict[str, int]


class Node(BaseModel):
    name: str
    children: list["Node"] = []


def output_of(kind: Any) -> OutputSchema:
    return OutputType(kind).schema


def sent(vendor: str, output: OutputSchema) -> tuple[dict[str, Any] | None, bool, str]:
    """Return the schema that a vendor enforces, whether strictly, and what the model is told before the question."""
    spec = RequestSpec(messages=ASKED, output_schema=output)
    if vendor == "responses":
        body = ResponsesFormat("openai").encode(spec, "gpt-5.2", stream=False)
        stated = body["text"]["format"]
        return stated["schema"], stated["strict"], ""
    if vendor == "chat":
        body = ChatFormat("openai").encode(spec, "gpt-5.2", stream=False)
        stated = body["response_format"]["json_schema"]
        return stated["schema"], stated["strict"], ""
    body = MessagesFormat().encode(spec, "claude-sonnet-4-6", stream=False)
    schema = body.get("output_config", {}).get("format", {}).get("schema")
    return schema, schema is not None, str(body.get("system", ""))


def keywords(schema: Any) -> set[str]:
    """Return all keywords of a schema; names of properties and definitions are none."""
    found: set[str] = set()
    if isinstance(schema, dict):
        for key, value in schema.items():
            found.add(key)
            below = value.values() if key in ("properties", "$defs") else [value]
            for child in below:
                found |= keywords(child)
    elif isinstance(schema, list):
        for child in schema:
            found |= keywords(child)
    return found


@pytest.mark.parametrize("vendor", ["responses", "chat", "anthropic"])
def test_what_strict_mode_refuses_is_said_otherwise(vendor: str) -> None:
    schema, strict, _ = sent(vendor, output_of(Pets))

    assert strict
    assert schema is not None
    assert not keywords(schema) & set(REFUSED)
    pet, pair, tags = (schema["properties"][name] for name in ("pet", "pair", "tags"))
    assert pet["anyOf"] == [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]
    assert pair["items"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert "in this order" in pair["description"]
    assert "uniqueItems" in tags["description"]
    assert "pattern" not in keywords(schema["properties"]["note"])
    answer = {"pet": {"kind": "cat", "lives": 3}, "pair": [1, "a"], "tags": ["x"], "price": 0.5, "note": None}
    Draft202012Validator(schema).validate(answer)


@pytest.mark.parametrize("kind", [Counts, Node, dict[str, int], list[Node], Any])
@pytest.mark.parametrize("vendor", ["responses", "chat", "anthropic"])
def test_every_type_has_a_way(vendor: str, kind: Any) -> None:
    output = output_of(kind)
    schema, strict, told = sent(vendor, output)

    if strict:
        assert schema is not None
        assert not keywords(schema) & set(REFUSED)
    elif vendor == "anthropic":
        assert schema is None
        assert json.loads(told.partition("\n")[2]) == output.schema
    else:
        assert schema == output.schema


class Open(BaseModel, extra="allow"):
    name: str


@pytest.mark.parametrize("kind", [Counts, dict[str, int], Open, list[Open]])
@pytest.mark.parametrize("vendor", ["responses", "chat", "anthropic"])
def test_object_that_takes_further_keys_is_never_closed(vendor: str, kind: Any) -> None:
    schema, strict, told = sent(vendor, output_of(kind))

    assert not strict
    assert schema == output_of(kind).schema or "additionalProperties" in told


def test_recursion_is_strict_where_the_vendor_takes_it() -> None:
    assert sent("responses", output_of(Node))[1]
    assert not sent("anthropic", output_of(Node))[1]
    assert not sent("responses", output_of(Counts))[1]


STRANGE = [
    {"type": "object", "properties": {"a": {"type": "any"}}},
    {"type": "object", "properties": {"a": {"type": "string", "required": True}}, "required": True},
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/nowhere", "description": "b"}}},
    {"type": "object", "properties": {"a": {"$ref": "http://x.invalid/y", "description": "b"}}},
    {"type": "object", "properties": True},
    {"type": "object", "properties": {"a": True}},
    {"type": "object", "properties": {"a": {}}},
    {"type": "object", "properties": {"a": {"enum": 5}}},
    {"type": "object", "properties": {"a": {"type": ["string", {}]}}},
    {"type": "object", "properties": {"a": {"anyOf": {}}}},
    {"type": "object", "properties": {"a": {"allOf": [{"$ref": "#"}]}}},
    {"type": "object", "properties": {"a": {"type": "object"}}},
    {"type": "object", "properties": {"a": {"type": "array"}}},
    {"type": "object", "patternProperties": {"^x": {}}, "properties": {}},
    {"type": "object", "properties": {}, "if": {}, "then": {}},
    {"anyOf": [{"type": "object", "properties": {}}]},
    {"type": "object", "properties": {"a": {"type": "string", "description": 5}}},
    {"type": "object", "properties": {"a": {"type": "string"}}, "description": ["x"]},
    {"$ref": "#"},
    {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(5_001)}},
    {"type": "object", "properties": {"a": {"enum": [str(n) for n in range(1_001)]}}},
    {
        "$defs": {
            f"d{n}": {
                "type": "object",
                "properties": {
                    side: {"$ref": f"#/$defs/d{n + 1}", "description": side} for side in ("left", "right")
                },
            }
            for n in range(40)
        }
        | {"d40": {"type": "object", "properties": {}}},
        "$ref": "#/$defs/d0",
    },
]


@pytest.mark.parametrize("number", range(len(STRANGE)))
@pytest.mark.parametrize("vendor", ["responses", "chat", "anthropic"])
def test_no_schema_is_too_strange_to_be_sent(vendor: str, number: int) -> None:
    output = OutputSchema(name="strange", schema=STRANGE[number])
    schema, strict, told = sent(vendor, output)

    if strict:
        assert schema is not None
        assert vendor == "anthropic" or schema["type"] == "object"
        assert not keywords(schema) & set(REFUSED)
    else:
        assert schema == STRANGE[number] or '"' in told


@pytest.mark.parametrize("vendor", ["responses", "chat", "anthropic"])
def test_a_strict_tool_whose_schema_cannot_be_strict_is_sent_as_it_is(vendor: str) -> None:
    free = {"type": "object", "properties": {"counts": {"type": "object", "additionalProperties": True}}}
    tool = Tool(name="count", description="", parameters=free, handler=print, strict=True)
    spec = RequestSpec(messages=ASKED, tools=(tool,))
    if vendor == "anthropic":
        (written,) = MessagesFormat().encode(spec, "claude-sonnet-4-6", stream=False)["tools"]
        assert (written["input_schema"], written.get("strict", False)) == (free, False)
        return
    form = ResponsesFormat("openai") if vendor == "responses" else ChatFormat("openai")
    (written,) = form.encode(spec, "gpt-5.2", stream=False)["tools"]
    function = written.get("function", written)
    assert (function["parameters"], function["strict"]) == (free, False)


LOOK = Tool(name="look", description="Look.", parameters={"type": "object", "properties": {}}, handler=print)
BOTH = RequestSpec(messages=ASKED, tools=(LOOK,), output_schema=output_of(Cat))


@pytest.mark.parametrize(
    ("model", "together"),
    [("gemini-2.5-flash", False), ("gemini-2.0-flash", False), ("gemma-3", False), ("gemini-3-pro", True)],
)
def test_gemini_is_not_given_tools_and_a_schema_before_its_third_version(model: str, together: bool) -> None:
    form = GenerateContentFormat("v1")
    body = form.encode(BOTH, model, stream=False)
    config = body.get("generationConfig", {})

    assert body["tools"]
    assert ("responseMimeType" in config) is together
    assert ("JSON Schema" in json.dumps(body.get("systemInstruction", ""))) is not together
    alone = form.encode(BOTH.evolve(tools=()), model, stream=False)
    assert alone["generationConfig"]["responseMimeType"] == "application/json"
    provider = create_provider(f"google:{model}", api_key="x")
    assert provider.capabilities.supports_tools_with_output_schema is together
    assert provider.capabilities_of("gemini-3-pro").supports_tools_with_output_schema


@pytest.mark.parametrize(
    ("dialect", "together"),
    [(OPENAI, True), (COMPATIBLE, True), (OLLAMA, False), (LOCAL, False), (GROQ, False)],
)
def test_servers_that_write_by_a_grammar_get_tools_or_a_schema(dialect: ChatDialect, together: bool) -> None:
    form = ChatFormat("local", dialect)
    body = form.encode(BOTH, "m", stream=False)

    assert body["tools"]
    assert ("response_format" in body) is together
    assert ("JSON Schema" in json.dumps(body["messages"])) is not together
    assert "response_format" in form.encode(BOTH.evolve(tools=()), "m", stream=False)


@pytest.mark.parametrize("vendor", ["ollama", "vllm", "lmstudio", "groq", "together", "openrouter"])
def test_the_presets_know_it(vendor: str) -> None:
    together = create_provider(f"{vendor}:m", api_key="x").capabilities.supports_tools_with_output_schema
    assert together is (vendor in ("together", "openrouter"))


def test_a_schema_in_the_prompt_is_told_once() -> None:
    agent = Agent(provider=create_provider("deepseek:m", api_key="x"), output_type=Cat)
    output = output_of(Cat)
    told = Message.system(output.instruction)
    spec = RequestSpec(messages=(told, *ASKED), output_schema=output)
    body = ChatFormat("deepseek", DEEPSEEK).encode(spec, "m", stream=False)

    assert agent.output_type is not None
    assert agent.output_type.instruction == told.text
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["response_format"] == {"type": "json_object"}
