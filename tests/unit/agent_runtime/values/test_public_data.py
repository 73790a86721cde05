"""The quick look at an entry's data is never content with what the redactor would change."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent_runtime.values.public_data import public_data
from llm_client.redaction import redact
from support.redaction_corpus import ALNUM, body

KEY = "ghp_" + body(ALNUM, 36)
WORDS = st.sampled_from(
    ["name", "value", "kind", "Secret", "password", "type", "text", "delta", "curl", "-u", "--token", "step", "a:b",
     body(ALNUM, 20), KEY, KEY[:20], KEY[20:], "hunter2!", "/usr/bin/mysql", "-phunter2"]
)  # fmt: skip
VALUES = st.recursive(
    WORDS | st.none() | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=12,
)
PIECES = [{"delta": KEY[:20]}, {"delta": KEY[20:]}]


@settings(max_examples=400, deadline=None)
@given(data=st.dictionaries(WORDS, VALUES, max_size=3))
@example(data={"held": [["password", "hunter2!"]]})
@example(data={"held": [["curl", "-u", "a:hunter2"]]})
@example(data={"held": ["--token", "hunter2!"]})
@example(data={"held": [{"kind": "Secret", "data": {"a": "hunter2!"}}]})
@example(data={"held": PIECES})
@example(data={"held": [[PIECES]]})
def test_what_an_entry_shows_is_what_the_redactor_leaves(data: dict[str, Any]) -> None:
    assert public_data("custom.noted", data) == redact(data)


@pytest.mark.parametrize(
    "data",
    [
        {"held": [["password", "hunter2!"]]},
        {"held": [["curl", "-u", "a:hunter2"]]},
        {"held": ["--token", "hunter2!"]},
        {"held": ["mytool", "--token", "hunter2!"]},
        {"held": ["vault", "login", "hunter22"]},
        {"held": PIECES},
    ],
)
def test_lists_that_tell_a_secret_lose_it(data: dict[str, Any]) -> None:
    assert "REDACTED" in str(public_data("custom.noted", data))


def test_a_plain_entry_is_the_same_object() -> None:
    data = {"at_most": {"reserved": [{"amount": {"tokens": 3}, "budgets": [["team", "2026-11"]]}]}}
    assert public_data("model.started", data) is data
