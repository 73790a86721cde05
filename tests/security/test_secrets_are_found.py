"""Vendors' keys, places and wrappers, and look-alikes. To extend the suite, add a line to a file in `tests/support`."""

import re

import pytest

from llm_client.redaction import EMAIL, PHONE, SSN, RedactionRule, Redactor, redact
from support.command_lines import COMMAND_LINES, HARMLESS_COMMANDS, forms
from support.look_alikes import HARMLESS as LOOK_LIKE
from support.plain_words import PLAIN
from support.redaction_corpus import LOOK_ALIKES, SECRETS, SECRETS_IN_PLACE
from support.secret_lines import LINES
from support.secret_places import PLACES as NAMED_PLACES
from support.secret_places import WORD, shown
from support.vendor_keys import FORMS, KEYS, drawn

PLACES = NAMED_PLACES | LINES
HARMLESS = LOOK_LIKE | PLAIN

FRAMES = [
    "{}", "see {} there", "x={}\n", '"{}"', "({})", "{},", "{}.", "`{}`", "<a>{}</a>", "url?q={}&b=1", "https://h/{}/x", "'{}'",
    "x\\n{}", "[{}]", "\t{}\r\n", "key {}; next", "a%3D{}", "/{}", "**{}**", "{}?",
    # what punctuation is set with, and what stands before or after without a blank in scripts that have none
    "bad key\u2014{}\u2014try again", "a\u2013{}\u2013b", "{}\u2014is wrong", "\u2015{}", "bad key--{}--try again", "_{}_", "__{}__", "{}_", "\uff3f{}\uff3f",
    "...{}...", "无效的密钥{}，请重试", "キー{}は無効です", "ключ{}", "مفتاح{}", "열쇠{}는", "\xe9{}\xe9", "{}\xb2", "x\\n{}\\nb", "\U0001f511{}\U0001f511",
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


@pytest.mark.parametrize("name", [name for name, secret in SECRETS.items() if "\n" not in secret])
def test_a_secret_of_the_corpus_is_found_in_every_frame(name: str) -> None:
    secret = SECRETS[name]

    assert not [frame for frame in FRAMES if secret in redact(frame.format(secret))]


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


def test_a_key_is_found_after_a_dash_though_its_own_hyphens_are_dashes() -> None:
    key = KEYS["openai service"].replace("-", "\u2011")

    assert key not in redact(f"bad key\u2014{key}\u2014try again")
    assert KEYS["openai service"].replace("-", "\u2013") not in redact(
        KEYS["openai service"].replace("-", "\u2013")
    )


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("邮箱ada@example.com无效", EMAIL),
        ("_ada@example.com_", EMAIL),
        ("电话+49 30 901820", PHONE),
        ("号码415-555-2671无效", PHONE),
        ("_415-555-2671_", PHONE),
        ("号码078-05-1120无效", SSN),
        ("_078-05-1120_", SSN),
    ],
)
def test_personal_data_is_found_between_words_of_every_script(text: str, rule: RedactionRule) -> None:
    assert rule.mark in Redactor([rule]).text(text)


@pytest.mark.parametrize("name", HARMLESS)
def test_a_look_alike_is_left_alone(name: str) -> None:
    value = HARMLESS[name]

    assert redact(value) is value


@pytest.mark.parametrize("name", [name for name, value in HARMLESS.items() if isinstance(value, str)])
def test_a_look_alike_is_left_alone_within_a_text(name: str) -> None:
    text = f"first\n{HARMLESS[name]}\nlast"

    assert redact(text) is text


@pytest.mark.parametrize(
    "frame", ["the id\u2014{}\u2014is known", "a\u2013{}", "_{}_", "__{}__", "无效的{}，请重试", "это{}", "...{}...", "see--{}--there"]
)  # fmt: skip
def test_a_look_alike_is_left_alone_between_dashes_marks_and_words_of_other_scripts(frame: str) -> None:
    texts = [
        frame.format(value)
        for value in (HARMLESS | LOOK_ALIKES).values()
        if isinstance(value, str) and not re.search(r"\n|pass|pwd|senha|net use", value, re.IGNORECASE)
    ]

    assert len(texts) > 250
    assert not [text for text in texts if redact(text) is not text]


@pytest.mark.parametrize("words", COMMAND_LINES, ids=" ".join)
def test_a_command_line_keeps_no_secret_in_any_form(words: list[str]) -> None:
    assert not [name for name, form in forms(words).items() if WORD in shown(redact(form))]


def test_of_a_command_line_the_secret_alone_is_taken_out() -> None:
    assert redact(["mysql", "-uada", "-phunter2bass", "shop"]) == [
        "mysql",
        "-uada",
        "-p<REDACTED:password>",
        "shop",
    ]
    assert redact("Command '['zip', '-P', 'hunter2bass', 'a.zip']' failed") == (
        "Command '['zip', '-P', '<REDACTED:password>', 'a.zip']' failed"
    )


@pytest.mark.parametrize("words", HARMLESS_COMMANDS, ids=" ".join)
def test_a_command_line_without_a_secret_is_left_alone_in_every_form(words: list[str]) -> None:
    left = {name: form for name, form in forms(words).items() if not isinstance(form, Exception)}

    assert not [name for name, form in left.items() if redact(form) is not form]
