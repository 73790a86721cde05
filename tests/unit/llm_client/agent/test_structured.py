"""Answers of a type."""

import json
import time
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, field_validator
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


FENCE = "```"


@pytest.mark.parametrize(
    "answer",
    [
        '<think>Perhaps {"a": 9}?</think>\n{"a": 1}',
        '<think>Not {"a": 9}.\n</think>\n\n<think>Nor {"a": 8}.</think>{"a": 1}',
        'Perhaps {"a": 9}?\n</think>\n{"a": 1}',
        '<thinking>Hm.</thinking>{"a": 1}',
        '<THINK>{"a": 9}</THINK>{"a": 1}',
        '[THINK]Perhaps {"a": 9}?[/THINK]{"a": 1}',
        '◁think▷Perhaps {"a": 9}?◁/think▷{"a": 1}',
        '<seed:think>Perhaps {"a": 9}?</seed:think>{"a": 1}',
        '<|channel|>analysis<|message|>{"a": 9}<|end|><|start|>assistant<|channel|>final<|message|>{"a": 1}',
        '<|start|>assistant<|channel|>analysis<|message|>{"a": 9}<|channel|>final <|constrain|>json<|message|>{"a": 1}',
        '<|channel|>final<|message|>{"a": 1}',
        f'Here you are:\n\n{FENCE}json\n{{"a": 1}}\n{FENCE}\n\nAnything else?',
        f'{FENCE}JSON\n{{"a": 1}}\n{FENCE}',
        f'{FENCE} json \n{{"a": 1}}\n{FENCE}\n',
        f'{FENCE}json {{"a": 1}} {FENCE}',
        f'In {{curly}} words:\n{FENCE}python\nx = {{}}\n{FENCE}\n{FENCE}json\n{{"a": 1}}\n{FENCE}',
        '\ufeff{"a": 1}',
        ' \n\ufeff {"a": 1}',
        f'Not {{"a": 9}} but:\n{FENCE}json\n{{"a": 1}}\n{FENCE}',
        '{"a": 1}\n\nI hope that this helps.',
        '{"a": 1}}',
        '{"a": 1}\n{"a": 2}',
        'Sure! {"a": 1}',
        'The form is {a}. {"a": "none"} would be wrong. {"a": 1}',
        f'{FENCE}json\n{{"a": 1}}',
        f'<think>hm</think>\n{FENCE}json\n{{"a": 1}}\n{FENCE}\nBye.',
    ],
)
def test_an_answer_is_found_in_what_models_put_round_it(answer: str) -> None:
    assert OutputType(Typed).parse(answer) == {"a": 1}


@pytest.mark.parametrize(
    "answer",
    [
        '<think>{"a": 1}',
        '<think>{"a": 1}</think>',
        '<think>{"a": 1}</think> I cannot.',
        '<Think>{"a": 1}',
        '[THINK]{"a": 1}',
        '◁think▷{"a": 1}◁/think▷ I cannot.',
        '<seed:think>{"a": 1}',
        '<|channel|>analysis<|message|>{"a": 1}',
        '<|start|>assistant<|channel|>analysis<|message|>{"a": 1}<|end|><|start|>assistant<|channel|>final',
        "{" * 100_000,
        f"{FENCE}json\n",
    ],
)
def test_what_a_model_only_thought_is_no_answer(answer: str) -> None:
    with pytest.raises(OutputInvalid, match="not JSON"):
        OutputType(Typed).parse(answer)


def test_answer_behind_a_byte_order_mark_is_read_as_a_whole() -> None:
    class Note(BaseModel):
        text: str = ""

    assert OutputType(Note).parse(f'\ufeff{{"text": "{FENCE}{{}}{FENCE}"}}') == Note(
        text=f"{FENCE}{{}}{FENCE}"
    )


def test_text_inside_an_answer_is_left_as_it_is() -> None:
    class Note(TypedDict):
        text: str

    said = f"</think> {FENCE}json\n{{}}\n{FENCE} <think>"
    written = json.dumps({"text": said})

    assert OutputType(Note).parse(written) == {"text": said}
    assert OutputType(Note).parse(f"{FENCE}json\n{written}\n{FENCE}\nDone.") == {"text": said}
    assert OutputType(Note).parse('{"text": "two\nlines"}') == {"text": "two\nlines"}


@pytest.mark.parametrize(
    "answer", ["[" * 300_000, '{"a":' * 100_000, '{"a": [' * 50_000, f"{FENCE}\n" * 50_000, "{}" * 100_000]
)
def test_an_endless_answer_is_given_up_soon(answer: str) -> None:
    started = time.process_time()
    with pytest.raises(OutputInvalid):
        OutputType(Typed).parse(answer)
    assert time.process_time() - started < 20, "each place would be read to the end, again and again"


@pytest.mark.parametrize(
    "answer",
    [
        '{"a":' * 64 + '"' + "\\n" * 20_000_000,
        "{ " + FENCE + " " * 25_000_000,
        "{ " + f"{FENCE}\n" * 6_000_000,
    ],
    ids=["text without an end", "fence before blanks", "fences"],
)
def test_an_answer_is_not_read_to_its_end_again_and_again(answer: str) -> None:
    started = time.process_time()
    with pytest.raises(OutputInvalid):
        OutputType(Typed).parse(answer)
    assert time.process_time() - started < 5


class Exact(BaseModel):
    whole: int
    price: Decimal
    share: float = 0.0
    anything: Any = None


@pytest.mark.parametrize(
    ("price", "exact"),
    [
        ("12345678901234567.89", Decimal("12345678901234567.89")),
        ("0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
        ('"12345678901234567.89"', Decimal("12345678901234567.89")),
        ("12345678901234567890123", Decimal(12345678901234567890123)),
        ("1.10", Decimal("1.1")),
    ],
)
def test_long_numbers_are_read_digit_for_digit(price: str, exact: Decimal) -> None:
    answer = (
        f'{{"whole": -123456789012345678901234567890, "price": {price}, "share": 3.14159265358979323846}}'
    )
    value = OutputType(Exact).parse(answer)

    assert (value.whole, value.price) == (-123456789012345678901234567890, exact)
    assert (type(value.share), value.share) == (float, 3.141592653589793)
    assert OutputType(int).parse(f'{{"value": {2**80}}}') == 2**80


def test_a_strict_type_still_reads_json_beside_a_long_number() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)

        when: date
        share: float

    value = OutputType(Strict).parse('{"when": "2026-01-02", "share": 3.14159265358979323846}')
    assert value == Strict(when=date(2026, 1, 2), share=3.141592653589793)


def test_a_number_without_end_is_no_answer() -> None:
    with pytest.raises(OutputInvalid):
        OutputType(int).parse('{"value": ' + "9" * 5_000 + "}")


def test_what_a_types_own_code_raises_is_a_problem_of_the_answer() -> None:
    class Odd(BaseModel):
        a: int

        @field_validator("a")
        @classmethod
        def look_up(cls, value: int) -> int:
            return {1: 1}[value]

    with pytest.raises(OutputInvalid, match="KeyError: 7"):
        OutputType(Odd).parse('{"a": 7}')


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
