"""Answers of a type."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel
from typing_extensions import TypedDict

from llm_client import ConfigurationError, OutputInvalid
from llm_client.agent.structured import OutputType


class Model(BaseModel):
    name: str
    when: date


@dataclass
class Data:
    x: int
    y: list[str]


class Typed(TypedDict):
    a: int


class Node(BaseModel):
    children: list["Node"] = []


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        (Model, '{"name": "x", "when": "2026-01-02"}', Model(name="x", when=date(2026, 1, 2))),
        (Data, '{"x": 1, "y": ["a"]}', Data(1, ["a"])),
        (Typed, '{"a": 1}', {"a": 1}),
        (Node, '{"children": [{"children": []}]}', Node(children=[Node()])),
        (int, '{"value": 3}', 3),
        (list[Model], '{"value": []}', []),
        (Literal["yes", "no"], '{"value": "no"}', "no"),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Model | Data, '{"value": {"x": 1, "y": []}}', Data(1, [])),
    ],
)
def test_an_answer_becomes_a_value(kind: Any, answer: str, value: Any) -> None:
    output = OutputType(kind)

    assert output.parse(answer) == value
    assert output.schema.schema.get("type") == "object" or "$ref" in output.schema.schema
    Draft202012Validator.check_schema(dict(output.schema.schema))


@pytest.mark.parametrize("answer", ['```json\n{"a": 1}\n```', '```\n{"a": 1}```', '  {"a": 1}\n'])
def test_a_fenced_answer_is_read(answer: str) -> None:
    assert OutputType(Typed).parse(answer) == {"a": 1}


@pytest.mark.parametrize(
    ("kind", "answer", "problem"),
    [
        (Typed, "sorry", "not JSON"),
        (Typed, '{"a": "x"}', "- a: "),
        (Typed, "[]", "- value: "),
        (int, "3", "- value: Field required"),
        (int, '{"value": "three"}', "- value: "),
    ],
)
def test_a_wrong_answer_is_told_by_its_place(kind: Any, answer: str, problem: str) -> None:
    with pytest.raises(OutputInvalid, match=problem):
        OutputType(kind).parse(answer)


def test_a_type_that_is_not_json_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot be an output type"):
        OutputType(type(print))


@pytest.mark.parametrize(
    ("kind", "name"), [(Model, "Model"), (list[Model], "list"), (Model | None, "Optional_")]
)
def test_schemas_have_names_that_vendors_accept(kind: Any, name: str) -> None:
    assert OutputType(kind).schema.name.startswith(name) or OutputType(kind).schema.name.isidentifier()


@pytest.mark.parametrize("kind", ["json", "", " ", "json  "])
@pytest.mark.parametrize("around", ["", "\n", " \n\t"])
def test_a_fence_round_an_answer_is_taken_off(kind: str, around: str) -> None:
    text = f'{around}```{kind}\n{around}{{"a": 1}}{around}\n```{around}'
    assert OutputType(Typed).parse(text) == {"a": 1}


@pytest.mark.timeout(20)  # a pattern that divides blanks in every way would take longer than anybody lives
@pytest.mark.parametrize(
    "text", ["```" + "\n" * 300_000, "```" + " \n" * 300_000 + "x", "\n" * 300_000 + "```"]
)
def test_an_answer_of_blanks_is_refused_in_no_time(text: str) -> None:
    with pytest.raises(OutputInvalid, match="not JSON"):
        OutputType(Typed).parse(text)


def test_of_countless_problems_only_the_number_is_told() -> None:
    with pytest.raises(OutputInvalid) as refused:
        OutputType(list[int]).parse('{"value": [' + '"x",' * 20_000 + '"x"]}')
    assert str(refused.value) == "- 20001 problems"
