"""The known shapes of secrets, from their vendors' documentation and from public secret scanners' rule sets.

Keys with a prefix of their own (`ghp_…`) are found by looking at every long run of key characters and asking whether
it starts with a known prefix, which costs one pass over a text however many vendors there are. The rest are rules
that are tried where a literal of theirs occurs.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import cache

from llm_client.redaction.key_names import kind_of_name
from llm_client.redaction.rules import RedactionRule

_AFTER = r"(?![A-Za-z0-9_-])"

_PREFIXED: tuple[tuple[str, str, str], ...] = (
    # kind, prefixes, what follows a prefix
    ("anthropic_key", "sk-ant-", r"[\w-]{20,}+"),
    ("openai_key", "sk-proj- sk-svcacct- sk-admin- sk-None-", r"[\w-]{20,}+"),
    ("openrouter_key", "sk-or-v1-", r"[0-9a-f]{32,}+"),
    ("langfuse_key", "sk-lf-", r"[0-9a-f-]{36}"),
    ("api_key", "sk-", r"(?=[\w-]*[0-9])(?=[\w-]*[A-Za-z])(?:[A-Za-z0-9]+[_-]){0,3}[A-Za-z0-9]{20,}+[\w-]*+"),
    ("google_key", "AIza", r"[\w-]{35}" + _AFTER),
    ("google_secret", "GOCSPX-", r"[\w-]{24,}+"),
    ("groq_key", "gsk_", r"[A-Za-z0-9]{32,}+"),
    ("xai_key", "xai-", r"[A-Za-z0-9]{40,}+"),
    ("huggingface_token", "hf_ api_org_", r"[A-Za-z0-9]{30,}+"),
    ("replicate_token", "r8_", r"[A-Za-z0-9]{32,}+"),
    ("perplexity_key", "pplx-", r"[A-Za-z0-9]{32,}+"),
    ("fireworks_key", "fw_", r"[A-Za-z0-9]{22,}+" + _AFTER),
    ("together_key", "tgp_v1_", r"[\w-]{32,}+"),
    ("nvidia_key", "nvapi-", r"[\w-]{48,}+"),
    ("cerebras_key", "csk-", r"[a-z0-9]{40,}+"),
    ("tavily_key", "tvly-", r"(?=[\w-]*[0-9])[\w-]{20,}+"),
    ("langsmith_key", "lsv2_pt_ lsv2_sk_", r"[0-9a-f]{32}_[0-9a-f]{10}"),
    ("elevenlabs_key", "sk_", r"[0-9a-f]{48}" + _AFTER),
    ("aws_key_id", "AKIA ASIA ABIA ACCA", r"[A-Z0-9]{16}" + _AFTER),
    ("github_token", "ghp_ gho_ ghu_ ghs_ ghr_", r"[A-Za-z0-9]{36,}+"),
    ("github_token", "github_pat_", r"[A-Za-z0-9_]{22,}+"),
    ("gitlab_token", "glpat- gldt- glrt- glptt- glcbt- glsoat- glft- glimt- glagent-", r"[\w-]{20,}+"),
    ("slack_token", "xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xapp-", r"(?=[\w-]*[0-9])[\w-]{10,}+"),
    ("stripe_key", "sk_live_ sk_test_ rk_live_ rk_test_", r"[A-Za-z0-9]{16,}+"),
    ("npm_token", "npm_", r"[A-Za-z0-9]{36}" + _AFTER),
    ("pypi_token", "pypi-AgEI pypi-AgEN", r"[\w-]{50,}+"),
    ("rubygems_key", "rubygems_", r"[0-9a-f]{48}"),
    ("docker_token", "dckr_pat_ dckr_oat_", r"[\w-]{20,}+"),
    ("shopify_token", "shpat_ shpca_ shppa_ shpss_", r"[0-9A-Fa-f]{32}"),
    ("twilio_key", "SK", r"[0-9a-f]{32}" + _AFTER),
    ("mailgun_key", "key-", r"[0-9a-f]{32}" + _AFTER),
    ("brevo_key", "xkeysib-", r"[0-9a-f]{64}-[A-Za-z0-9]{16}"),
    ("digitalocean_token", "dop_v1_ doo_v1_ dor_v1_", r"[0-9a-f]{64}"),
    ("linear_key", "lin_api_", r"[A-Za-z0-9]{32,}+"),
    ("notion_token", "ntn_", r"[A-Za-z0-9]{40,}+"),
    ("postman_key", "PMAK-", r"[0-9a-f]{24}-[0-9a-f]{34}"),
    ("grafana_token", "glsa_ glc_", r"[A-Za-z0-9+/_=]{32,}+"),
    ("newrelic_key", "NRAK-", r"[A-Z0-9]{27}"),
    ("atlassian_token", "ATATT3", r"[\w=-]{60,}+"),
    ("square_token", "sq0atp- sq0csp-", r"[\w-]{22,}+"),
    ("supabase_key", "sbp_", r"[0-9a-f]{40}"),
    ("planetscale_token", "pscale_tkn_ pscale_pw_ pscale_oauth_", r"[\w.-]{32,}+"),
    ("pulumi_token", "pul-", r"[0-9a-f]{40}"),
    ("age_key", "AGE-SECRET-KEY-1", r"[A-Z0-9]{58}"),
    ("jwt", "eyJ", r"[\w-]{8,}+(?:\.[\w-]*+){2,4}"),
)


@cache
def prefix_rules() -> dict[str, tuple[tuple[str, RedactionRule], ...]]:
    """Return prefixes and rules by a prefix's first two characters, longest prefix first."""
    table: dict[str, list[tuple[str, RedactionRule]]] = {}
    for kind, prefixes, rest in _PREFIXED:
        for prefix in prefixes.split():
            rule = RedactionRule(kind, re.escape(prefix) + rest)
            table.setdefault(prefix[:2], []).append((prefix, rule))
    return {start: tuple(sorted(rules, key=lambda item: -len(item[0]))) for start, rules in table.items()}


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


def _is_card_number(match: re.Match[str]) -> bool:
    before = match.string[match.start() - 1 : match.start()]
    digits = match[0].replace(" ", "").replace("-", "")
    if (
        before.isalnum()
        or before in {"_", ".", "-"}
        or not _CARD_ISSUER.fullmatch(digits)
        or len(set(digits)) == 1
    ):
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


@cache
def card_rule() -> RedactionRule:
    """Return the rule for payment card numbers, with issuer and checksum."""
    grouped = r"\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{3}([ -])\d{6}\2\d{4,5}"
    # What stands before is checked last: a pattern that starts with its first digit is searched much faster.
    return RedactionRule(
        "card_number", rf"[2-6](?:\d{{12,18}}|{grouped})(?![\w-]|\.\d)", check=_is_card_number
    )


@cache
def literal_rules() -> tuple[RedactionRule, ...]:
    """Return the rules that are tried only where a literal of theirs occurs."""
    query = r"(?<=[?&])(?:X-(?:Amz|Goog)-)?(?:Signature|Security-Token|sig|signature)=(?P<secret>[^\s&#\"'<>\\]{8,}+)"
    google_query = r"(?<=[?&])key=(?P<secret>(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{20,}+)"
    return (
        RedactionRule(
            "private_key",
            r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----(?s:.*?)"
            r"(?:-----END [A-Z0-9 ]{0,60}KEY(?: BLOCK)?-----|\Z)",
            ("-----BEGIN",),
        ),
        RedactionRule(
            "url_password",
            r"://[^\s/?#:\"'<>\\]{0,256}:(?P<secret>(?!\$?\{[^{}]{0,64}\}@)[^\s/?#\"'<>\\]{1,1024})@",
            ("://",),
        ),
        RedactionRule(
            "bearer_token",
            r"\b[Bb](?:earer|EARER)[ ]{1,4}(?P<secret>[A-Za-z0-9._~+/-]{8,}+={0,2})",
            ("earer ", "EARER "),
            _holds_a_credential,
        ),
        RedactionRule(
            "basic_auth",
            r"\b[Bb](?:asic|ASIC)[ ]{1,4}(?P<secret>[A-Za-z0-9+/]{6,}+={0,2})",
            ("asic ", "ASIC "),
            _is_basic_auth,
        ),
        RedactionRule(
            "password",
            r"(?<![\w-])--(?P<name>[a-z][a-z-]{0,40}) {1,3}(?P<secret>[^\s\"'`$<>{}\\-][^\s\"'`<>\\]*+)",
            ("--",),
            _is_secret_option,
        ),
        RedactionRule("signature", query, ("ig=", "ignature=", "-Token=")),
        RedactionRule("api_key", google_query, ("key=",)),
        RedactionRule("aws_bedrock_key", r"(?<![\w+/])ABSK[\w+/]{100,}+={0,2}", ("ABSK",)),
        RedactionRule("webhook_secret", r"(?<![\w-])whsec_[\w+/]{24,}+={0,2}", ("whsec_",)),
        RedactionRule("sentry_token", r"(?<![\w-])sntry[su]_[\w+/=-]{32,}+", ("sntry",)),
        RedactionRule("google_key", r"(?<![\w.-])AQ\.Ab[\w-]{30,}+", ("AQ.Ab",)),
        RedactionRule("google_token", r"(?<![\w.-])ya29\.[\w-]{20,}+", ("ya29.",)),
        RedactionRule("google_token", r"(?<![\w/.-])1//0[\w-]{30,}+", ("1//0",)),
        RedactionRule("sendgrid_key", r"(?<![\w.-])SG\.[\w-]{16,64}\.[\w-]{16,}+", ("SG.",)),
        RedactionRule("vault_token", r"(?<![\w.-])hv[sbr]\.[\w-]{24,}+", ("hvs.", "hvb.", "hvr.")),
        RedactionRule("doppler_token", r"(?<![\w.-])dp\.(?:pt|st|ct|sa)\.[\w.-]{40,}+", ("dp.",)),
        RedactionRule("terraform_token", r"(?<![\w.-])\w{14}\.atlasv1\.[\w-]{60,}+", (".atlasv1.",)),
        RedactionRule("azure_secret", r"(?<![\w.~-])[\w.~-]{3}\dQ~[\w.~-]{31,34}(?![\w~-])", ("Q~",)),
        RedactionRule("azure_key", r"(?<!\w)[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{26}(?!\w)", ("JQQJ99",)),
        RedactionRule("azure_token", r"(?<!\w)[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}(?!\w)", ("AZDO",)),
        RedactionRule("telegram_token", r"(?<!\w)\d{8,10}:AA[\w-]{32,34}(?![\w-])", (":AA",)),
        RedactionRule(
            "webhook_url",
            r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[A-Za-z0-9/]{20,}+)",
            ("hooks.slack.com/",),
        ),
        RedactionRule("webhook_url", r"/api/webhooks/\d{15,20}/(?P<secret>[\w-]{40,}+)", ("/api/webhooks/",)),
    )
