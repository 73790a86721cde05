import copy
import json
import re
from collections import OrderedDict, namedtuple
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_client.errors import ProviderError
from llm_client.messages import Message, ToolCall
from llm_client.redaction import EMAIL, PHONE, SSN, RedactionRule, Redactor, kind_of_name, redact
from llm_client.redaction.key_names import _ENDINGS, STEMS
from llm_client.usage import Usage
from support.redaction_corpus import (
    JWT,
    LOOK_ALIKES,
    PASSWORD,
    SECRET_NAMES,
    SECRETS,
    SECRETS_IN_PLACE,
    luhn,
)

MARK = re.compile(r"<REDACTED:[a-z_]+>")
KEY = SECRETS["anthropic"]


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(SECRETS) >= 60
    assert len(LOOK_ALIKES) >= 60


@pytest.mark.parametrize("name", SECRETS)
def test_a_known_shape_is_replaced_as_a_whole(name: str) -> None:
    assert MARK.fullmatch(redact(SECRETS[name]))


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "frame", ["see {} there", "x={}\n", '"{}"', "({})", "{},", "{}.", "`{}`", "<a>{}</a>", "url?q={}&b=1"]
)
def test_a_known_shape_is_found_inside_a_text_that_is_kept(name: str, frame: str) -> None:
    redacted = redact(frame.format(SECRETS[name]))

    assert SECRETS[name] not in redacted
    assert MARK.search(redacted)
    assert redacted.startswith(frame.partition("{}")[0].removesuffix("x="))


@pytest.mark.parametrize("name", SECRETS_IN_PLACE)
def test_a_secret_is_found_by_what_stands_around_it(name: str) -> None:
    text, secret = SECRETS_IN_PLACE[name]
    assert secret in text

    redacted = redact(text)

    assert secret not in redacted
    assert MARK.search(redacted)


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_the_value_of_a_telling_name_is_replaced_whatever_it_looks_like(name: str) -> None:
    assert kind_of_name(name)
    assert redact({name: "plain"})[name] == f"<REDACTED:{kind_of_name(name)}>"


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_look_alike_comes_out_as_the_same_object(name: str) -> None:
    value = LOOK_ALIKES[name]

    assert redact(value) is value


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_look_alike_stays_beside_a_secret(name: str) -> None:
    value = LOOK_ALIKES[name]

    assert redact({"before": KEY, "value": value, "after": KEY})["value"] == value


def test_everything_around_a_secret_is_kept() -> None:
    text = f"calling https://u:{PASSWORD}@h:1/x?page=2 with {KEY} for run_20260128_123456 (345 tokens)"

    assert redact(text) == (
        "calling https://u:<REDACTED:url_password>@h:1/x?page=2 with <REDACTED:anthropic_key>"
        " for run_20260128_123456 (345 tokens)"
    )


def test_secrets_are_found_at_any_depth_and_types_are_kept() -> None:
    Point = namedtuple("Point", "x note")
    record = {
        "messages": [{"role": "user", "content": f"my key is {KEY}"}],
        "headers": [("Authorization", "Bearer abc"), ("Accept", "*/*")],
        "raw": [[b"x-api-key", b"abc"]],
        "har": [{"name": "Cookie", "value": "a=b"}],
        "tuple": (1, KEY),
        "point": Point(1, KEY),
        "set": {KEY},
        "bytes": f"x {KEY}".encode(),
        "credentials": {"user": "ada", "parts": ["a", 1, None, True]},
        "usage": {"input_tokens": 3},
    }

    assert redact(record) == {
        "messages": [{"role": "user", "content": "my key is <REDACTED:anthropic_key>"}],
        "headers": [("Authorization", "<REDACTED:authorization>"), ("Accept", "*/*")],
        "raw": [[b"x-api-key", b"<REDACTED:api_key>"]],
        "har": [{"name": "Cookie", "value": "<REDACTED:cookie>"}],
        "tuple": (1, "<REDACTED:anthropic_key>"),
        "point": Point(1, "<REDACTED:anthropic_key>"),
        "set": {"<REDACTED:anthropic_key>"},
        "bytes": b"x <REDACTED:anthropic_key>",
        "credentials": {
            "user": "<REDACTED:credentials>",
            "parts": ["<REDACTED:credentials>", 1, None, True],
        },
        "usage": {"input_tokens": 3},
    }


def test_the_input_is_never_changed_and_unchanged_parts_are_shared() -> None:
    record = {"clean": {"a": [1, 2]}, "dirty": {"password": "x"}}
    before = copy.deepcopy(record)

    redacted = redact(record)

    assert record == before
    assert redacted["clean"] is record["clean"]
    assert redacted["dirty"] == {"password": "<REDACTED:password>"}


def test_numbers_are_secret_only_where_they_can_be() -> None:
    assert redact({"password": 123456, "cvv": 123, "token": 5, "max_tokens": 7}) == {
        "password": "<REDACTED:password>",
        "cvv": "<REDACTED:secret>",
        "token": 5,
        "max_tokens": 7,
    }


def test_keys_that_are_secrets_are_replaced_and_kept_apart() -> None:
    redacted = redact({SECRETS["groq"]: 1, SECRETS["groq"].swapcase().replace("GSK_", "gsk_"): 2})

    assert redacted == {"<REDACTED:groq_key>": 1, "<REDACTED:groq_key>'": 2}


def test_dataclasses_stay_what_they_are() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Login:
        user: str
        password: str
        attempts: int = 0

        def __post_init__(self) -> None:
            if self.password.startswith("<"):
                raise ValueError(self.password)

    login = Login(user="ada", password="x1")
    message = Message.assistant("ok", [ToolCall("call_1", "login", {"api_key": "x"})])

    redacted = redact({"login": login, "message": message, "usage": Usage(input_tokens=3)})

    assert redacted["login"].user == "ada"
    assert redacted["login"].password == "<REDACTED:password>"
    assert redacted["message"] == Message.assistant(
        "ok", [ToolCall("call_1", "login", {"api_key": "<REDACTED:api_key>"})]
    )
    assert redacted["usage"] == Usage(input_tokens=3)
    assert login.password == "x1"


def test_models_and_mappings_become_dicts_and_errors_become_text() -> None:
    class Settings(pydantic.BaseModel):
        api_key: str
        model: str

    assert redact(Settings(api_key="x", model="gpt-5.2")) == {
        "api_key": "<REDACTED:api_key>",
        "model": "gpt-5.2",
    }
    assert redact(MappingProxyType({"pwd": "x"})) == {"pwd": "<REDACTED:password>"}
    assert redact(OrderedDict(pwd="x")) == {"pwd": "<REDACTED:password>"}
    assert redact({"error": ProviderError(f"401 for {KEY}")}) == {
        "error": "ProviderError: 401 for <REDACTED:anthropic_key>"
    }


def test_objects_that_print_a_secret_become_their_redacted_text() -> None:
    class Url:
        def __init__(self, text: str) -> None:
            self.text = text

        def __str__(self) -> str:
            return self.text

    harmless = Url("https://h/x")

    assert redact([Url(f"https://u:{PASSWORD}@h/x"), harmless]) == [
        "https://u:<REDACTED:url_password>@h/x",
        harmless,
    ]


def test_scalars_of_other_types_stay() -> None:
    values = [datetime(2026, 11, 21, tzinfo=UTC), Decimal("1.10"), UUID(int=7), b"\x00\xff", float("nan")]

    assert redact(values) is values


def test_deep_and_circular_values_end() -> None:
    deep: list[Any] = [KEY]
    for _ in range(5_000):
        deep = [deep]
    circle: dict[str, Any] = {"password": "x"}
    circle["self"] = circle
    wide: list[Any] = [KEY]
    for _ in range(60):
        wide = [wide, wide]

    assert "<REDACTED:too_deep>" in str(redact(deep))
    assert redact(circle) == {"password": "<REDACTED:password>", "self": "<REDACTED:cycle>"}
    assert redact(wide) is not wide


def test_an_unreadable_object_costs_itself_and_nothing_else() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError(KEY)

    class BrokenMapping(Mapping[str, str]):
        def __getitem__(self, key: str) -> str:
            raise KeyError(key)

        def __iter__(self) -> Iterator[str]:
            yield "a"

        def __len__(self) -> int:
            return 1

    redacted = redact({"a": Broken(), "b": BrokenMapping(), "c": "kept", "password": "x"})

    assert redacted == {
        "a": "<REDACTED:unreadable>",
        "b": "<REDACTED:unreadable>",
        "c": "kept",
        "password": "<REDACTED:password>",
    }


def test_own_rules_and_names_come_on_top_of_the_known_ones() -> None:
    redactor = Redactor(
        rules=[
            RedactionRule("ticket", r"TICKET-\d+"),
            RedactionRule("half", r"id=(?P<secret>\d+)", ("id=",)),
        ],
        keys=["internalCode"],
    )

    assert redactor.redact({"internal_code": 7, "text": f"TICKET-12 id=99 {KEY}"}) == {
        "internal_code": "<REDACTED:custom>",
        "text": "<REDACTED:ticket> id=<REDACTED:half> <REDACTED:anthropic_key>",
    }
    assert Redactor(rules=[RedactionRule("n", "^a$")], defaults=False).redact(
        ["a", "aa", {"password": "p"}]
    ) == [
        "<REDACTED:n>",
        "aa",
        {"password": "p"},
    ]


def test_personal_data_is_taken_out_only_on_request() -> None:
    text = "ada.l+x@mail.example.co.uk, +49 30 901820, (415) 555-2671, 415-555-2671, 078-05-1120, 2026-11-21, run 12345"

    assert redact(text) is text
    assert Redactor(rules=[EMAIL, PHONE, SSN]).text(text) == (
        "<REDACTED:email>, <REDACTED:phone>, <REDACTED:phone>, <REDACTED:phone>, <REDACTED:ssn>, 2026-11-21, run 12345"
    )


def test_personal_rules_leave_identifiers_alone() -> None:
    redactor = Redactor(rules=[EMAIL, PHONE, SSN])

    for name, value in LOOK_ALIKES.items():
        if name not in {"phone", "e-mail"}:
            assert redactor.redact(value) is value, name


def test_a_kind_must_be_a_word() -> None:
    with pytest.raises(ValueError, match="a kind is a word"):
        RedactionRule("no>mark", "x")


def test_the_representation_of_a_rule_holds_no_state() -> None:
    assert RedactionRule("a", "b") == RedactionRule("a", "b")
    assert RedactionRule("a", "b").mark == "<REDACTED:a>"


@pytest.mark.parametrize(
    "piece",
    ["eyJ", "sk-", "sk-ant-", "a-", "password=", 'password="', "pwd='\\\"", "token:", "://a:", "@", "-----BEGIN ",
     "Bearer ", "Basic ", "1 ", "4111-", "4", "A", "Q~", "key-", "a.", "\\n", "%3D", "?key=", "Cookie: a=",
     "hooks.slack.com/services/", ".atlasv1.", "+1 ", "(1", "<REDACTED:x", "=", ":AA", "dp.pt."],
)  # fmt: skip
@pytest.mark.timeout(20)  # quadratic time would take hours
def test_hostile_repetition_takes_linear_time(piece: str) -> None:
    text = piece * (300_000 // len(piece))

    assert Redactor(rules=[EMAIL, PHONE, SSN]).text(text)


texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
ingredients = st.sampled_from(
    [*SECRETS.values(), *(text for text, _ in SECRETS_IN_PLACE.values()), *filter(lambda v: isinstance(v, str), LOOK_ALIKES.values()),
     "password", "token", "=", ": ", '"', "'", "\\", "\n", " ", "<REDACTED:jwt>", "<REDACTED:", ">", "@", "://", "&", "İ", "4", "-"]
)  # fmt: skip
mixed = st.lists(st.one_of(texts, ingredients), max_size=6).map("".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | mixed,
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(
            st.one_of(mixed, st.sampled_from(SECRET_NAMES), st.just("name"), st.just("value")),
            children,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_redacting_twice_is_redacting_once(value: Any) -> None:
    once = redact(value)

    assert redact(once) == once


@given(json_values)
def test_a_secret_beside_a_value_does_not_change_how_the_value_is_read(value: Any) -> None:
    assert redact({"beside": KEY, "it": value})["it"] == redact(value)


@given(json_values)
def test_json_stays_json_and_the_input_stays_as_it_was(value: Any) -> None:
    before = json.dumps(value)

    json.dumps(redact(value))

    assert json.dumps(value) == before


@given(texts, st.sampled_from(sorted(SECRETS)), texts)
def test_no_surrounding_hides_a_secret_that_stands_alone(before: str, name: str, after: str) -> None:
    assert SECRETS[name] not in redact(f"{before} {SECRETS[name]} {after}")


@pytest.mark.parametrize("end", ["-----END CERTIFICATE-----", "-----END ", "-----END PRIVATE-----"])
def test_a_private_key_ends_at_any_end_at_the_latest(end: str) -> None:
    begun = "-----BEGIN PRIVATE KEY-----\nabc"
    mark = "<REDACTED:private_key>"
    assert redact([begun, end]) == [mark, end]
    assert redact(f"{begun}\n{end} x") == f"{mark}{end} x"


@given(st.lists(mixed, max_size=8))
@example(["-----BEGIN PRIVATE KEY-----", "-----END CERTIFICATE-----"])
def test_looking_at_many_texts_at_once_finds_what_looking_at_each_finds(parts: list[str]) -> None:
    assert redact(parts) == [redact(part) for part in parts]


@given(st.recursive(st.text(max_size=5) | st.integers() | st.binary(max_size=5) | st.none(),
                    lambda c: st.lists(c) | st.tuples(c, c) | st.dictionaries(st.text(max_size=3) | st.integers(), c) | st.frozensets(st.integers())))  # fmt: skip
def test_no_value_makes_it_raise(value: Any) -> None:
    redact(value)


@given(st.integers(min_value=0, max_value=9), st.data())
def test_a_card_number_with_a_wrong_digit_stays(digit: int, data: st.DataObject) -> None:
    number = luhn(data.draw(st.sampled_from(["4", "51", "6011"])), 16)
    place = data.draw(st.integers(min_value=6, max_value=15))
    wrong = number[:place] + str(digit) + number[place + 1 :]

    assert (redact(wrong) == wrong) == (wrong != number)


def test_a_token_signed_by_nobody_is_still_a_token() -> None:
    assert redact(JWT.rpartition(".")[0] + ".") == "<REDACTED:jwt>"


def test_every_ending_of_a_name_holds_a_stem() -> None:
    """Tables are looked at only when a line of theirs holds one."""
    assert [ending for ending in _ENDINGS if not any(stem in ending for stem in STEMS)] == []


def test_all_keys_that_share_a_piece_of_a_stream_are_taken_out_of_it() -> None:
    first, second, third = SECRETS["anthropic"], SECRETS["groq"], SECRETS["github classic"]
    pieces = [
        f"a\u2014{first[:40]}",
        f"{first[40:]} b {second} password=hunter2bass c {third[:20]}",
        f"{third[20:]} d",
    ]

    redacted = [piece["delta"] for piece in redact([{"delta": piece} for piece in pieces])]

    assert redacted == [
        "a\u2014<REDACTED:anthropic_key>",
        " b <REDACTED:groq_key> password=<REDACTED:password> c <REDACTED:github_token>",
        " d",
    ]
