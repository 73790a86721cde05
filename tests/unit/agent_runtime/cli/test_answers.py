"""What people type, and what it means."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import ActionRecord, InvalidInput
from agent_runtime.actions.resolution import check_resolution
from agent_runtime.cli.answers import choice_from, from_json, how_to_answer, items_of, prompt_for, understand
from agent_runtime.cli.output.shown import question_of

TYPES = ["confirm", "choose", "input", "approval", "reconcile", "upload", "custom"]


def action(type_: str, **payload: Any) -> ActionRecord:
    return ActionRecord(
        action_id="act-1", type=type_, payload=payload, created_at=datetime(2026, 1, 1, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("type_", "typed", "resolution"),
    [
        ("approval", "y", {"approved": True}),
        ("approval", " No ", {"approved": False}),
        ("confirm", "YES", {"confirmed": True}),
        ("choose", "b", {"choice": "b"}),
        ("input", "some words", {"value": "some words"}),
        ("reconcile", "d", {"outcome": "done"}),
        ("reconcile", "retry", {"outcome": "retry"}),
        ("custom", '{"any": 1}', {"any": 1}),
    ],
)
def test_a_line_is_understood_by_the_kind_of_question(
    type_: str, typed: str, resolution: dict[str, Any]
) -> None:
    assert understand(action(type_, choices=["a", "b"]), typed) == resolution


@given(st.sampled_from(TYPES), st.text(max_size=20))
def test_whatever_is_typed_is_an_answer_of_the_right_form_or_refused(type_: str, typed: str) -> None:
    asked = action(type_)
    try:
        resolution = understand(asked, typed)
    except InvalidInput:
        return
    check_resolution(asked, resolution)


@pytest.mark.parametrize("typed", ["", "maybe", "ye s"])
def test_neither_yes_nor_no_is_refused(typed: str) -> None:
    with pytest.raises(InvalidInput, match="y or n"):
        understand(action("approval"), typed)


def test_an_empty_line_reconciles_nothing() -> None:
    with pytest.raises(InvalidInput):
        understand(action("reconcile"), "")


def test_a_choice_need_not_be_text() -> None:
    assert choice_from(action("choose", choices=[1, 2]), "2") == 2
    assert choice_from(action("choose"), "free") == "free"


def test_choices_that_look_alike_are_told_apart() -> None:
    """`1` and `"1"` were both shown as 1, and the first was taken for either."""
    asked = action("choose", choices=[1, "1", "pay, not much", True, "True"])
    assert prompt_for(asked) == 'which of 1, "1", "pay, not much", true, "True"? '
    assert how_to_answer(asked) == "--choice 1"
    assert choice_from(asked, "1") == 1
    assert choice_from(asked, '"1"') == "1"
    assert choice_from(asked, "true") is True
    assert choice_from(asked, "pay, not much") == "pay, not much"
    with pytest.raises(InvalidInput, match="may be one or another"):
        choice_from(asked, "True")


def test_only_an_object_is_an_answer_in_json() -> None:
    with pytest.raises(InvalidInput, match="not a JSON object"):
        from_json("[1]")
    with pytest.raises(InvalidInput, match="not JSON"):
        from_json("{")


@pytest.mark.parametrize("type_", TYPES)
def test_every_kind_of_question_says_how_it_is_answered(type_: str) -> None:
    asked = action(type_, choices=["a b"], packages={"p": "MIT"})

    assert how_to_answer(asked).startswith("--")
    assert prompt_for(asked).endswith(" ")
    assert items_of(asked) == ({"p": "MIT"} if type_ == "confirm" else {})


def test_a_question_is_one_line_however_large_its_arguments() -> None:
    assert question_of(action("confirm", message="Really?")) == "Really?"
    long = question_of(action("approval", tool="pay", arguments={"text": "x" * 10_000}))
    assert long.startswith("may pay be called with")
    assert len(long) < 600
    assert question_of(action("upload", what=1)) == "upload: what"
