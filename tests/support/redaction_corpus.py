"""Shapes of real secrets, and look-alikes that are none.

Secrets are put together at run time, from a vendor's prefix and a body that is drawn from a fixed sequence, so that no
file holds anything a secret scanner would report.
"""

import base64
import json
from hashlib import sha256

LOWER = "abcdefghijklmnopqrstuvwxyz"
UPPER = LOWER.upper()
DIGITS = "0123456789"
HEX = "0123456789abcdef"
ALNUM = UPPER + LOWER + DIGITS
URLSAFE = ALNUM + "-_"


def body(alphabet: str, length: int, seed: str = "") -> str:
    """Draw a fixed sequence of characters that has a digit and a letter."""
    drawn, counter = "", 0
    while len(drawn) < length:
        digest = sha256(f"{seed}/{alphabet}/{counter}".encode()).digest()
        drawn += "".join(alphabet[byte % len(alphabet)] for byte in digest)
        counter += 1
    return drawn[:length]


def b64url(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def luhn(prefix: str, length: int) -> str:
    """Complete a card number with its check digit."""
    digits = prefix + body(DIGITS, length - len(prefix) - 1, prefix)
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[::-2])
    plain = sum(map(int, digits[-2::-2]))
    return digits + str(-(doubled + plain) % 10)


JWT = f"{b64url({'alg': 'HS256', 'typ': 'JWT'})}.{b64url({'sub': '1234567890'})}.{body(URLSAFE, 42)}A"
JWE = ".".join([b64url({"alg": "RSA-OAEP", "enc": "A256GCM"}), *(body(URLSAFE, 30, part) for part in "abcd")])
PASSWORD = "correct-horse-" + "7battery"
BASIC = base64.b64encode(f"aladdin:{PASSWORD}".encode()).decode()


def pem(label: str) -> str:
    lines = "\n".join(body(ALNUM + "+/", 64, f"{label}{line}") for line in range(6))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----"


SERVICE_ACCOUNT_KEY = pem("PRIVATE " + "KEY")

# name, the secret as it stands in a text
SECRETS: dict[str, str] = {
    "openai legacy": "sk-" + body(ALNUM, 48),
    "openai project": "sk-proj-" + body(URLSAFE, 124),
    "openai project short": "sk-proj-" + body(ALNUM, 48),
    "openai service account": "sk-svcacct-" + body(URLSAFE, 124),
    "openai admin": "sk-admin-" + body(URLSAFE, 124),
    "anthropic": "sk-ant-api03-" + body(URLSAFE, 93) + "AA",
    "anthropic admin": "sk-ant-admin01-" + body(URLSAFE, 93) + "AA",
    "anthropic oauth": "sk-ant-oat01-" + body(URLSAFE, 93) + "AA",
    "openrouter": "sk-or-v1-" + body(HEX, 64),
    "deepseek": "sk-" + body(HEX, 32),
    "langfuse": "sk-lf-" + "-".join(body(HEX, n, "lf") for n in (8, 4, 4, 4, 12)),
    "google api": "AIza" + body(URLSAFE, 34) + "k",
    "google auth key": "AQ." + "Ab8" + body(URLSAFE, 47),
    "google oauth secret": "GOCSPX-" + body(URLSAFE, 28),
    "google access token": "ya29." + "a0" + body(URLSAFE, 140),
    "google refresh token": "1//0" + "e" + body(URLSAFE, 60),
    "groq": "gsk_" + body(ALNUM, 52),
    "xai": "xai-" + body(ALNUM, 80),
    "hugging face": "hf_" + body(UPPER + LOWER, 34),
    "replicate": "r8_" + body(ALNUM, 37),
    "perplexity": "pplx-" + body(ALNUM, 48),
    "fireworks": "fw_" + body(ALNUM, 24),
    "together": "tgp_v1_" + body(URLSAFE, 43),
    "nvidia": "nvapi-" + body(URLSAFE, 64),
    "cerebras": "csk-" + body(LOWER + DIGITS, 48),
    "tavily": "tvly-dev-" + body(ALNUM, 32),
    "langsmith": "lsv2_pt_" + body(HEX, 32) + "_" + body(HEX, 10),
    "elevenlabs": "sk_" + body(HEX, 48),
    "aws access key": "AKIA" + body(UPPER + "234567", 16),
    "aws temporary key": "ASIA" + body(UPPER + "234567", 16),
    "aws bedrock": "ABSK" + body(ALNUM + "+/", 128) + "=",
    "azure client secret": body(ALNUM, 3) + "8Q~" + body(ALNUM + "_-.", 33) + "x",
    "azure openai": body(ALNUM, 52) + "JQQJ99" + body(ALNUM, 26),
    "azure devops": body(ALNUM, 76) + "AZDO" + body(ALNUM, 4),
    "github classic": "ghp_" + body(ALNUM, 36),
    "github oauth": "gho_" + body(ALNUM, 36),
    "github app": "ghs_" + body(ALNUM, 36),
    "github refresh": "ghr_" + body(ALNUM, 76),
    "github fine grained": "github_pat_" + body(ALNUM, 22) + "_" + body(ALNUM, 59),
    "gitlab": "glpat-" + body(URLSAFE, 20),
    "gitlab runner": "glrt-" + body(URLSAFE, 20),
    "slack bot": "xoxb-" + body(DIGITS, 12) + "-" + body(DIGITS, 13) + "-" + body(ALNUM, 24),
    "slack user": "xoxp-" + body(DIGITS, 12) + "-" + body(DIGITS, 12) + "-" + body(HEX, 32),
    "slack app": "xapp-1-" + body(UPPER + DIGITS, 11) + "-" + body(DIGITS, 13) + "-" + body(HEX, 64),
    "stripe live": "sk_live_" + body(ALNUM, 24),
    "stripe test": "sk_test_" + body(ALNUM, 99),
    "stripe restricted": "rk_live_" + body(ALNUM, 24),
    "webhook signing": "whsec_" + body(ALNUM, 32),
    "npm": "npm_" + body(ALNUM, 36),
    "pypi": "pypi-AgEI" + "cHlwaS5vcmc" + body(URLSAFE, 150),
    "rubygems": "rubygems_" + body(HEX, 48),
    "docker": "dckr_pat_" + body(URLSAFE, 27),
    "shopify": "shpat_" + body(HEX, 32),
    "twilio": "SK" + body(HEX, 32),
    "mailgun": "key-" + body(HEX, 32),
    "sendgrid": "SG." + body(URLSAFE, 22) + "." + body(URLSAFE, 43),
    "brevo": "xkeysib-" + body(HEX, 64) + "-" + body(ALNUM, 16),
    "digitalocean": "dop_v1_" + body(HEX, 64),
    "linear": "lin_api_" + body(ALNUM, 40),
    "notion": "ntn_" + body(ALNUM, 46),
    "postman": "PMAK-" + body(HEX, 24) + "-" + body(HEX, 34),
    "grafana": "glsa_" + body(ALNUM, 32) + "_" + body(HEX, 8),
    "new relic": "NRAK-" + body(UPPER + DIGITS, 27),
    "atlassian": "ATATT3" + body(URLSAFE, 180) + "=" + body(HEX, 8),
    "square": "sq0atp-" + body(URLSAFE, 22),
    "supabase": "sbp_" + body(HEX, 40),
    "pulumi": "pul-" + body(HEX, 40),
    "vault": "hvs." + body(URLSAFE, 90),
    "doppler": "dp.pt." + body(ALNUM, 43),
    "terraform": body(ALNUM, 14) + ".atlasv1." + body(URLSAFE, 67),
    "telegram": body(DIGITS, 9, "1") + ":AA" + body(URLSAFE, 33),
    "age": "AGE-SECRET-KEY-1" + body("023456789ACDEFGHJKLMNPQRSTUVWXYZ", 58),
    "jwt": JWT,
    "jwe": JWE,
    "private key": SERVICE_ACCOUNT_KEY,
    "rsa private key": pem("RSA PRIVATE " + "KEY"),
    "openssh private key": pem("OPENSSH PRIVATE " + "KEY"),
    "pgp private key": pem("PGP PRIVATE " + "KEY BLOCK"),
    "visa": luhn("4", 16),
    "mastercard": luhn("53", 16),
    "amex": luhn("37", 15),
    "discover": luhn("6011", 16),
    "unionpay": luhn("62", 16),
}


def grouped(number: str, mark: str) -> str:
    return mark.join(number[start : start + 4] for start in range(0, len(number), 4))


# name, a text, and the part of it that must not be left
SECRETS_IN_PLACE: dict[str, tuple[str, str]] = {
    "bearer header": (f"Authorization: Bearer {body(ALNUM, 32)}", body(ALNUM, 32)),
    "bearer alone": (f"sent 'bearer {body(HEX, 24)}' upstream", body(HEX, 24)),
    "basic header": (f"authorization: Basic {BASIC}", BASIC),
    "basic alone": (f"curl -H Basic {BASIC}", BASIC),
    "raw authorization": (f"Authorization: {body(ALNUM, 24)}", body(ALNUM, 24)),
    "aws signature": (
        f"Authorization: AWS4-HMAC-SHA256 Credential=me/20261121/eu, Signature={body(HEX, 64)}",
        body(HEX, 64),
    ),
    "api key header": (f"X-Api-Key: {body(HEX, 32)}", body(HEX, 32)),
    "cookie": (f"Cookie: sid={body(ALNUM, 20)}; theme=dark", body(ALNUM, 20)),
    "set-cookie": (f"< Set-Cookie: session={body(HEX, 20)}; HttpOnly", body(HEX, 20)),
    "url password": (f"postgresql://app:{PASSWORD}@db.internal:5432/app", PASSWORD),
    "redis url": (f"redis://:{PASSWORD}@localhost:6379/0", PASSWORD),
    "url password with at": (f"amqp://u:{PASSWORD}@home@mq/vhost", PASSWORD),
    "url query token": (f"GET /v1/x?page=2&access_token={body(ALNUM, 20)}&limit=5", body(ALNUM, 20)),
    "url query api key": (f"https://h/x?api_key={body(HEX, 20)}", body(HEX, 20)),
    "google url key": (f"https://h/v1beta/models?key={body(ALNUM, 39)}", body(ALNUM, 39)),
    "azure sas": (f"https://a.blob/x?sv=2024&se=2026&sig={body(ALNUM, 40)}%3D", body(ALNUM, 40)),
    "presigned s3": (f"https://b/x?X-Amz-Date=2026&X-Amz-Signature={body(HEX, 64)}", body(HEX, 64)),
    "slack webhook": ("https://hooks.slack.com/services/T00/B00/" + body(ALNUM, 24), body(ALNUM, 24)),
    "discord webhook": (f"https://d/api/webhooks/{body(DIGITS, 18)}/{body(URLSAFE, 68)}", body(URLSAFE, 68)),
    "environment": (
        f"PATH=/bin\nAWS_SECRET_ACCESS_KEY={body(ALNUM + '/+', 40)}\nHOME=/",
        body(ALNUM + "/+", 40),
    ),
    "export": (f"export DB_PASSWORD='{PASSWORD}'", PASSWORD),
    "yaml": (f"db:\n  password: {LOWER[:12]}\n  port: 5432", LOWER[:12]),
    "json text": (f'{{"user": "u", "password": "{PASSWORD}"}}', PASSWORD),
    "json in json": (json.dumps({"arguments": json.dumps({"client_secret": PASSWORD})}), PASSWORD),
    "python repr": (f"Config(user='u', api_key='{body(HEX, 32)}', retries=3)", body(HEX, 32)),
    "quote in password": ('{"password": "a\\"' + PASSWORD + '"}', PASSWORD),
    "unclosed quote": (f'password="{PASSWORD}', PASSWORD),
    "azure connection": (
        f"AccountName=a;AccountKey={body(ALNUM + '/+', 86)}==;E=core",
        body(ALNUM + "/+", 86),
    ),
    "service bus": (f"SharedAccessKeyName=r;SharedAccessKey={body(ALNUM, 43)}=", body(ALNUM, 43)),
    "command line": (f"mysql --user=root --password={PASSWORD} db", PASSWORD),
    "command line with a space": (f"mysql --user root --password {PASSWORD} db", PASSWORD),
    "name of two words": (f"API key: {body(HEX, 24)}", body(HEX, 24)),
    "query token of letters": (f"https://h/x?access_token={LOWER[:9]}&x=1", LOWER[:9]),
    "access token in json": (f'{{"access_token":"{LOWER[:9]}","token_type":"bearer"}}', LOWER[:9]),
    "token in environment": (f"docker run -e API_TOKEN={LOWER[:12]} image", LOWER[:12]),
    "weak password": ("login?user=a&password=password1", "password1"),
    "address as user": (f"smtp://ada@example.com:{PASSWORD}@mail:25", PASSWORD),
    "json escapes before": (json.dumps("env:\n" + SECRETS["github classic"]), SECRETS["github classic"]),
    "unicode escape before": ("x\\u003d" + SECRETS["anthropic"], SECRETS["anthropic"]),
    "url escape before": ("state%3D" + SECRETS["openai legacy"], SECRETS["openai legacy"]),
    "in markdown": (f"use `{SECRETS['groq']}` or **{SECRETS['npm']}**", SECRETS["groq"]),
    "card in groups": (f"paid with {grouped(luhn('4', 16), ' ')} today", grouped(luhn("4", 16), " ")),
    "card with dashes": (f"card={grouped(luhn('52', 16), '-')}", grouped(luhn("52", 16), "-")),
    "service account": (
        json.dumps({"type": "x", "private_key": SERVICE_ACCOUNT_KEY}),
        SERVICE_ACCOUNT_KEY.splitlines()[2],
    ),
    "truncated private key": (SERVICE_ACCOUNT_KEY[:200], SERVICE_ACCOUNT_KEY[60:100]),
}

# Names whose values are secret whatever they look like.
SECRET_NAMES = [
    "password", "Passwd", "db_password", "PGPASSWORD_2", "userPassword", "password_confirmation", "passphrase", "pwd",
    "secret", "client_secret", "clientSecret", "CLIENT-SECRET", "aws_secret_access_key", "secretAccessKey", "secrets",
    "api_key", "apikey", "apiKey", "X-API-Key", "x-goog-api-key", "OPENAI_API_KEY", "api-keys", "openai_key",
    "token", "access_token", "accessToken", "refresh_token", "id_token", "bearer_token", "session_token", "csrfToken",
    "resume_token", "aws_session_token", "_authToken", "GITHUB_TOKEN", "private_key", "privateKey", "ssh_key",
    "signing_key", "encryption_key", "master_key", "AccountKey", "SharedAccessKey", "Ocp-Apim-Subscription-Key",
    "Authorization", "Proxy-Authorization", "Cookie", "set-cookie", "credentials", "credential", "jwt", "otp", "cvv",
    "card_number", "creditCardNumber",
]  # fmt: skip

# Values that must come out as the very same object.
LOOK_ALIKES: dict[str, object] = {
    "uuid": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "uuid of digits": "12345678-1234-4234-8234-123456789012",
    "ulid": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "sha-1": body(HEX, 40),
    "sha-256": "sha256:" + body(HEX, 64),
    "sha-512": body(HEX, 128),
    "md5": body(HEX, 32),
    "git commit": "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "run id": "run_20260128_123456",
    "execution id": "exec_3f2a9c0b1d4e_1769594096",
    "request id": "req-" + body(HEX, 24),
    "openai request id": "req_011CV" + body(ALNUM, 20),
    "chat id": "chatcmpl-" + body(ALNUM, 29),
    "response id": "resp_" + body(HEX, 48),
    "message id": "msg_01" + body(ALNUM, 22),
    "tool call id": "call_" + body(ALNUM, 24),
    "tool use id": "toolu_01" + body(ALNUM, 22),
    "operation id": "job-1/0.3/tool:lookup_order_status",
    "trace parent": f"00-{body(HEX, 32)}-{body(HEX, 16)}-01",
    "aws account and role": "arn:aws:iam::123456789012:role/service-role-for-agents",
    "aws user id": "AIDA" + body(UPPER, 16),
    "dated model": "claude-sonnet-4-5-20250929",
    "model with path": "openrouter:meta-llama/llama-4-maverick-17b-128e-instruct",
    "dated openai model": "gpt-5.2-2026-01-15",
    "date": "2026-11-21",
    "timestamp": "2026-11-21T08:46:00.123456+00:00",
    "epoch milliseconds": "1769594096123",
    "epoch microseconds": "1769594096123456",
    "epoch nanoseconds": "1769594096123456789",
    "epoch as number": 1769594096123,
    "card-like number": 4111111111111111,
    "sixteen digits without checksum": "4111111111111112",
    "sixteen equal digits": "4444 4444 4444 4444",
    "order number": "order 8812345678901234 shipped",
    "decimal": "3.1415926535897932384626",
    "phone": "+49 30 901820",
    "e-mail": "ada@example.com",
    "host and port": "127.0.0.1:5432",
    "url": "https://example.com:8443/a@b/c?page=2&limit=50&sort=key#top",
    "url with user": "ssh://git@example.com/repo.git",
    "url template": "postgresql://{user}:{password}@{host}/db",
    "max tokens": "max_tokens=4096, input_tokens: 345, token_count: 12",
    "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8, "max_tokens": 4096, "tokens_used": 1},
    "usage in words": {"token_count": "12", "tokens": "345", "token_budget": "10k", "token_type": "Bearer"},
    "page token": {"next_page_token": "CAUQAA", "continuation_token": "abc", "pageToken": "x"},
    "model tokens": {
        "eos_token": "</s>",
        "stop_token": "END",
        "pad_token": "<pad>",
        "time_to_first_token": "0.4s",
    },
    "log probabilities": {"token": "Hello", "logprob": -0.31, "bytes": [72, 101]},
    "token as number": {"token": 7},
    "names of keys": {
        "idempotency_key": "order-17",
        "cache_key": "a/b",
        "primary_key": "id",
        "key": "v",
        "keys": "x",
    },
    "public keys": {
        "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
        "private_key_id": "a1b2",
        "api_key_id": "k1",
    },
    "about passwords": {
        "password_policy": "strict",
        "password_length": "12",
        "secret_name": "db",
        "secret_arn": "x",
    },
    "flags": {"has_password": True, "is_secret": False, "api_key": None, "password": ""},
    "where a key is": {
        "api_key_env": "OPENAI_API_KEY",
        "credentials_file": "/etc/x.json",
        "cookie_policy": "lax",
    },
    "author": {
        "author": "Ada",
        "authority": "example.com",
        "authorized": "yes",
        "keyboard": "qwerty",
        "monkey": "x",
    },
    "schema of a secret": {
        "properties": {"password": {"type": "string", "description": "At least 12 characters"}}
    },
    "list of names": {"required": ["password", "api_key"]},
    "certificate": "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUd\n-----END CERTIFICATE-----",
    "public key pem": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZI\n-----END PUBLIC KEY-----",
    "hyphenated words": "task-based risk-averse desk-sharing sk-learn-style-pipelines-with-many-hyphens",
    "scikit": "sk-learn and sk-image are short names",
    "environment reference": "api_key=${OPENAI_API_KEY} password=$DB_PASSWORD token=%s",
    "placeholder": 'export OPENAI_API_KEY="<your key>"\npassword: ********',
    "code": "api_key = settings.api_key\ntoken = tokenizer.next()\npassword = getpass('Password: ')",
    "code of a call": "client(api_key=os.environ['OPENAI_API_KEY'], token=token, secret=None)",
    "options": "run --max-tokens 500 --token-budget 10 --api-key $KEY --password-file /run/x --no-secret --port 80",
    "annotation": "def login(user: str, password: str, token: str = None) -> None: ...",
    "prose on tokens": "A token: a unit of text. The key: read twice. Pass: none. Secret: to be kept.",
    "prose on passwords": "Your password: at least 12 characters. Authorization: required for all users.",
    "prose on bearers": "The bearer of bad news gave Basic information; bearer authentication-based schemes differ.",
    "prose on cookies": "Cookie: chocolate chip, please",
    "pagination cursor": b64url({"offset": 10, "limit": 50}),
    "base64 image": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    "stripe publishable": "pk_live_" + body(ALNUM, 24),
    "stripe object": "cus_" + body(ALNUM, 14) + " pi_" + body(ALNUM, 24) + " cs_test_short",
    "docker image": "registry.example.com/app@sha256:" + body(HEX, 64),
    "file path": "/srv/data/github_pattern_matching/hf_hub_download/npm_package_lock_v3.json",
    "python names": "test_second_resolver_of_an_action_is_refused[sqlite-postgres-memory]",
    "semantic version": "1.26.0-rc.1+build.20261121",
    "coordinates": "52.520008, 13.404954",
    "isbn": "978-3-16-148410-0",
    "iban-like id": "DE-2026-0000-1234-5678",
    "job events": {"type": "model.token", "seq": 12, "job_id": "job-" + body(HEX, 24)},
    "prices": {"price_per_token": "0.000002", "cost_per_token": "0.1"},
    "number types": [1, 2.5, True, None, 10**15],
}
