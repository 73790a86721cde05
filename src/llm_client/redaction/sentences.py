"""Sentences that say what a secret is: `your token is …`, `IDENTIFIED BY '…'`, `the code is 123456`. All in small letters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from llm_client.redaction.rules import Span, in_steps, near_miss
from llm_client.redaction.stretches import containing

_QUOTED_IN_SQL = r"(?: for [^\s=]{1,80} =)? ?'(?P<secret>[^'\n<]{6,256})'"
_SAID = (
    r"(?: is| was| ist)? ?(?:[\"'`](?P<quoted>(?=[^\s\"'`]{0,64}\d)[^\s\"'`<]{6,128})[\"'`]"
    r"|(?P<secret>(?=[a-z_-]{0,64}\d)(?=[\d_-]{0,64}[a-z])[a-z0-9_+/-]{16,512}))"
)
_SAID_SHORTLY = (
    r"(?:(?: is| was| ist)(?: now)?:?| set to| changed to)[ ](?P<secret>(?=[^\s]{0,64}\d)(?=[^\s]{0,64}[a-z])[a-z0-9!@#$%^&*_]{8,64})"
    r"(?=[.,;!]?(?:\s|\Z))(?! (?:characters|letters|digits|bytes|encoded|hashed))"
)
_DIGITS_SAID = r"(?: is| ist)[ ](?P<secret>\d{4,8})(?![\w-]|[.,:]\d)"


def _sentences(
    *said: str, kind: str = "secret", by: str = _SAID
) -> tuple[tuple[str, re.Pattern[str], str], ...]:
    return tuple((f"{words} ", re.compile(words + by), kind) for words in said)


_SENTENCES: Final = {
    "password": (
        *_sentences("password"),
        *_sentences("password", kind="password", by=_QUOTED_IN_SQL),
        *_sentences("password", kind="password", by=_SAID_SHORTLY),
    ),
    "identified by": _sentences("identified by", kind="password", by=_QUOTED_IN_SQL),
    "pass": (
        *_sentences("passphrase", "passwort"),
        *_sentences("passwort", "passcode", kind="password", by=_SAID_SHORTLY),
        *_sentences("passcode", by=_DIGITS_SAID),
    ),
    "token": _sentences("access token", "api token", "your token"),
    "key": _sentences("api key", "secret key"),
    "code": _sentences("verification code", "security code", "login code", "one-time code", "confirmation code", by=_DIGITS_SAID),
    "otp": _sentences("otp", by=_DIGITS_SAID),
    "pin": _sentences("your pin", "the pin", by=_DIGITS_SAID),
}  # fmt: skip
"""Sentences by a word that each holds."""


def sentence_readers(lowered: str) -> Iterator[Iterator[Span]]:
    """Yield readers of the secrets that sentences tell."""
    holds = containing(lowered)
    for needed, patterns in _SENTENCES.items():
        if holds(needed):
            for literal, pattern, kind in patterns:
                if holds(literal):
                    yield _read(pattern, kind, lowered)


def _read(pattern: re.Pattern[str], kind: str, lowered: str) -> Iterator[Span]:
    for match in in_steps(pattern, lowered):
        if isinstance(match, int):
            yield near_miss(match)
        else:
            yield *match.span(match.lastgroup or 0), kind
