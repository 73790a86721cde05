"""Channels: thoughts, comments and the answer, whatever marks a model writes; no text is lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.residents.channels import Channel, channels_of, final_text, split
from llm_client.messages import Message, ReasoningPart, TextPart, ToolCall

A, C, F = Channel.ANALYSIS, Channel.COMMENTARY, Channel.FINAL


def parts(text: str) -> list[tuple[Channel, str]]:
    return [(one.channel, one.text) for one in split(text, F)]


def test_thoughts_comments_and_the_answer_have_channels_of_their_own() -> None:
    said = channels_of(
        [
            Message.user("Check"),
            Message.assistant(
                [ReasoningPart(provider="x", text="First the disks."), TextPart(text="I look.")],
                [ToolCall("1", "look", {})],
            ),
            Message.tool("fine", "1"),
            Message.assistant("All is well."),
        ]
    )

    assert [(one.channel, one.text) for one in said] == [
        (A, "First the disks."),
        (C, "I look."),
        (F, "All is well."),
    ]
    assert final_text(said) == "All is well."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", [(F, "plain")]),
        ("[ANALYSIS]why[/ANALYSIS][FINAL]so[/FINAL]", [(A, "why"), (F, "so")]),
        ("[COMMENTARY]looking[/COMMENTARY] done", [(C, "looking"), (F, "done")]),
        ("[ANALYSIS]never closed", [(A, "never closed")]),
        ("closed[/ANALYSIS] never opened", [(F, "closed[/ANALYSIS] never opened")]),
        ("[NOTE]unknown[/NOTE]", [(F, "[NOTE]unknown[/NOTE]")]),
        ("[ANALYSIS]a[COMMENTARY]b[/COMMENTARY]c[/ANALYSIS]d", [(A, "a"), (C, "b"), (A, "c"), (F, "d")]),
        ("[ANALYSIS]a[COMMENTARY]b[/ANALYSIS]c", [(A, "a"), (C, "b"), (F, "c")]),
        ("[ANALYSIS] [/ANALYSIS]x", [(F, "x")]),
        (
            "<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>so<|return|>",
            [(A, "why"), (F, "so")],
        ),
        ("<|channel|>analysis<|message|>why<|channel|>final<|message|>so", [(A, "why"), (F, "so")]),
        (
            "<|channel|>commentary to=functions.look <|constrain|>json<|message|>{}<|call|>",
            [(C, "{}")],
        ),
        ("<|channel|>gossip<|message|>x<|end|>", [(F, "<|channel|>gossip<|message|>x<|end|>")]),
    ],
)
def test_marks_in_a_text_say_whom_its_parts_are_for(text: str, expected: list[tuple[Channel, str]]) -> None:
    assert parts(text) == expected


def test_an_answer_that_marks_all_as_comment_is_still_an_answer() -> None:
    assert final_text(split("[COMMENTARY]That was it.[/COMMENTARY]", F)) == "That was it."


MARKS = st.sampled_from(
    ["[ANALYSIS]", "[/ANALYSIS]", "[FINAL]", "[/FINAL]", "[/COMMENTARY]", "<|channel|>final<|message|>", "<|end|>", "[", "<|"]
)  # fmt: skip


@given(st.lists(st.one_of(MARKS, st.text("abc", min_size=1)), max_size=40))
def test_no_letter_is_lost_or_moved_whatever_marks_there_are(pieces: list[str]) -> None:
    text = "".join(pieces)
    marks = r"\[/?(?:ANALYSIS|COMMENTARY|FINAL)\]|<\|channel\|>final<\|message\|>|<\|end\|>|\s"

    said = "".join(one.text for one in split(text, F))

    assert re.sub(marks, "", said) == re.sub(marks, "", text)


def test_a_long_text_of_marks_is_read_to_its_end() -> None:
    text = "[ANALYSIS]a" * 100_000 + "[/FINAL]" * 100_000

    assert len(split(text, F)) == 1
