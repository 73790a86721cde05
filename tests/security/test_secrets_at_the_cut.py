"""Texts are cut before they are redacted, and nothing of a secret that the cut goes through remains, however long it is."""

import re
from collections.abc import Callable

import pytest

from llm_client.public_text import MAX_PUBLIC_CHARACTERS, public_text
from llm_client.redaction import redact
from support.redaction_corpus import ALNUM, URLSAFE, body

LONG: dict[str, Callable[[int], str]] = {
    "jwt": lambda n: "eyJ" + body(ALNUM, 30) + ".eyJ" + body(URLSAFE, n) + "." + body(URLSAFE, 43),
    "xml": lambda n: f"<password>{body(ALNUM, n)}</password>",
    "password of a url": lambda n: f"postgres://u:{body(ALNUM, n)}@h/d",
    "signature": lambda n: f"https://h/x?sig={body(ALNUM, n)}&x=1",
    "netrc": lambda n: f"machine h login a password {body(ALNUM, n)}",
    "quoted": lambda n: f'password="{body(ALNUM, n)}"',
    "bearer": lambda n: f"Authorization: Bearer {body(ALNUM, n)}",
    "cookie": lambda n: f"Cookie: session={body(ALNUM, n)}",
    "cloud": lambda n: "ya29." + body(URLSAFE, n),
}


def left_of(secret: str, text: str) -> list[str]:
    """Return what a text still has of the inside of a secret."""
    pieces = {secret[at : at + 12] for at in range(40, len(secret) - 30, 7)}
    return [piece for piece in pieces if piece.isalnum() and piece in text]


@pytest.mark.parametrize("lead", [0, 1_000, 3_500, 3_900, 3_990, 4_050, 7_000, 7_900, 8_080])
@pytest.mark.parametrize("name", LONG)
def test_nothing_of_a_long_secret_at_the_cut_remains(name: str, lead: int) -> None:
    for length in (200, 1_000, 3_000, 5_000, 9_000, 20_000):
        secret = LONG[name](length)
        shown = public_text("word " * (lead // 5) + secret)

        assert not left_of(secret, shown), length


@pytest.mark.parametrize("name", LONG)
def test_nothing_of_a_long_secret_remains_where_nothing_is_cut(name: str) -> None:
    for length in (1_000, 3_000, 7_000):
        secret = LONG[name](length)

        assert not left_of(secret, redact(f"first {secret} last")), length


def test_two_parts_of_a_token_tell_as_much_as_three() -> None:
    token = LONG["jwt"](200).rpartition(".")[0]

    assert redact(f"cut here: {token}") == "cut here: <REDACTED:jwt>"


def test_a_long_text_of_words_or_json_keeps_what_is_before_the_cut() -> None:
    words, entries = "word " * 3_000, '{"name":"ada","at":"2026-11-21"},' * 500

    assert public_text(words) == words[:MAX_PUBLIC_CHARACTERS]
    assert public_text(entries) == entries[:MAX_PUBLIC_CHARACTERS]
    assert public_text("seen: " + "a1/b." * 5_000) == "seen: <REDACTED:cut>"
    assert not re.search("REDACTED", public_text("word " * 1_000 + "a1/b." * 800))
