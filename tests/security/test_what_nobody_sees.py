"""Characters that nobody sees – fillers, variation selectors, tags and not only zero widths – hide nothing and make nobody another one."""

import pytest

from agent_runtime.cli.output.printable import printable
from agent_runtime.errors import InvalidInput
from agent_runtime.policy.comparisons import compare_path, comparisons
from agent_runtime.values.person import check_approvers, check_person, find_person
from llm_client.model_names import canonical_model
from llm_client.redaction import redact
from llm_client.tools.foreign_schema import plain_text

UNSEEN = [
    "\u200b",
    "\u202e",
    "\u00ad",
    "\u034f",
    "\u115f",
    "\u3164",
    "\uffa0",
    "\u180b",
    "\ufe0f",
    "\U000e0101",
    "\U000e0041",
    "\u2065",
    "\U0001d173",
]

pytestmark = pytest.mark.parametrize("unseen", UNSEEN, ids=ascii)


@pytest.mark.parametrize(
    "tests", [{"==": "evil@x.com"}, {"in": ["evil@x.com"]}, {"contains": "@x.com"}, {"glob": "*@x.com"}]
)
def test_they_hide_nothing_from_a_rule_that_restricts(unseen: str, tests: dict[str, object]) -> None:
    """`False` would be an answer; whether it holds can at least not be told."""
    assert compare_path("to", comparisons(tests), {"to": f"evil@x{unseen}.com"}) is not False
    assert compare_path("to", comparisons(tests), {"to": f"ann@ok{unseen}.com"}) is not True


@pytest.mark.parametrize("tests", [{"!=": "evil@x.com"}, {"not_in": ["evil@x.com"]}])
def test_they_make_nothing_another_text_for_a_rule_that_permits(
    unseen: str, tests: dict[str, object]
) -> None:
    assert compare_path("to", comparisons(tests), {"to": f"evil@x{unseen}.com"}, permits=True) is not True


def test_a_permit_with_a_pattern_is_not_given_to_them(unseen: str) -> None:
    assert (
        compare_path(
            "to", comparisons({"glob": "*@ok.com"}), {"to": f"evil@x.com{unseen}@ok.com"}, permits=True
        )
        is None
    )


def test_they_are_shown_as_what_they_are(unseen: str) -> None:
    assert printable(f"a{unseen}b").isascii()


def test_they_make_nobody_another_person(unseen: str) -> None:
    assert find_person(f"A{unseen}nn", ["ann"]) == "ann"
    with pytest.raises(InvalidInput, match="something can be seen"):
        check_person("resolved_by", unseen)
    with pytest.raises(InvalidInput, match="cannot make a quorum"):
        check_approvers(["ann", f"an{unseen}n"], 2)


def test_they_do_not_reach_the_model_from_a_foreign_server(unseen: str) -> None:
    assert plain_text(f"Pay{unseen}s.") == "Pays."


def test_they_hide_no_key_and_no_name_of_one(unseen: str) -> None:
    key = "sk-" + "a1B2" * 10
    assert "B2a1" not in redact(f"it is {key[:20]}{unseen}{key[20:]} here")
    assert "hunter42x" not in redact(f"pass{unseen}word=hunter42x")


def test_they_make_no_model_another_one(unseen: str) -> None:
    hyphen = unseen == "\u00ad"  # may be shown as one, so that it counts as one
    assert canonical_model(f"gpt{unseen}5.2") == ("gpt-5.2" if hyphen else "gpt5.2")
