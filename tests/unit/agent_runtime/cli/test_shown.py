"""What a person sees of a question, and what a terminal is spared of others' words."""

import re
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import ActionRecord, cli
from agent_runtime.cli.entry import main
from agent_runtime.cli.output.printable import printable, printable_text
from agent_runtime.cli.output.shown import question_of, show

ATTACKS = {
    "clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "erased line": "\x1b[2K\rapproved",
    "one-byte escape": "\x9b2J",
    "right to left": "safe\u202egnp.exe",
    "isolate": "\u2066x\u2069",
    "line": "fine\nquestion: all is well",
    "line separator": "fine\u2028question",
    "tag": "a\U000e0041",
    "zero width": "rm\u200b -rf",
    "surrogate": "\ud800",
    "delete": "\x7f\x08\x08",
}


def approval(**arguments: Any) -> ActionRecord:
    return ActionRecord(
        action_id="act-1",
        type="approval",
        payload={"tool": "run", "arguments": arguments, "effect": "unsafe"},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_what_a_terminal_acts_upon_is_shown_as_what_it_is(attack: str) -> None:
    shown = printable(attack)
    assert shown.isprintable()
    assert "\\" in shown


@given(st.text(st.characters(), max_size=30))
def test_no_text_whatever_writes_more_than_letters(text: str) -> None:
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not any(unicodedata.category(letter) in hidden for letter in printable(text))
    assert set(printable_text(text)) & set("\x1b\x9b\x07\r\b\x7f\u202e\u2066") == set()


def test_texts_of_people_stay_as_they_are() -> None:
    text = "Straße, naïve, 日本語, Ελλάδα, 👍 and 5\xa0€"
    assert printable(text) == printable_text(text) == text
    assert printable_text("two\nlines, 👩\u200d💻") == "two\nlines, 👩\u200d💻"


def test_every_argument_has_a_line_with_its_length_and_the_short_ones_stand_next_to_the_prompt() -> None:
    shown = show(approval(note="x" * 400, cmd="rm -rf /", dry=False))
    assert shown.is_whole
    assert shown.lines[0] == "question: may run be called with 3 arguments, 445 characters?"
    assert [line.split(":")[0] for line in shown.lines[1:]] == [
        "  effect (6 characters)",
        "  arguments",
        "    note (400 characters)",
        "    cmd (8 characters)",
        "    dry (5 characters)",
    ]
    assert '    cmd (8 characters): "rm -rf /"' in shown.lines


def test_no_argument_stands_among_the_questions_own_fields() -> None:
    """A tool of somebody else's may have arguments of any name: one called `reason` stood among what the runtime says."""
    forged = {
        "effect": "read",
        "reason": "the policy allows it",
        "  effect (4 characters)": "read",
        "arguments": {},
    }
    lines = show(approval(**forged)).lines
    heading = lines.index("  arguments:")
    assert [line for line in lines[1:heading] if line.startswith("  ")] == [
        '  effect (6 characters): "unsafe"'
    ]
    assert all(line.startswith("    ") for line in lines[heading + 1 :])
    assert len(lines[heading + 1 :]) == len(forged)


@pytest.mark.parametrize("name", ["retry_arguments", "packages", "input"])
def test_what_others_have_named_has_a_heading_wherever_it_stands(name: str) -> None:
    told = {"operator": "pay", "arguments": {"to": "ann"}, name: {"operator": "look", "reason": "none"}}
    asked = ActionRecord(
        action_id="act-1", type="reconcile", payload=told, created_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    lines = show(asked).lines
    assert lines[1:] == (
        '  operator (3 characters): "pay"',
        "  arguments:",
        '    to (3 characters): "ann"',
        f"  {name}:",
        '    operator (4 characters): "look"',
        '    reason (4 characters): "none"',
    )
    written = replace(asked, payload={**told, name: "x"})
    assert f'  {name} (1 character): "x"' in show(written).lines


@pytest.mark.parametrize("order", [("note", "cmd"), ("cmd", "note")])
def test_a_long_argument_hides_no_other_and_is_said_to_be_cut(order: tuple[str, str]) -> None:
    values = {"note": "x" * 100_000, "cmd": "rm -rf /"}
    shown = show(approval(**{name: values[name] for name in order}))
    assert not shown.is_whole
    assert '    cmd (8 characters): "rm -rf /"' in shown.lines
    assert any("note (100,000 characters)" in line and line.endswith("… (cut)") for line in shown.lines)
    assert sum(map(len, shown.lines)) < 4_000
    whole = show(approval(**values), whole=True)
    assert whole.is_whole
    assert any("x" * 100_000 in line for line in whole.lines)
    assert 'cmd="rm -rf /"' in question_of(approval(**{name: values[name] for name in order}))


def test_many_arguments_are_not_a_whole_question_either() -> None:
    shown = show(approval(**{f"a{n}": n for n in range(200)}))
    assert not shown.is_whole
    assert shown.lines[-1] == "  … and 163 more"
    assert show(approval(**{f"a{n}": n for n in range(200)}), whole=True).is_whole


def test_names_and_messages_are_shown_like_values() -> None:
    asked = approval(**{"a\x1b[2Kb\n": "\x1b]52;c;eA==\x07"})
    message = ActionRecord(
        action_id="act-1",
        type="confirm",
        payload={"message": "Delete\r\x1b[2KKeep it?" + "!" * 900, "path": "/"},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    for one in (asked, message):
        for line in (*show(one).lines, *show(one, whole=True).lines, question_of(one)):
            assert line.isprintable()
    assert not show(message).is_whole
    assert '  path (1 character): "/"' in show(message).lines


@pytest.mark.parametrize(
    "payload",
    [
        {"message": {"amount": 5_000_000}},
        {"message": ["amount", 5_000_000]},
        {"message": "Go on?", "tool": "pays 5000000"},
        {"arguments": {"x" * 60 + " pays 5000000": 1}},
        {"message": "Go on?", "choices": ["pay 5000000", "pay nothing"]},
    ],
)
def test_no_part_of_a_question_is_left_out(payload: dict[str, Any]) -> None:
    asked = ActionRecord(
        action_id="act-1", type="approval", payload=payload, created_at=datetime(2026, 1, 1, tzinfo=UTC)
    )

    assert "5000000" in " ".join(show(asked, whole=True).lines)
    assert "5000000" in " ".join(show(asked).lines) or not show(asked).is_whole


def test_words_of_others_reach_the_terminal_through_one_door() -> None:
    """Whatever prints in the command line's folder does so through `printable`, or prints JSON, which escapes by itself."""
    doors = {"printable.py", "table.py"}
    for file in Path(cli.__file__).parent.rglob("*.py"):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if file.name in doors or "click.echo(" not in line:
                continue
            assert re.search(
                r"click\.echo\((json\.dumps|prompt, nl=False|f\"agent-runtime \{version)", line
            ), (
                file.name,
                number,
            )


@pytest.mark.parametrize(
    "arguments", [["{}"], ["jobs", "{}"], ["--{}"], ["budgets", "set", "{}"], ["jobs", "show", "a", "{}"]]
)
def test_a_mistake_in_the_usage_repeats_nothing_raw(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "x\x1b]52;c;aGk=\x07\u202e\x9b2J"
    assert main([argument.format(hostile) for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert "52;c" in told
    assert not set("\x1b\x07\u202e\x9b") & set(told)
