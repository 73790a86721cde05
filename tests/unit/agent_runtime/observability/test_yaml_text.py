"""What is written as YAML is read back as it was, by PyYAML, and people can read it."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.observability.yaml_text import yaml_text

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=40),
    st.text(" \n\t:#-|>'\"%&*!?{}[],~\r\x85\u2028\ufeffab", max_size=30),
    st.lists(
        st.sampled_from(["", " ", "  a", "a ", "\t", "- b", "# c", "---", "...", "k: v", "é😀"]), max_size=6
    ).map("\n".join),
    st.sampled_from(
        [
            "yes",
            "No",
            "null",
            "~",
            "1:30",
            "2026-01-28",
            "0x1f",
            "1e5",
            ".inf",
            "",
            "=",
            "<<",
            "é",
            "-",
            "?",
            "a" * 3000,
        ]
    ),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS),
    lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(TEXTS, below, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_every_value_is_read_back_as_it_was(value: dict[str, Any]) -> None:
    written = yaml_text(value)

    assert yaml.load(written, Loader=yaml.CSafeLoader) == value
    assert yaml.safe_load(written) == value


def test_a_text_of_several_lines_stands_there_as_it_is() -> None:
    written = yaml_text(
        {"user_prompt": "Plan a trip.\n\n  * by train\n", "calls": [{"name": "a", "size": 1}, "x y"]}
    )

    assert written == (
        'user_prompt: |\n  Plan a trip.\n\n    * by train\ncalls:\n  - name: a\n    size: 1\n  - "x y"\n'
    )


def test_halves_of_surrogate_pairs_are_replaced() -> None:
    assert yaml.safe_load(yaml_text({"a": "x\ud83dy", "b": "\ud83d\n2"})) == {
        "a": "x\ufffdy",
        "b": "\ufffd\n2",
    }


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 1e-05, 1e16, 5.0, 10**30])
def test_numbers_stay_numbers(value: float) -> None:
    assert yaml.safe_load(yaml_text({"n": value})) == {"n": value}


def test_json_is_not_taken_for_more_than_text() -> None:
    text = json.dumps({"a": ["!!python/object/apply:os.system", "*alias"]}, indent=2)
    assert yaml.safe_load(yaml_text({"raw_response": text})) == {"raw_response": text}
