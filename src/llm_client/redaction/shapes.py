"""Shapes of secrets that no prefix at the start of a word gives away, from vendors' documentation and public scanners' rule sets.

A scanner looks at every long run of key characters. Some secrets hold a mark inside such a run (`…T3BlbkFJ…`), others stand after
a short word and a separator (`SG.…`, `://…`), and the rest are rules that are tried where a literal of theirs occurs.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from functools import cache

from llm_client.redaction.key_names import kind_of_name
from llm_client.redaction.prefixes import INFIX
from llm_client.redaction.rules import AFTER, BEFORE, RedactionRule, Span, known, near_miss


def _holds_a_credential(match: re.Match[str]) -> bool:
    """Tell a bearer token from a sentence about bearers."""
    value = match["secret"]
    digits = any(character.isdigit() for character in value)
    mixed = len(value) >= 20 and value.lower() != value and value.upper() != value
    return digits or mixed


def _is_secret_option(match: re.Match[str]) -> bool:
    """Tell `--password x` from `--max-tokens 5`."""
    return kind_of_name(match["name"]) is not None and (match["name"] != "token" or len(match["secret"]) >= 6)


def _is_basic_auth(match: re.Match[str]) -> bool:
    value = match["secret"]
    try:
        return b":" in base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False


_CARD_ISSUER = re.compile(
    r"4(?:.{12}|.{15}|.{18})"  # Visa: 13, 16 or 19 digits
    r"|(?:5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720).*(?<=^.{16})"  # Mastercard
    r"|3[47].{13}|3(?:0[0-5]|[68]).*(?<=^.{14})"  # American Express, Diners Club
    r"|(?:6011|65|64[4-9]|35(?:2[89]|[3-8])|62).*(?<=^.{16})"  # Discover, JCB, UnionPay
)
_DOUBLED = bytes(sum(divmod(2 * (byte - 48), 10)) if 48 <= byte < 58 else 0 for byte in range(256))


def _is_card_number(match: re.Match[str]) -> bool:
    digits = match[0].replace(" ", "").replace("-", "")
    number = digits.encode()
    total = sum(number[-1::-2]) - 48 * len(number[-1::-2]) + sum(number[-2::-2].translate(_DOUBLED))
    return total % 10 == 0 and bool(_CARD_ISSUER.fullmatch(digits)) and len(set(digits)) > 1


@cache
def card_rule() -> RedactionRule:
    """Return the rule for payment card numbers, with issuer and checksum."""
    grouped = r"\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{3}([ -])\d{6}\2\d{4,5}"
    # What stands before is checked second: a pattern that starts with its first digit is searched much faster.
    return known(
        "card_number",
        r"[2-6](?:(?<![\w.-][2-6])|(?<=[._][2-6])(?<![A-Za-z0-9-][._][2-6])|(?<=--[2-6])|(?<=\\[nrtbf][2-6])|(?<=%[0-9A-Fa-f]{2}[2-6]))"
        rf"(?:\d{{12,18}}|{grouped}){AFTER}(?!\.\d)",
        check=_is_card_number,
    )


_START = rf"(?:{BEFORE}|(?<=\\[nrtbf])|(?<=%[0-9A-Fa-f]{{2}}))"
"""Where a key can begin: after no key character, or after the escape of JSON or of a URL that is glued to it."""


@cache
def run_rules() -> tuple[RedactionRule, ...]:
    """Return the rules for runs of key characters that hold a mark; a literal of theirs must occur in the run."""
    return (
        known("openai_key", r"(?:sk-)?[\w-]{12,}?T3BlbkFJ[\w-]{12,}+", ("T3BlbkFJ",)),
        known("azure_key", _START + r"[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{26}" + AFTER, ("JQQJ99",)),
        known("azure_token", _START + r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}" + AFTER, ("AZDO",)),
        known(
            "azure_key",
            _START + r"[\w+/-]{30,80}(?:Az(?:Fu|Se|Ca|EG)|AIoT|ACDb|APIM)[\w+/-]{4,20}={0,2}",
            ("Az", "AIoT", "ACDb", "APIM"),
        ),
        known("newrelic_key", _START + r"[0-9a-z]{20,40}(?:FFFF)?NRAL" + AFTER, ("NRAL",)),
        known("newrelic_key", _START + r"[0-9A-Za-z]{20,44}-NRMA" + AFTER, ("-NRMA",)),
        known("mailchimp_key", _START + r"[0-9a-f]{32}-us[0-9]{1,2}" + AFTER, ("-us",)),
        known("maxmind_key", _START + r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk" + AFTER, ("_mmk",)),
        known("dropbox_token", _START + r"[A-Za-z0-9]{11}AAAAAAAAAA[\w-]{43}", ("AAAAAAAAAA",)),
        known("azure_key", _START + r"[\w+/]{30,80}\+A(?:St|Sb|Rm|Eh|MC|Ba|CR)[\w+/]{4,12}={0,2}", ("+A",)),
        INFIX,
    )


class TwoParts:
    """Secrets that a separator cuts in two: what stands before a long run of key characters, and the run."""

    def __init__(self, rules: Sequence[tuple[str, str, str]]) -> None:
        self._rules = [
            (kind, re.compile(rf"(?<!\w\.){_START}(?:{before})\Z", re.ASCII), re.compile(after, re.ASCII))
            for kind, before, after in rules
        ]
        self._any_second = re.compile("|".join(f"(?:{after})" for _, _, after in rules), re.ASCII)

    def spans(self, text: str, start: int) -> Iterator[Span]:
        """Yield the secret whose second part is the run at `start`, or a near miss if that could be the second part of one."""
        if not self._any_second.match(text, start):  # most names with a dot before them
            return
        for kind, before, pattern in self._rules:
            after = pattern.match(text, start)  # first, as it looks at one place and the other at many
            first = after and before.search(text, max(0, start - _WINDOW), start)
            if after and first:
                yield first.start(), after.end(), kind
                return
        yield near_miss(start)


_WINDOW = 48

_TWO_PARTS: tuple[tuple[str, str, str, str], ...] = (
    # what the part before ends with (one or two characters), kind, the part before, the run and what follows it
    ("G.", "sendgrid_key", r"SG\.", r"[\w-]{16,64}\.[\w-]{16,}+"),
    ("s. b. r.", "vault_token", r"hv[sbr]\.", r"[\w-]{24,}+"),
    ("s.", "vault_token", r"(?<!hv)s\.", r"(?=[a-z0-9]*[A-Z])(?=[A-Za-z]*\d)[A-Za-z0-9]{24}(?!\.\w)" + AFTER),
    ("Q.", "google_key", r"AQ\.", r"Ab[\w-]{30,}+"),
    ("9. c.", "google_token", r"ya29\.(?:c\.)?", r"[\w-]{20,}+"),
    (".", "doppler_token", r"dp\.(?:pt|ct|sa|scim|audit|st(?:\.[\w-]{2,35})?)\.", r"[\w-]{30,}+"),
    ("l. u.", "dropbox_token", r"sl\.(?:u\.)?", r"[\w=-]{60,}+"),
    ("k.", "mapbox_token", r"sk\.", r"eyJ[\w-]{16,}+(?:\.[\w-]++)?"),
    ("1.", "fullstory_key", r"na1\.", r"(?=[\w+/]*\d)[\w+/]{40,}+"),
    ("0.", "zoho_token", r"1000\.", r"[0-9a-f]{32}\.[0-9a-f]{32}"),
    ("t.", "infisical_token", r"st\.", r"[0-9a-f]{24}\.[0-9a-f]{32}\.[0-9a-f]{32}"),
    ("t.", "harness_token", r"[ps]at\.", r"[\w-]{22}\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{20}"),
    ("F. M. S.", "voiceflow_key", r"VF\.(?:(?:DM|WS)\.)?", r"[0-9a-fA-F]{24}\.[A-Za-z0-9]{16}"),
    ("n.", "mailersend_key", r"mlsn\.", r"[0-9a-f]{48,}+"),
    ("1.", "yandex_token", r"t1\.", r"[\w-]{10,}={0,2}\.[\w-]{80,}={0,2}"),
    ("l. c.", "paseto", r"v[1-4]\.(?:local|public)\.", r"[\w-]{40,}+(?:\.[\w-]++)?"),
    ("0. 1.", "azure_token", r"[01]\.", r"A[\w-]{80,}+(?:\.[\w-]++)*"),
    ("1.", "cloudflare_key", r"v1\.", r"0-[0-9a-f]{24}-[0-9a-f]{100,}+"),
    ("1.", "terraform_token", r"\w{14}\.atlasv1\.", r"[\w-]{60,}+"),
    (".", "dynatrace_token", r"dt0[a-z]\d\d\.", r"[A-Za-z0-9]{16,24}\.[A-Za-z0-9]{48,}+"),
    (".", "discord_token", r"[MNO][\w-]{22,28}\.[\w-]{6,7}\.", r"[\w-]{27,40}" + AFTER),
    ("a.", "discord_token", r"mfa\.", r"[\w-]{60,}+"),
    (".", "zhipu_key", r"[0-9a-f]{32}\.", r"(?=[a-z0-9]*[A-Z])[A-Za-z0-9]{16}(?!\.\w)" + AFTER),
    (".", "airtable_token", r"pat[A-Za-z0-9]{14}\.", r"[0-9a-f]{64}"),
    (":", "telegram_token", r"(?:bot)?\d{8,10}:", r"AA[\w-]{32,34}" + AFTER),
    (":", "asana_token", r"[0-2]/\d{10,17}(?:/\d{10,17})?:", r"[0-9a-f]{32}" + AFTER),
    (":", "fal_key", r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}:", r"[0-9a-f]{32}" + AFTER),
    ("|", "facebook_token", r"\d{15,16}\|", r"(?=[\w-]*[A-Z])[\w-]{27,40}" + AFTER),
    ("|", "convex_key", r"(?:prod|dev|preview|project|local):[\w:-]{3,40}\|", r"(?:eyJ|01)[A-Za-z0-9+/]{16,}+={0,2}"),
    ("|", "convex_key", r"[a-z]{2,16}-[a-z]{2,16}-\d{1,4}\|", r"01[0-9a-f]{40,}+"),
    ("!", "salesforce_token", r"00D[A-Za-z0-9]{12,15}!", r"[\w.]{60,}+"),
    ("6~", "openshift_token", r"sha256~", r"[\w-]{43}" + AFTER),
    ("n$ x$", "paypal_token", r"access_token\$(?:production|sandbox)\$", r"[0-9a-z]{16}\$[0-9a-f]{32}"),
)  # fmt: skip


@cache
def two_part_rules() -> dict[str, TwoParts]:
    """Return the rules for secrets of two parts, by the one or two characters that the first part ends with."""
    table: dict[str, list[tuple[str, str, str]]] = {}
    for ends, kind, before, after in _TWO_PARTS:
        for end in ends.split():
            table.setdefault(end, []).append((kind, before, after))
    return {end: TwoParts(rules) for end, rules in table.items()}


def _password_hash() -> RedactionRule:
    return known(
        "password_hash",
        r"\$(?<![\w$]\$)(?:2[abxy]\$\d\d\$[./A-Za-z0-9]{53}|(?:1|5|6|y|7|apr1|sha1)\$[^\s$:\"'<>]{1,64}\$[^\s:\"'<>]{20,200}"
        r"|argon2(?:id|i|d)\$[^\s\"'<>:]{40,400}|pbkdf2[\w-]{0,20}\$[^\s\"'<>:]{40,400})",
        ("$2", "$1$", "$5$", "$6$", "$y$", "$apr1$", "$argon2", "$pbkdf2"),
    )


@cache
def option_rules() -> tuple[RedactionRule, ...]:
    """Return the rules for options of command lines."""
    return (
        known(
            "password",
            r"--(?<![\w-]--)(?P<name>[a-z][a-z-]{0,40}) {1,3}(?P<secret>[^\s\"'`$<>{}\\-][^\s\"'`<>\\]*+)",
            ("--",),
            _is_secret_option,
        ),
        known(
            "password",
            r"-(?<=\s-)(?:u|-user|-proxy-user|U)[ =]{0,2}[\"']?[^\s\"':=-][^\s\"':]{0,64}:(?P<secret>(?!//)[^\s\"'$<>{}\\][^\s\"'<>\\]{2,256})",
            ("curl", "-user "),
        ),
    )


@cache
def literal_rules() -> tuple[RedactionRule, ...]:
    """Return the rules that are tried only where a literal of theirs occurs."""
    query = (
        r"[Ss]ig(?:nature)?=(?:(?<=[?&]sig=)|(?<=[?&][Ss]ignature=)|(?<=[?&]X-Amz-Signature=)|(?<=[?&]X-Goog-Signature=))"
        r"(?P<secret>[^\s&#\"'<>\\]{8,}+)"
    )
    google_query = r"key=(?<=[?&]key=)(?P<secret>(?=[\w-]{0,64}\d)(?=[\w-]{0,64}[A-Za-z])[\w-]{20,}+)"
    return (
        known(
            "private_key",
            r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----[^-]*+(?:-(?!----END )[^-]*+)*+"
            r"(?:-----END [A-Z0-9 ]{0,60}KEY(?: BLOCK)?-----|(?=-----END )|\Z)",
            ("-----BEGIN",),
        ),
        known(
            "private_key",
            r"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----(?s:.*?)(?:---- END SSH2 ENCRYPTED PRIVATE KEY ----|\Z)",
            ("---- BEGIN SSH2",),
        ),
        known("private_key", r"Private-Lines: \d{1,4}\r?\n(?P<secret>(?:[A-Za-z0-9+/=]{1,80}\r?\n?)++)", ("Private-Lines: ",)),
        *(
            # The word's tail stands first: a pattern that begins with plain characters is searched much faster.
            known(
                kind,
                rf"{tail}(?<=\b{word})[ ]{{1,4}}(?P<secret>{value})",
                (tail + " ",),
                check,
            )
            for kind, tail, word, value, check in (
                ("bearer_token", "earer", "[Bb]earer", r"[A-Za-z0-9._~+/-]{8,}+={0,2}", _holds_a_credential),
                ("bearer_token", "EARER", "BEARER", r"[A-Za-z0-9._~+/-]{8,}+={0,2}", _holds_a_credential),
                ("basic_auth", "asic", "[Bb]asic", r"[A-Za-z0-9+/]{6,}+={0,2}", _is_basic_auth),
                ("basic_auth", "ASIC", "BASIC", r"[A-Za-z0-9+/]{6,}+={0,2}", _is_basic_auth),
            )
        ),
        *option_rules(),
        known("signature", query, ("ig=", "ignature=")),
        known("api_key", google_query, ("?key=", "&key=")),
        _password_hash(),
        known("azure_secret", r"Q~(?<=(?P<head>[\w.~-]{3}\d)Q~)(?:(?<![A-Za-z0-9][\w.~-]{4}Q~)|(?<=\\[nrtbf][\w.~-]{4}Q~)|(?<=%[0-9A-Fa-f]{2}[\w.~-]{4}Q~))[\w.~-]{31,34}"
            + AFTER, ("Q~",)),
        known(
            "webhook_url",
            r"(?:hooks\.slack\.com/(?:services|workflows|triggers)/|hooks\.zapier\.com/hooks/catch/|discord(?:app)?\.com/api/webhooks/\d{15,20}/"
            r"|/api/webhooks/\d{15,20}/|\.webhook\.office\.com/webhookb2/|\.tines\.com/webhook/|hook\.[a-z0-9.]{1,12}make\.com/"
            r"|chat\.googleapis\.com/v1/spaces/)(?P<secret>[^\s\"'<>\\?&]{12,}+(?:\?[^\s\"'<>\\]*+)?)",
            ("hook", "chat.googleapis.com/"),
        ),
    )  # fmt: skip
