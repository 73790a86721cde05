"""Redaction takes time in proportion to the text, whoever wrote it: every rule's near-miss, repeated, and mixtures of them.

Work is measured in the process's own time, the best of some runs, and compared between a text and one four times as long: linear
work takes four times as long, quadratic work sixteen times. What is asked of the interpreter is counted as well, which is the same on
every machine.
"""

import itertools
import random
import sys
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm_client.redaction import EMAIL, PHONE, SSN, Redactor, redact
from llm_client.redaction.command_lists import LISTS
from llm_client.redaction.commands import COMMANDS
from llm_client.redaction.places import _PLACES
from llm_client.redaction.prefixes import prefix_rules
from llm_client.redaction.shapes import literal_rules
from llm_client.redaction.tables import TABLES

SHORT, LONG = 16_000, 64_000
RATIO = 9
NOISE = 0.025
"""Seconds below which a ratio says more about the machine than about the rules."""

PREFIXES = sorted({prefix for heads in prefix_rules().values() for prefix in heads.prefixes})
WORDS = [
    "password",
    "pwd",
    "token",
    "api_key",
    "api key",
    "authorization",
    "cookie",
    "sid",
    "auth",
    "signature",
]
LITERALS = sorted(
    {
        *(word for rule in literal_rules() for word in rule.literals),
        *(
            word
            for places in (_PLACES, TABLES, COMMANDS, LISTS)
            for readers in places.values()
            for words, _ in readers
            for word in words
        ),
    }
)
ASSIGNED = [
    ": ",
    "=",
    '="',
    "='",
    '\\"',
    " = a ",
    ": a b ",
    ":\n",
    "=a=",
    ": a=b\n",
    ": bearer ",
    ": digest a=",
    "', '",
    ": |\n  ",
    "%3D",
    "=&",
]
PLACES = [
    "MIGHAgEAMBMGcodektypassphrase ", "earer ?key=dckr_oat_hmacvalue=", "://a:b", "://a:/b@", "<a>", "<password>", "<password>x</", 'name="password" ', 'value="x" ', "machine a login b password ",
    "user,password\n", '"a","b"\n', '{"kty":"RSA","d":"', "&code=1&state=", '"name": "password", ', '"type": "string", ', "curl -u a:",
    "'zip', '-P', ", '"mysql", "-p', "['curl', '-u', 'a:b'], ", "'http', ", "htpasswd -b a ", "mongo -p ", "--password ", "-----BEGIN RSA PRIVATE KEY-----", "MIIEpAIBAAKCAQEA\n", "Private-Lines: 2\n", "4111 1111 ", "4111-1111-1111-1111",
    "setx password ", "set password to ", "ENV API_KEY ", " -Password ", "zip a -P ", "mysql a ", "http a -a b:", "openssl a ", "net use a b ", "vault login ",
    "echo a | a ", "curl a -b ", "requirepass ", "a:b@tcp", "sqlplus a/b", "--from-literal a=", "| password | a |", "| a | password |\n", "|---|---|\n",
    "<td>password</td><td>", "<key>password</key>\n<string>", "kind: secret\ndata:\n  a: b\n", "/token/", "%3A%2F%2Fa%3Ab", "&lt;password&gt;a",
    '{"k": "password", "v": ', '"value": "x", "name": "password"', 'variable "password" {', '<a name="password">', "password:\n", "password: [\"", "password = q(",
    "password = {", "password: &a ", "password = <<EOF\n", "set_password(\"", "\u5bc6\u7801: ", "\\u5bc6\\u7801", "\\u0061", "\\x61", "\x1b[0m", "a\0", "pin: ",
    "the password is ", "verification code is ", "$2a$12$", "$6$a$", "prod:a-b|", "config['password'] = ", "password == ", "**password**: ", "pw: ", "senha: ",
    'form-data; name="password"\r\n\r\n', 'name="a" value="b" ', 'value="x" name="password" ', "<REDACTED:x>", "\u200b", "\uff41", "\uff53\uff4b-", "sk-a1\u200b", "a/", "a+", "a.", "\u2014", "a\u2014", "\u2013sk-", "\u2014eyJaaaaaaaaa", "--sk-", "__", "--", "_-", "--4111", "a.aaaaaaaaaaaaaaaa", "1:AAaaaaaaaaaaaaaaaa",
]  # fmt: skip
NEAR_MISSES = [*PREFIXES, *(word + tail for word in WORDS for tail in ASSIGNED), *LITERALS, *PLACES]


def seconds(text: str, redactor: Redactor) -> float:
    begin = time.process_time()
    redactor.text(text)
    return time.process_time() - begin


def assert_linear(piece: str, redactor: Redactor) -> None:
    short, long = (piece * (size // len(piece) + 1) for size in (SHORT, LONG))
    for _ in range(4):
        if seconds(long, redactor) < max(NOISE, RATIO * seconds(short, redactor)):
            return
    pytest.fail(f"{piece!r} takes more than linear time")


@pytest.mark.parametrize("part", range(8))
@pytest.mark.timeout(120)
def test_the_near_miss_of_every_rule_takes_linear_time(part: int) -> None:
    redactor = Redactor()

    for piece in NEAR_MISSES[part::8]:
        assert_linear(piece, redactor)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.timeout(120)
def test_mixtures_of_near_misses_take_linear_time(seed: int) -> None:
    draw = random.Random(seed)
    redactor = Redactor(rules=[EMAIL, PHONE, SSN])

    for _ in range(60):
        piece = "".join(draw.choice(NEAR_MISSES) for _ in range(draw.randint(2, 6)))
        assert_linear(piece, redactor)


def calls(text: str) -> int:
    """Count the calls, of functions in C too, that it takes to redact a text."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        redact(text)
    finally:
        sys.setprofile(before)
    return count


@given(
    st.lists(st.sampled_from(NEAR_MISSES), min_size=1, max_size=8),
    st.sampled_from(["", " ", "\n", ", ", '"', "/", "="]),
)
@example(["api key: a b "], "")
@example(["MIIEpAIBAAKCAQEA\n"], "")
@example(["pubkey-", "signature: |\n  ", "'-"], "/")
@settings(max_examples=40)
@pytest.mark.timeout(120)
def test_every_mixture_asks_as_little_of_the_interpreter(pieces: list[str], between: str) -> None:
    """A bound for each character, too: hostile texts end where there is more to look at than anybody would read."""
    mixture = between.join([*pieces, ""])
    redact(mixture * 3)  # compiles what it needs

    short, long = (calls(mixture * (size // len(mixture) + 1)) for size in (20_000, 80_000))

    assert long < 6 * short + 2_000
    assert long < 2 * 80_000


@pytest.mark.parametrize(
    "piece",
    [
        "://a:/b@",
        "://a:/b@c ",
        "://a:/b@c",
        "cookie: ",
        "authorization: ",
        "set-cookie: a ",
        "authorization:x ",
        'pwd="',
        "password: |\n ",
        "://a:",
    ],
)
@pytest.mark.timeout(60)  # in quadratic time, which this once took, a megabyte of these takes minutes
def test_a_megabyte_is_done_in_time(piece: str) -> None:
    redact(piece * (1_000_000 // len(piece)))


@pytest.mark.timeout(60)
def test_many_small_texts_are_as_bounded_as_one_long_one() -> None:
    records = [{"line": f"password=x{number}y secret=z{number}q"} for number in range(20_000)]

    redacted = redact(records)

    assert redacted[0] == {"line": "password=<REDACTED:password> secret=<REDACTED:secret>"}
    assert redacted[-1] == {"line": "<REDACTED:crowded>"}


@pytest.mark.timeout(60)
def test_secrets_that_are_names_take_linear_time() -> None:
    """2,000 of them took two and a half seconds, and ten times as many would have taken an hour."""

    def named(count: int) -> dict[str, int]:
        return {"sk-" + "proj-" + f"a1B2c3D4{number:032}": number for number in range(count)}

    redacted = redact(named(20_000))

    assert len(redacted) == 20_000
    assert list(redacted.values()) == list(range(20_000))
    assert list(redacted)[:3] == [f"<REDACTED:openai_key>{end}" for end in ("", "'", "'3")]
    assert list(redacted)[-1].startswith("<REDACTED:crowded>'")
    begin = time.process_time()
    redact(named(8_000))
    assert time.process_time() - begin < 5.0, "it took a minute"


def test_a_name_that_is_taken_is_given_to_no_secret() -> None:
    secret = "sk-" + "proj-" + "a1B2c3D4" * 6
    marked = {f"<REDACTED:openai_key>{end}": 1 for end in ("", "'", "'3", "'4")}
    assert redact({secret: 2, **marked}) == {"<REDACTED:openai_key>'5": 2, **marked}


def test_what_nobody_had_time_to_look_at_is_taken_out() -> None:
    text = "".join(f"password=abc{number}\n" for number in range(10_000)) + "sk-" + "a1B2" * 10

    redacted = redact(text)

    assert redacted.startswith("password=<REDACTED:password>\npassword=<REDACTED:password>\n")
    assert redacted.endswith("<REDACTED:crowded>")
    assert not any(f"abc{number}\n" in redacted for number in range(10_000))


def test_hundreds_of_secrets_in_one_text_are_each_taken_out() -> None:
    lines = [f"export SERVICE_{number}_TOKEN=token{number}value" for number in range(600)]

    assert redact("\n".join(lines)).count("<REDACTED:token>") == 600


@pytest.mark.parametrize("piece", ["<password>x{}y</password>", '<i name="password" value="x{}y">'])
def test_places_are_bounded_like_names(piece: str) -> None:
    redacted = redact("".join(piece.format(number) for number in range(20_000)))

    assert redacted.endswith("<REDACTED:crowded>")
    assert not any(f"x{number}y" in redacted for number in range(20_000))


def test_a_long_table_ends_with_what_was_looked_at() -> None:
    rows = "".join(f"ada,word{number}\n" for number in itertools.islice(itertools.count(), 3_000))

    redacted = redact("user,password\n" + rows)

    assert not any(f"word{number}\n" in redacted for number in range(3_000))
    assert redacted.endswith("<REDACTED:crowded>")
