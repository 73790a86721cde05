"""From type hints to JSON Schema, and the check of what a model sends."""

import enum
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from llm_client import ConfigurationError, ToolContext, ToolError, tool


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str
    number: int = Field(ge=1)


@dataclass
class Point:
    x: float
    y: float = 0.0


class Options(TypedDict, total=False):
    deep: bool


def properties(made: Any) -> dict[str, Any]:
    return dict(made.parameters["properties"])


def test_hints_defaults_and_texts_become_a_schema() -> None:
    @tool
    def find(query: str, limit: Annotated[int, Field(ge=1, le=50)] = 10, colour: Colour | None = None) -> str:
        """Find things.

        Args:
            query: What to look for.
            limit: How many at most.
        """
        return query

    assert find.description == "Find things."
    assert find.parameters == {
        "type": "object",
        "additionalProperties": False,
        "required": ["query"],
        "properties": {
            "query": {"type": "string", "description": "What to look for."},
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": 50,
                "default": 10,
                "description": "How many at most.",
            },
            "colour": {"anyOf": [{"$ref": "#/$defs/Colour"}, {"type": "null"}], "default": None},
        },
        "$defs": {"Colour": {"enum": ["red", "blue"], "type": "string"}},
    }


def test_the_context_is_injected_and_not_shown() -> None:
    @tool
    def act(what: str, ctx: ToolContext) -> str:
        return what

    @tool
    def maybe(what: str, context: ToolContext | None = None) -> str:
        return what

    assert list(properties(act)) == list(properties(maybe)) == ["what"]
    assert (act.takes_context, maybe.takes_context) == ("ctx", "context")


def test_arguments_arrive_as_what_the_function_declared() -> None:
    @tool
    def deliver(
        to: Address, at: Point, colour: Colour, price: Decimal, options: Options, tags: set[str]
    ) -> None: ...

    assert deliver.validate is not None
    values = deliver.validate(
        {
            "to": {"street": "High", "number": 3},
            "at": {"x": 1},
            "colour": "blue",
            "price": "1.10",
            "options": {"deep": True},
            "tags": ["a", "a"],
        }
    )

    assert values == {
        "to": Address(street="High", number=3),
        "at": Point(1.0, 0.0),
        "colour": Colour.BLUE,
        "price": Decimal("1.10"),
        "options": {"deep": True},
        "tags": {"a"},
    }


def test_what_is_left_out_gets_its_default() -> None:
    @tool
    def act(what: str = "nothing", times: int = Field(2, ge=1)) -> None: ...

    assert act.validate is not None
    assert act.validate({}) == {"what": "nothing", "times": 2}


def test_a_models_mistakes_are_told_by_place_and_without_its_values() -> None:
    @tool
    def deliver(to: Address, count: int) -> None: ...

    assert deliver.validate is not None
    with pytest.raises(ToolError) as caught:
        deliver.validate({"to": {"street": "s3cret-street", "number": 0}, "count": "many", "extra": 1})

    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["- to.number", "- count", "- extra"]
    assert "s3cret" not in str(caught.value)


def test_many_mistakes_are_cut_short() -> None:
    @tool
    def sums(numbers: list[int]) -> None: ...

    assert sums.validate is not None
    with pytest.raises(ToolError, match="and 90 more"):
        sums.validate({"numbers": ["x"] * 100})


def test_numbers_in_quotes_are_accepted_unless_the_tool_is_strict() -> None:
    def count(number: int) -> None: ...

    lax, strict = tool(count), tool(strict=True)(count)
    assert lax.validate is not None
    assert strict.validate is not None

    assert lax.validate({"number": "5"}) == {"number": 5}
    with pytest.raises(ToolError):
        strict.validate({"number": "5"})


def test_parameters_may_be_named_like_pydantics_own_attributes() -> None:
    @tool
    def odd(
        json: int, model_config: int, schema: int, copy: int, _hidden: int = 1, title: str = "t"
    ) -> None: ...

    assert odd.validate is not None
    assert list(properties(odd)) == ["json", "model_config", "schema", "copy", "_hidden", "title"]
    assert odd.validate({"json": 1, "model_config": 2, "schema": 3, "copy": 4})["model_config"] == 2


def test_a_property_named_title_survives_the_removal_of_titles() -> None:
    class Book(BaseModel):
        title: str

    @tool
    def read(book: Book, title: str) -> None: ...

    assert "title" in properties(read)
    assert read.parameters["$defs"]["Book"]["properties"] == {"title": {"type": "string"}}


def test_literals_constrain() -> None:
    @tool
    def turn(way: Literal["left", "right"]) -> None: ...

    assert properties(turn)["way"] == {"enum": ["left", "right"], "type": "string"}


def variadic(*names: str) -> None: ...
def keywords(**names: str) -> None: ...
def positional(name: str, /) -> None: ...
def method(self: Any, name: str) -> None: ...
def undescribable(stream: object, callback: type(print)) -> None: ...  # type: ignore[valid-type]


@pytest.mark.parametrize("function", [variadic, keywords, positional, method, undescribable])
def test_what_a_model_cannot_call_is_refused(function: Any) -> None:
    with pytest.raises(ConfigurationError, match=function.__name__):
        tool(function)


def test_an_annotation_that_cannot_be_resolved_is_named() -> None:
    def act(what: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821 -- the point of the test

    with pytest.raises(ConfigurationError, match="Nowhere"):
        tool(act)


def test_annotations_may_use_names_local_to_the_caller() -> None:
    class Local(BaseModel):
        value: int

    @tool
    def act(what: "Local") -> None: ...

    assert act.validate is not None
    assert act.validate({"what": {"value": 1}}) == {"what": Local(value=1)}


def test_a_bound_method_and_a_callable_object_can_be_tools() -> None:
    class Shop:
        def price(self, item: str) -> str:
            """Tell a price."""
            return f"{item}: 1"

        async def __call__(self, item: str) -> str:
            """Sell."""
            return f"sold {item}"

    made = [tool(Shop().price), tool(name="sell")(Shop())]

    assert [(one.name, one.description, list(properties(one))) for one in made] == [
        ("price", "Tell a price.", ["item"]),
        ("sell", "Sell.", ["item"]),
    ]


hints = st.recursive(
    st.sampled_from([int, str, bool, float, Literal["a", "b"], Colour, Address, Point]),
    lambda inner: (
        inner.map(lambda hint: list[hint])  # type: ignore[valid-type]
        | inner.map(lambda hint: dict[str, hint])  # type: ignore[valid-type]
        | inner.map(lambda hint: hint | None)
    ),
    max_leaves=3,
)


@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,10}", fullmatch=True), hints, max_size=4), st.data())
def test_what_the_schema_allows_the_check_accepts(parameters: dict[str, Any], data: st.DataObject) -> None:
    """Values drawn for the hints are valid by the schema a model sees and by the check of its arguments."""
    parameters = {
        name: hint for name, hint in parameters.items() if name.isidentifier() and name not in {"self", "cls"}
    }
    import keyword

    parameters = {name: hint for name, hint in parameters.items() if not keyword.iskeyword(name)}

    def function(**_values: Any) -> None: ...

    import inspect

    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=hint)
            for name, hint in parameters.items()
        ]
    )
    function.__annotations__ = dict(parameters)
    made = tool(function)
    arguments = {name: data.draw(values_of(hint)) for name, hint in parameters.items()}

    Draft202012Validator.check_schema(dict(made.parameters))
    Draft202012Validator(dict(made.parameters)).validate(arguments)
    assert made.validate is not None
    assert set(made.validate(arguments)) == set(parameters)


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """JSON values of a type."""
    known: dict[Any, st.SearchStrategy[Any]] = {
        int: st.integers(-(2**53), 2**53),
        str: st.text(max_size=5),
        bool: st.booleans(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        Colour: st.sampled_from(["red", "blue"]),
        Address: st.fixed_dictionaries({"street": st.text(max_size=3), "number": st.integers(1, 9)}),
        Point: st.fixed_dictionaries({"x": st.floats(-9, 9)}),
        Literal["a", "b"]: st.sampled_from(["a", "b"]),
        type(None): st.none(),
    }
    if hint in known:
        return known[hint]
    arguments = hint.__args__
    if getattr(hint, "__origin__", None) is list:
        return st.lists(values_of(arguments[0]), max_size=3)
    if getattr(hint, "__origin__", None) is dict:
        return st.dictionaries(st.text(max_size=3), values_of(arguments[1]), max_size=3)
    return st.one_of([values_of(argument) for argument in arguments])
