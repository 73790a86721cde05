"""Vendors' keys, places and wrappers, and look-alikes. To extend the suite, add a line to a file in `tests/support`."""

import re

import pytest

from llm_client.redaction import redact
from support.look_alikes import HARMLESS as LOOK_LIKE
from support.plain_words import PLAIN
from support.redaction_corpus import LOOK_ALIKES, SECRETS, SECRETS_IN_PLACE
from support.secret_lines import LINES
from support.secret_places import PLACES as NAMED_PLACES
from support.secret_places import shown
from support.vendor_keys import FORMS, KEYS, drawn

PLACES = NAMED_PLACES | LINES
HARMLESS = LOOK_LIKE | PLAIN

FRAMES = [
    "{}", "see {} there", "x={}\n", '"{}"', "({})", "{},", "{}.", "`{}`", "<a>{}</a>", "url?q={}&b=1", "https://h/{}/x", "'{}'",
    "x\\n{}", "[{}]", "\t{}\r\n", "key {}; next", "a%3D{}", "/{}", "**{}**", "{}?",
]  # fmt: skip


def test_the_corpora_are_as_large_as_promised() -> None:
    assert len(KEYS) + len(SECRETS) + len(SECRETS_IN_PLACE) + len(PLACES) >= 1_000
    assert len(HARMLESS) + len(LOOK_ALIKES) >= 400


@pytest.mark.parametrize("name", FORMS)
def test_a_vendors_key_is_found_alone_and_in_every_frame(name: str) -> None:
    for seed in ("", "second", "third"):
        key = drawn(FORMS[name], seed)
        left = [frame for frame in FRAMES if key in redact(frame.format(key))]
        assert not left, key[:12]


@pytest.mark.parametrize("name", FORMS)
def test_hardly_anything_of_a_vendors_key_is_left(name: str) -> None:
    left = re.sub(r"<REDACTED:\w+>", "", redact(KEYS[name]))

    assert len(left) <= len(KEYS[name]) // 3 or name == "stripe payment intent"  # whose first half is an id


@pytest.mark.parametrize("name", PLACES)
def test_a_secret_is_found_in_its_place(name: str) -> None:
    value, secret = PLACES[name]
    assert secret in shown(value)

    assert secret not in shown(redact(value))


@pytest.mark.parametrize("name", PLACES)
def test_what_was_found_in_its_place_is_found_within_a_record(name: str) -> None:
    value, secret = PLACES[name]

    assert secret not in shown(redact({"before": "text", "record": [{"value of it": value}], "after": 1}))


@pytest.mark.parametrize("name", HARMLESS)
def test_a_look_alike_is_left_alone(name: str) -> None:
    value = HARMLESS[name]

    assert redact(value) is value


@pytest.mark.parametrize("name", [name for name, value in HARMLESS.items() if isinstance(value, str)])
def test_a_look_alike_is_left_alone_within_a_text(name: str) -> None:
    text = f"first\n{HARMLESS[name]}\nlast"

    assert redact(text) is text
