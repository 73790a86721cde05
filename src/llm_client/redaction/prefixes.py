"""Keys with a prefix of their own: what their vendors' documentation and public secret scanners say of their form.

A row is a kind, the prefixes, and what follows a prefix. Forms are kept a little wider than a vendor's own: lengths grow
with every version of a key, and a mark too many costs less than a key in a log. Where a body could be words or an id, a digit
or a mixture of cases is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from llm_client.redaction.rules import AFTER, RedactionRule, known

_DIGIT = r"(?=[A-Za-z_-]*[0-9])"
_MIXED = r"(?=[a-z0-9_-]*[A-Z])(?=[A-Z0-9_-]*[a-z])(?=[A-Za-z_-]*[0-9])"
_UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_B64 = r"[A-Za-z0-9+/]"

_MODELS: tuple[tuple[str, str, str], ...] = (
    ("anthropic_key", "sk-ant-", r"[\w-]{20,}+"),
    ("openai_key", "sk-proj- sk-svcacct- sk-service- sk-admin- sk-None-", r"[\w-]{20,}+"),
    ("openai_key", "sess-", _DIGIT + r"[A-Za-z0-9]{32,}+"),
    ("openai_key", "ek_", r"[0-9a-f]{32,}+"),
    ("openrouter_key", "sk-or-v1-", r"[0-9a-f]{32,}+"),
    ("langfuse_key", "sk-lf-", r"[0-9a-f-]{36}"),
    ("api_key", "sk-", r"(?=[\w-]*[0-9])(?=[\w-]*[A-Za-z])(?:[A-Za-z0-9]+[_-]){0,3}[A-Za-z0-9]{20,}+[\w-]*+"),
    ("google_key", "AIza", r"[\w-]{35}" + AFTER),
    ("google_secret", "GOCSPX-", r"[\w-]{24,}+"),
    ("google_key", "GOOG1E", r"[A-Z0-9]{30,}+"),
    ("google_token", "1//0", r"[\w-]{30,}+"),
    ("yandex_key", "AQVN", r"[\w-]{35,38}" + AFTER),
    ("yandex_key", "YCAJ YCM YCP YCN", _MIXED + r"[\w-]{36,38}" + AFTER),
    ("groq_key", "gsk_", r"[A-Za-z0-9]{32,}+"),
    ("xai_key", "xai-token- xai-", r"\w{40,}+"),
    ("huggingface_token", "hf_ api_org_", r"[A-Za-z0-9]{30,}+"),
    ("replicate_token", "r8_", r"[\w-]{32,}+"),
    ("perplexity_key", "pplx-", r"[A-Za-z0-9]{32,}+"),
    ("fireworks_key", "fw_", r"[A-Za-z0-9]{22,}+" + AFTER),
    ("together_key", "tgp_v1_", r"[\w-]{32,}+"),
    ("nvidia_key", "nvapi-", r"[\w-]{48,}+"),
    ("cerebras_key", "csk-", _DIGIT + r"[A-Za-z0-9]{32,}+"),
    ("brave_key", "BSA", _MIXED + r"[\w-]{26,30}" + AFTER),
    ("tavily_key", "tvly-", r"(?=[\w-]*[0-9])[\w-]{20,}+"),
    ("langsmith_key", "lsv2_pt_ lsv2_sk_ ls__", r"[0-9a-f]{32}(?:_[0-9a-f]{10})?"),
    ("elevenlabs_key", "sk_", r"[0-9a-f]{48}" + AFTER),
    ("cartesia_key", "sk_car_", r"[\w-]{20,}+"),
    ("firecrawl_key", "fc-", r"[0-9a-f]{32}" + AFTER),
    ("jina_key", "jina_", r"[\w-]{40,}+"),
    ("voyage_key", "pa- al-", _MIXED + r"[\w-]{40,64}" + AFTER),
    ("llamacloud_key", "llx-", r"[A-Za-z0-9]{32,}+"),
    ("pinecone_key", "pcsk_", r"[A-Za-z0-9]{4,8}_[A-Za-z0-9]{32,}+"),
    ("e2b_key", "e2b_", r"[0-9a-f]{32,}+"),
    ("browserbase_key", "bb_live_ bb_test_", r"[\w-]{16,}+"),
    ("bannerbear_key", "bb_pr_ bb_ma_", r"[0-9a-f]{30}"),
    ("wandb_key", "wandb_v1_", r"[\w-]{32,}+"),
    ("api_key", "esecret_ secret_", _DIGIT + r"(?:[a-z0-9-]{1,24}_)?[A-Za-z0-9]{24,}+" + AFTER),
    ("runpod_key", "rpa_ rps_", _DIGIT + r"[A-Za-z0-9]{20,}+"),
    ("modal_token", "as- ak-", _MIXED + r"[A-Za-z0-9]{22}" + AFTER),
    ("friendli_token", "flp_", r"[A-Za-z0-9]{32,}+"),
    ("clarifai_key", "clf_", r"[A-Za-z0-9]{32,}+"),
    ("agent_runtime_key", "ark_", r"[0-9a-f]{12,}_[\w-]{32,}+"),
    ("context7_key", "ctx7sk-", r"[\w-]{30,}+"),
    ("statsig_key", "secret-", _MIXED + r"[A-Za-z0-9]{32,}+"),
)  # fmt: skip

_CLOUDS: tuple[tuple[str, str, str], ...] = (
    ("aws_key_id", "AKIA ASIA ABIA ACCA", r"[A-Z0-9]{16}" + AFTER),
    ("aws_token", "IQoJ FwoGZXIvYXdz AgoJb3JpZ2lu", _B64 + r"{60,}+={0,2}"),
    ("aws_bedrock_key", "ABSK", _B64 + r"{100,}+={0,2}"),
    ("aws_bedrock_key", "bedrock-api-key-", _B64 + r"{28,}+={0,2}"),
    ("alibaba_key_id", "LTAI", _DIGIT + r"[A-Za-z0-9]{12,24}" + AFTER),
    ("tencent_key_id", "AKID", _DIGIT + r"[A-Za-z0-9]{32}" + AFTER),
    ("cloudflare_token", "cfut_ cfat_ cfk_", r"[A-Za-z0-9]{40,}+"),
    ("fly_token", "fm1r_ fm1a_ fm2_", r"[\w+/-]{60,}+={0,3}"),
    ("fly_token", "fo1_", r"[\w-]{40,}+"),
    ("heroku_key", "HRKU-", r"[\w-]{40,}+"),
    ("render_key", "rnd_", _DIGIT + r"[A-Za-z0-9]{24,}+"),
    ("digitalocean_token", "dop_v1_ doo_v1_ dor_v1_", r"[0-9a-f]{64}"),
    ("vercel_token", "vcp_ vci_ vca_ vcr_ vck_", _DIGIT + r"[A-Za-z0-9]{24,}+"),
    ("netlify_token", "nfp_ nfc_ nfo_ nfb_ nfu_", r"[A-Za-z0-9]{32,}+"),
    ("deno_token", "ddp_ ddw_", r"[A-Za-z0-9]{32,}+"),
    ("databricks_token", "dapi dkea dose dsapi", r"[0-9a-f]{32}(?:-\d)?" + AFTER),
    ("mongodb_secret", "mdb_sa_sk_", r"[\w-]{30,}+"),
    ("neon_key", "napi_", r"[a-z0-9]{40,}+"),
    ("supabase_key", "sbp_ sbp_v0_ sbp_oauth_", r"[0-9a-f]{40}"),
    ("supabase_key", "sb_secret_", r"[\w-]{20,}+"),
    ("planetscale_token", "pscale_tkn_ pscale_pw_ pscale_oauth_", r"[\w.-]{32,}+"),
    ("cockroach_key", "CCDB1_", r"[A-Za-z0-9]{16,}_[A-Za-z0-9]{30,}+"),
    ("aiven_secret", "AVNS_", r"[\w-]{16,}+"),
    ("xata_key", "xau_", r"[A-Za-z0-9]{30,}+"),
    ("confluent_secret", "cflt", _MIXED + _B64 + r"{50,}+"),
    ("clickhouse_secret", "4b1d", _MIXED + r"[A-Za-z0-9]{38}" + AFTER),
    ("pulumi_token", "pul-", r"[0-9a-f]{40}"),
    ("tailscale_key", "tskey-", r"(?:[a-z]{2,12}-\w{8,32}-\w{16,}+|\w{20,}+)"),
    ("defined_networking_key", "dnkey-", r"[\w=-]{60,}+"),
    ("scalingo_token", "tk-us- tk-eu-", r"[\w-]{40,}+"),
    ("one_password_token", "ops_eyJ", _B64 + r"{60,}+={0,3}"),
    ("one_password_key", "A3-", r"[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})(?:-[A-Z0-9]{5}){3}" + AFTER),
    ("endor_key", "endr+", r"[A-Za-z0-9-]{16}"),
    ("age_key", "AGE-SECRET-KEY-1", r"[A-Z0-9]{58}"),
    ("nostr_key", "nsec1", r"[a-z0-9]{58}" + AFTER),
    ("wallet_key", "xprv yprv zprv tprv", r"[1-9A-HJ-NP-Za-km-z]{100,}+"),
)  # fmt: skip

_CODE: tuple[tuple[str, str, str], ...] = (
    ("github_token", "ghp_ gho_ ghu_ ghs_ ghr_", r"[A-Za-z0-9]{36,}+"),
    ("github_token", "github_pat_", r"[A-Za-z0-9_]{22,}+"),
    ("gitlab_token", "glpat- gldt- glrt- glrtr- glptt- glcbt- glsoat- glft- glimt- glagent- glffct- gloas- glwt-",
     r"[\w-]{20,}+(?:\.[0-9a-z]{2}\.?[0-9a-z]{7,9})?"),
    ("gitlab_token", "GR1348941", r"[\w-]{20,}+"),
    ("bitbucket_token", "ATBB", _DIGIT + r"[\w=-]{28,}+"),
    ("bitbucket_token", "BBDC-", r"[\w+/@-]{40,50}"),
    ("atlassian_token", "ATATT3 ATCTT3", r"[\w=+/-]{60,}+"),
    ("trello_token", "ATTA", _DIGIT + r"[A-Za-z0-9]{60,}+"),
    ("npm_token", "npm_", r"[A-Za-z0-9]{36}" + AFTER),
    ("pypi_token", "pypi-AgEI pypi-AgEN", r"[\w-]{50,}+"),
    ("rubygems_key", "rubygems_", r"[0-9a-f]{48}"),
    ("nuget_key", "oy2", r"[a-z0-9]{43}" + AFTER),
    ("crates_token", "cio", _MIXED + r"[A-Za-z0-9]{32}" + AFTER),
    ("clojars_token", "CLOJARS_", r"[A-Za-z0-9]{60}"),
    ("docker_token", "dckr_pat_ dckr_oat_", r"[\w-]{20,}+"),
    ("artifactory_key", "AKCp", r"[A-Za-z0-9]{60,}+"),
    ("artifactory_token", "cmVmdGtu", r"[A-Za-z0-9]{50,}+"),
    ("sonar_token", "squ_ sqp_ sqa_ sqco_", r"[A-Za-z0-9]{40,}+"),
    ("circleci_token", "CCIPAT_ CCIPRJ_", r"[A-Za-z0-9]{16,}_[0-9a-f]{40}"),
    ("buildkite_token", "bkua_ bkaj_ bkct_", r"[A-Za-z0-9]{32,}+"),
    ("prefect_key", "pnu_ pnb_", r"[A-Za-z0-9]{32,}+"),
    ("dbt_token", "dbtc_ dbtu_", r"[\w-]{24,}+={0,2}"),
    ("sourcegraph_token", "sgp_ slk_", r"(?:[0-9a-fA-F]{16}_|local_)?[0-9a-fA-F]{40,64}" + AFTER),
    ("postman_key", "PMAK-", r"[0-9A-Za-z]{24}-[0-9A-Za-z]{34}"),
    ("octopus_key", "API-", _DIGIT + r"[A-Z0-9]{25,27}" + AFTER),
    ("infracost_key", "ico-", _DIGIT + r"[A-Za-z0-9]{32}" + AFTER),
    ("jfrog_key", "eyJ2ZXIiOiIyIiw", r"[\w.-]{60,}+"),
    ("readme_key", "rdme_", r"[a-z0-9]{60,}+"),
    ("rootly_key", "rootly_", r"[0-9a-f]{64}"),
    ("inngest_key", "signkey-", r"[a-z]{2,12}-[0-9a-f]{32,}+"),
    ("trigger_key", "tr_dev_ tr_prod_ tr_stg_ tr_preview_", r"[A-Za-z0-9]{16,}+"),
    ("launchdarkly_key", "sdk-", _UUID),
    ("figma_token", "figd_ figp_ figo_ figu_", r"[\w=-]{30,}+"),
)  # fmt: skip

_SERVICES: tuple[tuple[str, str, str], ...] = (
    ("slack_token", "xoxa- xoxb- xoxc- xoxe- xoxo- xoxp- xoxr- xoxs- xapp- xwfp-", r"(?=[\w-]*[0-9])[\w-]{10,}+"),
    ("slack_token", "xoxd-", r"(?=[\w%+/=-]*[0-9])[\w%+/=-]{20,}+"),
    ("stripe_key", "sk_live_ sk_test_ sk_prod_ rk_live_ rk_test_ rk_prod_ sk_org_live_ sk_org_test_", r"[\w-]{16,}+"),
    ("square_token", "EAAA", _MIXED + r"[\w-]{22,60}" + AFTER),
    ("square_token", "sq0atp- sq0csp- sq0idp-", r"[\w-]{22,}+"),
    ("facebook_token", "EAAM EAAC EAAB EAAG EAAD EAAE EAAF EAAH EAAI EAAJ EAAL", r"[A-Za-z0-9]{80,}+"),
    ("facebook_token", "IGQV IGAA", r"[\w-]{100,}+"),
    ("razorpay_key", "rzp_live_ rzp_test_", r"[A-Za-z0-9]{14,}+"),
    ("flutterwave_key", "FLWSECK- FLWSECK_TEST-", r"[0-9A-Za-z]{12,}+(?:-X)?"),
    ("pagarme_key", "ak_live_ ak_test_", r"[A-Za-z0-9]{24,}+"),
    ("mollie_key", "live_ test_", _DIGIT + r"[A-Za-z0-9]{30,}+" + AFTER),
    ("woocommerce_key", "ck_ cs_", r"[0-9a-f]{40}" + AFTER),
    ("adyen_key", "AQE", r"[a-z]hm" + _B64 + r"{40,}+[A-Za-z0-9+/=-]*+"),
    ("plaid_token", "access-sandbox- access-development- access-production-", _UUID),
    ("duffel_token", "duffel_live_ duffel_test_", r"[\w=-]{30,}+"),
    ("shippo_token", "shippo_live_ shippo_test_", r"[0-9a-fA-F]{32,}+"),
    ("easypost_key", "EZAK EZTK", r"[A-Za-z0-9]{54}" + AFTER),
    ("shopify_token", "shpat_ shpca_ shppa_ shpss_ shptka_ shpltm_", r"[0-9A-Fa-f]{32}"),
    ("flexport_token", "shltm_", r"[\w-]{40}"),
    ("twilio_key", "SK", r"[0-9a-f]{32}" + AFTER),
    ("mailgun_key", "key-", r"[0-9a-f]{32}" + AFTER),
    ("mailgun_key", "pubkey-", r"[0-9a-f]{32}" + AFTER),
    ("brevo_key", "xkeysib- xsmtpsib-", r"[0-9a-f]{64}-[A-Za-z0-9]{16}"),
    ("resend_key", "re_", r"[A-Za-z0-9]{6,}_[A-Za-z0-9]{16,}+" + AFTER),
    ("mailersend_key", "mlsn.", r"[0-9a-f]{64}"),
    ("telnyx_key", "KEY0", r"[0-9A-F]{24,}_\w{16,}+"),
    ("onesignal_key", "os_v2_app_ os_v2_org_", r"[a-z0-9]{40,}+"),
    ("hubspot_token", "pat-na1- pat-na2- pat-eu1- pat-ap1-", _UUID),
    ("linear_key", "lin_api_ lin_oauth_ lin_wh_", r"[A-Za-z0-9]{32,}+"),
    ("notion_token", "ntn_", r"[A-Za-z0-9]{40,}+"),
    ("clickup_token", "pk_", r"\d{5,12}_[A-Z0-9]{32}" + AFTER),
    ("intercom_token", "dG9rO", r"[\w+/-]{50,}+={0,2}"),
    ("close_key", "api_", _MIXED + r"[A-Za-z0-9]{20,24}\.[A-Za-z0-9]{20,24}"),
    ("contentful_token", "CFPAT-", r"[\w-]{40,}+"),
    ("typeform_token", "tfp_", r"[\w.=-]{40,}+"),
    ("apify_token", "apify_api_ apify_proxy_", r"[A-Za-z0-9]{30,}+"),
    ("adafruit_key", "aio_", r"[A-Za-z0-9]{28}" + AFTER),
    ("cal_key", "cal_live_ cal_test_", r"[0-9a-z]{24,}+"),
    ("posthog_key", "phx_ phs_", r"\w{32,}+"),
    ("frameio_token", "fio-u-", r"[\w-]{60,}+"),
    ("intra42_secret", "s-s4t2ud- s-s4t2af-", r"[0-9a-f]{64}"),
    ("nightfall_key", "NF-", _DIGIT + r"[A-Za-z0-9]{32}" + AFTER),
    ("ubidots_token", "BBFF- BBUS-", _DIGIT + r"[0-9A-Za-z]{30,}+"),
    ("pubnub_secret", "sec-c-", r"[A-Za-z0-9=-]{36,}+"),
    ("riot_key", "RGAPI-", _UUID),
    ("robinhood_key", "rh-api-", _UUID),
    ("adobe_secret", "p8e- p8-", _DIGIT + r"[\w-]{32,}+"),
    ("ramp_secret", "ramp_sec_", r"[A-Za-z0-9]{40,}+"),
    ("saladcloud_key", "salad_cloud_", r"[0-9A-Za-z]{1,12}_[0-9A-Za-z]{20,}+"),
    ("salesforce_token", "5Aep861 5AEP861", r"[\w.=-]{60,}+"),
    ("twitter_token", "AAAAAAAAAAAAAAAAAAAAA", r"[A-Za-z0-9%]{60,}+"),
    ("grafana_token", "glsa_ glc_ glsa- eyJrIjoi", r"[A-Za-z0-9+/_=]{32,}+"),
    ("newrelic_key", "NRAK- NRII- NRIQ- NRRA- NRSP- NRBR- NRJS-", _DIGIT + r"[\w-]{19,}+"),
    ("honeycomb_key", "hcaik_ hcaic_ hcxik_ hcalk_ hcamk_ hcxmk_", r"[a-z0-9]{40,}+"),
    ("axiom_token", "xaat- xapt- xait-", _UUID),
    ("elastic_token", "essu_", _B64 + r"{30,}+={0,2}"),
    ("webhook_secret", "whsec_", _B64 + r"{24,}+={0,2}"),
    ("sentry_token", "sntrys_ sntryu_ sntryi_", r"[\w+/=-]{32,}+"),
    ("jwt", "eyJ", r"[\w-]{8,}+(?:(?=\.{1,2}[\w-])(?:\.[\w-]*+){2,4}|\.eyJ[\w-]{8,}+)"),
)  # fmt: skip

_BODY = (
    _B64
    + r"*+={0,2}(?:(?:\\r|\\n|\r|\n|[ \t]){1,8}[A-Za-z0-9+/]{24,}+={0,2})*+(?:(?:\\r|\\n|\r|\n|[ \t]){1,8}[A-Za-z0-9+/]{2,}={1,2})?"
)

_PRIVATE_KEYS: tuple[tuple[str, str, str], ...] = (
    # The DER of a private key begins with its version, so that its base64 begins alike: PKCS 1 and 8 (plain, encrypted), SEC 1,
    # Ed25519, and OpenSSH's own. Certificates and public keys begin otherwise (RFC 8017, RFC 5958, RFC 5915, RFC 8410).
    ("private_key", "MII", r"[A-Za-z0-9+/]{2,5}(?:IBA(?:AKC|AKB|ADAN|DAN)|BOBgkqh|BgEAAo)" + _BODY),
    ("private_key", "MHcCAQEE MIGkAgEBBD MIHcAgEBBE MIGHAgEAMBMG MIG2AgEAMBAG MIHuAgEAMBAG", _BODY),
    ("private_key", "MC4CAQAwBQYDK2Vw MC4CAQAwBQYDK2Vu MEcCAQAwBQYDK2Vx b3BlbnNzaC1rZXktdj", _BODY),
)  # fmt: skip

INFIX = known(
    "api_key",
    r"(?:secret|sk|pat|sec|api[_-]?key)(?<![A-Za-z0-9]sk)(?<![A-Za-z0-9]pat)(?<![A-Za-z0-9]sec)[_-](?:[a-z0-9-]{1,24}_)?"
    r"(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{20,}+[\w-]*+",
    ("secret_", "secret-", "sk_", "pat_", "sec_", "key_", "key-"),
)
"""What a vendor that nobody has listed yet writes before a key: `acme_sk_…`, `acme_live_secret_…`."""


@cache
def later_starts() -> re.Pattern[str]:
    """Return a pattern that finds where a key can begin after a `/` or `+` in a run of key characters."""
    heads: dict[str, set[str]] = {}
    for head in prefix_rules():
        heads.setdefault(head[0], set()).add(head[1])
    either = "|".join(
        f"{re.escape(first)}[{re.escape(''.join(sorted(rest)))}]" for first, rest in sorted(heads.items())
    )
    return re.compile(f"[/+](?={either})")


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Prefixes that begin with the same two characters."""

    rules: dict[str, RedactionRule]
    prefixes: tuple[str, ...]
    lengths: tuple[int, ...]
    """How long they are, the longest first."""


@cache
def prefix_rules() -> dict[str, Prefixes]:
    """Return prefixes and rules by a prefix's first two characters."""
    table: dict[str, dict[str, RedactionRule]] = {}
    for kind, prefixes, rest in (*_MODELS, *_CLOUDS, *_CODE, *_SERVICES, *_PRIVATE_KEYS):
        for prefix in prefixes.split():
            rule = known(kind, re.escape(prefix) + rest)
            table.setdefault(prefix[:2], {})[prefix] = rule
    return {
        start: Prefixes(rules, tuple(rules), tuple(sorted({len(prefix) for prefix in rules}, reverse=True)))
        for start, rules in table.items()
    }
