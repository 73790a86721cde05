"""Schemas that strangers write: what cannot be checked here is not, and every name becomes a legal one of its own."""

import contextlib
import logging
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import validators
from pydantic import BaseModel, field_validator

from llm_client import Agent, ScriptedProvider, Tool, ToolCall, ToolError, tool
from llm_client.tools.aliases import aliases
from llm_client.tools.foreign_schema import bounded_validator

LEGAL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
DRAFTS = [
    validators.Draft3Validator,
    validators.Draft4Validator,
    validators.Draft6Validator,
    validators.Draft7Validator,
    validators.Draft201909Validator,
    validators.Draft202012Validator,
]
ARGUMENTS = {"a": "x", "b": 1}


def object_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


UNCHECKABLE = [
    object_of(a={"type": "any"}),
    object_of(a={"$ref": "#/$defs/nowhere"}),
    object_of(a={"$ref": "#nowhere"}),
    object_of(a={"$ref": 5}),
    object_of(a={"$dynamicRef": "#node"}),
    {"type": "object", "required": True},
    {"type": "object", "properties": True},
    {"type": {"odd": 1}},
    object_of(b={"minimum": "x"}),
    object_of(a={"maxLength": "many"}),
    {"$id": 5, **object_of(a={"type": "string"})},
    {"$schema": "http://json-schema.org/draft-04/schema#", "id": 5, **object_of(a={"type": "string"})},
]


@pytest.mark.parametrize("schema", UNCHECKABLE)
def test_arguments_of_a_tool_whose_schema_is_none_are_not_checked_and_that_is_logged_once(
    schema: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    validate = bounded_validator(schema)
    with caplog.at_level(logging.WARNING):
        assert validate(ARGUMENTS) == {"arguments": ARGUMENTS}
        assert validate(ARGUMENTS) == {"arguments": ARGUMENTS}
    assert len([record for record in caplog.records if "not checked" in record.getMessage()]) == 1


@pytest.mark.parametrize(
    "schema",
    [
        object_of(a={"type": "string", "pattern": r"^(?<name>\p{L}+)$"}),
        object_of(a={"type": "string", "required": True}),
        object_of(a={"pattern": "["}),
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            **object_of(b={"minimum": 0, "exclusiveMinimum": True}),
        },
        {"$schema": "http://json-schema.org/draft-07/schema#", **object_of(a={"type": "string"})},
        {"$schema": "http://x.invalid/schema#", **object_of(a={"type": "string"})},
        {"$schema": ["odd"], **object_of(a={"type": "string"})},
        {"$schema": "http://[odd", **object_of(a={"type": "string"})},
        object_of(b={"minimum": 0, "exclusiveMinimum": True}),
        object_of(b={"maximum": 2**80}),
    ],
)
def test_what_other_dialects_write_passes(schema: dict[str, Any]) -> None:
    assert bounded_validator(schema)(ARGUMENTS) == {"arguments": ARGUMENTS}


KEYWORDS = sorted(
    {word for known in DRAFTS for word in (*known.META_SCHEMA["properties"], *known.VALIDATORS)}
)
ODD = [
    None,
    True,
    5,
    -1.5,
    "x",
    "#",
    "http://[",
    [],
    [5],
    [[]],
    {},
    {"x": 5},
    {"a": {"$id": 5}},
    {"$ref": "#"},
]


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYWORDS), st.sampled_from(ODD), max_size=4),
    st.dictionaries(st.sampled_from(KEYWORDS), st.sampled_from(ODD), max_size=4),
    st.sampled_from(
        [None, *(known.META_SCHEMA["$schema"] for known in DRAFTS if "$schema" in known.META_SCHEMA)]
    ),
)
def test_whatever_a_schema_says_arguments_pass_or_are_refused(
    around: dict[str, Any], inside: dict[str, Any], draft: str | None
) -> None:
    schema = {**around, "properties": {"a": inside}} | ({} if draft is None else {"$schema": draft})
    with contextlib.suppress(ToolError):
        assert bounded_validator(schema)(ARGUMENTS) == {"arguments": ARGUMENTS}


def test_what_can_be_checked_beside_it_is() -> None:
    validate = bounded_validator(object_of(a={"type": "string", "pattern": r"\p{L}"}, b={"type": "integer"}))
    with pytest.raises(ToolError, match="- b: 'x' is not of type 'integer'"):
        validate({"a": "x", "b": "x"})


async def test_nothing_but_an_error_of_the_client_leaves_a_run() -> None:
    class Odd(BaseModel):
        a: str

        @field_validator("a")
        @classmethod
        def look_up(cls, value: str) -> str:
            return {"y": "z"}[value]

    @tool
    def ours(odd: Odd) -> str:
        """Look up."""
        return odd.a

    def strict(arguments: Any) -> Any:
        raise ZeroDivisionError("no schema")

    theirs = Tool(name="theirs", description="", parameters=object_of(), handler=print, validate=strict)
    calls = [ToolCall("1", "ours", {"odd": {"a": "x"}}), ToolCall("2", "theirs", {})]
    agent = Agent(provider=ScriptedProvider([calls, "ok"]), tools=[ours, theirs])
    result = await agent.run("go")
    told = [message.text for message in result.messages if message.role == "tool"]

    assert result.status == "success"
    assert told == ["Error: KeyError: 'x'", "Error: ZeroDivisionError: no schema"]


def test_only_the_illegal_name_gets_an_alias() -> None:
    named = aliases(["3d_render", "render", "_3d", "a.b", "-x", ""])

    assert named == {
        "3d_render": "_3d_render",
        "render": "render",
        "_3d": "_3d",
        "a.b": "a_b",
        "-x": "_-x",
        "": "_",
    }


def test_aliases_that_would_be_the_same_are_told_apart_whatever_the_order() -> None:
    names = ["a.b", "a b", "a_b", "3d", "_3d", "x" * 70 + "1", "x" * 70 + "2"]
    named = aliases(names)

    assert len(set(named.values())) == len(names)
    assert (named["a_b"], named["_3d"]) == ("a_b", "_3d")
    assert aliases(reversed(names)) == named
    assert aliases([named["a.b"], "a.b", "a_b"])["a_b"] == "a_b"


@given(
    st.lists(st.one_of(st.text(max_size=70), st.from_regex(r"[a-b._-]{0,3}", fullmatch=True)), max_size=12)
)
def test_aliases_are_legal_and_never_collide(names: list[str]) -> None:
    named = aliases(names)

    assert set(named) == set(names)
    assert len(set(named.values())) == len(set(names))
    for name, alias in named.items():
        assert LEGAL.fullmatch(alias)
        assert alias == name or not LEGAL.fullmatch(name)
