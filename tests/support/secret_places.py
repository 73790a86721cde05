"""Places and wrappers in which a secret has no shape of its own, or one that is hard to see: values, and the part that must not be left."""

import base64
import json
import urllib.parse
from collections import namedtuple
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import quoteattr

from support.redaction_corpus import ALNUM, BASIC, HEX, PASSWORD, SECRETS, URLSAFE, b64url, body
from support.vendor_keys import KEYS

WORD = "hunter" + "2bass"
LETTERS = "correct" + "horsebattery"
TOKEN = body(ALNUM, 40, "place")
CODE = "4/0A" + body(URLSAFE, 60, "code")
VERIFIER = body(URLSAFE, 64, "verifier")
KEY = SECRETS["anthropic"]
GITHUB = SECRETS["github classic"]
PEM_LINES = KEYS["body in lines"].split("\n")

Login = namedtuple("Login", "user password")


@dataclass
class Connection:
    host: str
    password: str
    options: dict[str, Any] = field(default_factory=dict)


def spaced(text: str, mark: str) -> str:
    """Put a mark in the middle of a key, where no eye sees it."""
    return text[:12] + mark + text[12:]


def wide(text: str) -> str:
    """Write a text in full-width letters."""
    return "".join(
        chr(ord(character) + 0xFEE0) if 0x21 <= ord(character) < 0x7F else character for character in text
    )


def bold(text: str) -> str:
    """Write the small letters of a text as mathematical bold ones."""
    return "".join(
        chr(ord(character) - 97 + 0x1D41A) if "a" <= character <= "z" else character for character in text
    )


PLACES: dict[str, tuple[object, str]] = {
    # names
    "app key": (f"DATADOG_APP_KEY={LETTERS}", LETTERS),
    "application key": ({"B2_APPLICATION_KEY": LETTERS}, LETTERS),
    "write key": ({"segmentWriteKey": LETTERS}, LETTERS),
    "admin key": (f"ALGOLIA_ADMIN_KEY={LETTERS}", LETTERS),
    "service role key": ({"SUPABASE_SERVICE_ROLE_KEY": LETTERS}, LETTERS),
    "integration key": ({"PAGERDUTY_INTEGRATION_KEY": LETTERS}, LETTERS),
    "license key": ({"NEW_RELIC_LICENSE_KEY": LETTERS}, LETTERS),
    "consumer secret": ({"consumerSecret": LETTERS}, LETTERS),
    "npm auth": (f"//registry.example.com/:_auth={BASIC}", BASIC),
    "npm auth token": (f"//registry.example.com/:_authToken={TOKEN}", TOKEN),
    "npm password": (f"//registry.example.com/:_password={TOKEN}", TOKEN),
    "docker auth": ({"auths": {"https://index.docker.io/v1/": {"auth": BASIC}}}, BASIC),
    "docker auth in text": (json.dumps({"auths": {"ghcr.io": {"auth": BASIC}}}), BASIC),
    "auth of two": ({"auth": ("ada", WORD)}, WORD),
    "bearer name": ({"bearer": TOKEN}, TOKEN),
    "bearer in text": (f"bearer: {TOKEN}", TOKEN),
    "sid": ({"sid": TOKEN}, TOKEN),
    "connect.sid": ({"connect.sid": f"s%3A{TOKEN}"}, TOKEN),
    "php session": (f"PHPSESSID={TOKEN}; path=/", TOKEN),
    "java session": (f"JSESSIONID={body('ABCDEF0123456789', 32)}", body("ABCDEF0123456789", 32)),
    "client-key-data": (f"users:\n- name: admin\n  user:\n    client-key-data: {TOKEN}=", TOKEN),
    "github pat": (f"GITHUB_PAT={LETTERS}", LETTERS),
    "azure pat": ({"AZURE_DEVOPS_EXT_PAT": LETTERS}, LETTERS),
    "hub signature": (f"X-Hub-Signature-256: sha256={body(HEX, 64)}", body(HEX, 64)),
    "hub signature in a mapping": ({"X-Hub-Signature": "sha1=" + body(HEX, 40)}, body(HEX, 40)),
    "stripe signature": ({"Stripe-Signature": f"t=1769594096,v1={body(HEX, 64)}"}, body(HEX, 64)),
    "slack signature": ({"X-Slack-Signature": "v0=" + body(HEX, 64)}, body(HEX, 64)),
    "gitlab header": (f"PRIVATE-TOKEN: {TOKEN}", TOKEN),
    "vault header": (f"X-Vault-Token: {TOKEN}", TOKEN),
    "functions header": ({"x-functions-key": TOKEN, "Ocp-Apim-Subscription-Key": TOKEN}, TOKEN),
    "twilio auth token": (f"TWILIO_AUTH_TOKEN={body(HEX, 32)}", body(HEX, 32)),
    "aws secret in prose": (f"aws_secret_access_key: {TOKEN}", TOKEN),
    "otp": ({"otp": 123456}, "123456"),
    "mnemonic": ({"mnemonic": "legal winner thank year wave sausage"}, "legal winner"),
    "database password": ({"DATABASE": {"PASSWORD": WORD}}, WORD),
    "camel case": ({"dbPassword": WORD}, WORD),
    "german": ({"passwort": WORD}, WORD),
    "password of a path": ({"password": "/" + WORD}, WORD),
    # headers
    "digest": (f'Authorization: Digest username="ada", realm="x", nonce="n", response="{body(HEX, 32)}"', body(HEX, 32)),
    "aws 4": (f"Authorization: AWS4-HMAC-SHA256 Credential=AK/x, SignedHeaders=host, Signature={body(HEX, 64)}", body(HEX, 64)),
    "hawk": (f'Authorization: Hawk id="a", ts="1", mac="{TOKEN}="', TOKEN),
    "okta": (f"Authorization: SSWS 00{TOKEN}", TOKEN),
    "shared key": (f"Authorization: SharedKey account:{TOKEN}=", TOKEN),
    "discord": (f"Authorization: Bot {KEYS['discord bot']}", KEYS["discord bot"]),
    "headers as a list": (repr([("Host", "h"), ("Authorization", f"Bearer {WORD}")]), WORD),
    "headers as bytes": (repr([(b"host", b"h"), (b"x-api-key", WORD.encode())]), WORD),
    "headers as lists": (json.dumps([["Accept", "*/*"], ["Cookie", f"sid={TOKEN}"]]), TOKEN),
    "headers in a structure": ([(b"authorization", b"Bearer " + WORD.encode())], WORD),
    "header object": (f"Headers({{'authorization': 'Bearer {TOKEN}', 'host': 'h'}})", TOKEN),
    "curl header": (f"curl -H 'Authorization: Token {TOKEN}' https://h", TOKEN),
    "proxy": (f"Proxy-Authorization: Basic {BASIC}", BASIC),
    "set-cookie of a framework": (f"set-cookie: csrftoken={TOKEN}; Path=/; Secure", TOKEN),
    "cookie in json": (json.dumps({"Cookie": f"a=1; session={TOKEN}"}), TOKEN),
    # command lines
    "argv": (["mysql", "--password", WORD, "db"], WORD),
    "argv as text": (repr(["tool", "--api-key", WORD]), WORD),
    "argv in json": (json.dumps(["tool", "--client-secret", WORD]), WORD),
    "argv with sign": (["tool", f"--token={LETTERS}"], LETTERS),
    "curl user": (f"curl -u ada:{WORD} https://h/x", WORD),
    "curl user in quotes": (f"curl --user 'ada:{WORD}' https://h/x", WORD),
    "curl argv": (["curl", "-u", f"ada:{WORD}", "https://h"], WORD),
    "option in a tuple": (("run", "--db-password", WORD), WORD),
    "docker environment": (f"docker run -e POSTGRES_PASSWORD={LETTERS} postgres", LETTERS),
    "export of a shell": (f"declare -x SECRET_KEY=\"{LETTERS}\"", LETTERS),
    "powershell": (f"$env:API_KEY = '{LETTERS}'", LETTERS),
    "fish": (f"PGPASSWORD={WORD} psql -h db", WORD),
    # URLs
    "dsn with a slash": (f"postgresql://app:p/{WORD}@db:5432/app", WORD),
    "dsn with a question mark": (f"postgresql://app:p?{WORD}@db:5432/app", WORD),
    "dsn with a quote": (f"mysql://app:p'{WORD}@db/app", WORD),
    "dsn with a hash": (f"redis://app:p#{WORD}@cache:6379/0", WORD),
    "dsn of many hosts": (f"mongodb+srv://app:{WORD}@a.example.com,b.example.com/db", WORD),
    "dsn with options": (f"amqps://app:{WORD}@mq.example.com/v?heartbeat=5", WORD),
    "dsn of a driver": (f"postgresql+asyncpg://app:{WORD}@db/app", WORD),
    "jdbc": (f"jdbc:postgresql://db/app?user=app&password={WORD}", WORD),
    "odbc": (f"Driver=x;Server=db;Uid=app;Pwd={WORD};", WORD),
    "libpq": (f"host=db user=app password={WORD} dbname=app", WORD),
    "libpq in quotes": (f"host=db user=app password='{WORD} x' dbname=app", WORD),
    "token as user": (f"https://{body(ALNUM, 40)}@git.example.com/repo.git", body(ALNUM, 40)),
    "token as user with a word": (f"https://{body(HEX, 40)}:x-oauth-basic@github.com/a/b", body(HEX, 40)),
    "token as password": (f"https://oauth2:{TOKEN}@gitlab.com/a/b.git", TOKEN),
    "sentry dsn": (f"https://{body(HEX, 32)}@o1.ingest.sentry.io/2", body(HEX, 32)),
    "ftp": (f"ftp://ada:{WORD}@files.example.com/x", WORD),
    "percent equals": (f"next=%2Fcb%3Faccess_token%3D{TOKEN}%26x%3D1", TOKEN),
    "percent colon": (f"%22password%22%3A%22{WORD}%22", WORD),
    "query in a path": (f"GET /cb?client_secret={LETTERS}&x=1 HTTP/1.1", LETTERS),
    "fragment": (f"https://app/cb#access_token={TOKEN}&token_type=bearer", TOKEN),
    "signed url": (f"https://s/x?Expires=1&Signature={TOKEN}&Key-Pair-Id=K", TOKEN),
    "google signed url": (f"https://s/x?X-Goog-Signature={body(HEX, 128)}", body(HEX, 128)),
    "aws security token": (f"https://s/x?X-Amz-Security-Token={TOKEN}", TOKEN),
    "webhook of teams": (f"https://x.webhook.office.com/webhookb2/{TOKEN}/IncomingWebhook/{body(HEX, 32)}", body(HEX, 32)),
    "webhook of zapier": (f"https://hooks.zapier.com/hooks/catch/123456/{body(ALNUM, 12)}/", body(ALNUM, 12)),
    "webhook of discord": (f"https://discord.com/api/webhooks/{body('123456789', 18)}/{body(URLSAFE, 68)}", body(URLSAFE, 68)),
    # OAuth
    "code": (f"https://app/callback?code={CODE}&state=xyz", CODE),
    "code in a form": (f"grant_type=authorization_code&code={CODE}&redirect_uri=https%3A%2F%2Fapp", CODE),
    "code in a mapping": ({"grant_type": "authorization_code", "code": CODE}, CODE),
    "code in json": (json.dumps({"grant_type": "authorization_code", "code": CODE}), CODE),
    "authorization code": ({"authorization_code": CODE}, CODE),
    "pkce": ({"code_verifier": VERIFIER}, VERIFIER),
    "pkce in a form": (f"grant_type=authorization_code&code_verifier={VERIFIER}", VERIFIER),
    "client assertion": (f"client_assertion={TOKEN}&client_id=x", TOKEN),
    "device code": ({"device_code": TOKEN, "user_code": "WDJB-MJHT"}, TOKEN),
    "refresh token": (f"grant_type=refresh_token&refresh_token={LETTERS}", LETTERS),
    # files
    "netrc": (f"machine api.example.com login ada password {WORD}", WORD),
    "netrc in lines": (f"machine api.example.com\n  login ada\n  password {WORD}\n", WORD),
    "netrc default": (f"default login anonymous password {WORD}", WORD),
    "pgpass": (f"pgpass password={WORD}", WORD),
    "yaml block": (f"db:\n  password: |\n    {WORD}\n  port: 1", WORD),
    "yaml folded": (f"db:\n  private_key: >-\n    {TOKEN}\n    {LETTERS}\n  port: 1", LETTERS),
    "yaml in quotes": (f"password: '{WORD}'", WORD),
    "toml": (f'[db]\npassword = "{WORD}"', WORD),
    "ini": (f"[client]\npassword = {LETTERS}\nuser = ada", LETTERS),
    "properties": (f"spring.datasource.password={LETTERS}", LETTERS),
    "xml": (f"<config><user>ada</user><password>{WORD}</password></config>", WORD),
    "xml with a prefix": (f"<wsse:Password Type='x'>{WORD}</wsse:Password>", WORD),
    "xml cdata": (f"<apiKey><![CDATA[{WORD}]]></apiKey>", WORD),
    "xml attribute": (f"<db user='ada' password={quoteattr(WORD)}/>", WORD),
    "html input": (f'<input type="password" name="pw" value="{WORD}">', WORD),
    "html hidden": (f'<input name="csrf_token" type="hidden" value="{TOKEN}">', TOKEN),
    "html value first": (f'<input value="{WORD}" name="password">', WORD),
    "html far name": (f'<input value="{WORD}" id="pw" class="wide" name="password">', WORD),
    "form field": (f'Content-Disposition: form-data; name="password"\r\n\r\n{WORD}\r\n--x--', WORD),
    "form field with a type": (f'--x\r\nContent-Disposition: form-data; name="api_key"\r\nContent-Type: text/plain\r\n\r\n{WORD}\r\n--x--', WORD),
    "html meta": (f'<meta name="csrf-token" value="{TOKEN}">', TOKEN),
    "web.config": (f'<add key="ApiKey" value="{WORD}" />', WORD),
    "csv": (f"user,password\nada,{WORD}\nbob,x", WORD),
    "csv later row": (f"user,password,age\nbob,short,3\nada,{WORD},4\n", WORD),
    "csv in quotes": (f'"user","api_key"\n"ada","{WORD}"\n', WORD),
    "tsv": (f"user\tsecret\tn\nada\t{WORD}\t1\n", WORD),
    "csv with semicolons": (f"name;token;n\nada;{WORD};2\n", WORD),
    "markdown table": (f"user | password | n\nada | {WORD} | 2\n", WORD),
    "env file": (f"# keys\nSTRIPE_KEY={LETTERS}\n", LETTERS),
    "terraform": (f'variable = x\nsecret_key = "{LETTERS}"', LETTERS),
    "docker config": (json.dumps({".dockerconfigjson": b64url({"auths": {}}) + TOKEN}), TOKEN),
    "jwk": ({"kty": "RSA", "n": "x", "e": "AQAB", "d": TOKEN}, TOKEN),
    "jwk symmetric": ({"kty": "oct", "k": TOKEN}, TOKEN),
    "jwk in json": (json.dumps({"kty": "EC", "crv": "P-256", "x": "1", "d": TOKEN}), TOKEN),
    "pem body": ("key:\n" + "\n".join(PEM_LINES), PEM_LINES[1]),
    "pem body with escapes": ("key " + "\\n".join(PEM_LINES) + " end", PEM_LINES[2]),
    "pem body in json": (json.dumps({"note": "\n".join(PEM_LINES)}), PEM_LINES[2]),
    "putty": (f"PuTTY-User-Key-File-2: ssh-rsa\nPrivate-Lines: 2\n{body(ALNUM, 64)}\n{body(HEX, 64)}\n", body(HEX, 64)),
    # structures
    "named tuple": (Login("ada", WORD), WORD),
    "dataclass": (Connection("db", WORD), WORD),
    "dataclass inside": (Connection("db", "", {"token": LETTERS}), LETTERS),
    "dataclass as text": (repr(Connection("db", WORD)), WORD),
    "named tuple as text": (repr(Login("ada", WORD)), WORD),
    "name and value": ({"name": "DB_PASSWORD", "value": WORD}, WORD),
    "key and value": ({"Key": "DB_PASSWORD", "Value": WORD}, WORD),
    "key and value as text": (repr([{"Key": "API_KEY", "Value": WORD}]), WORD),
    "name and value in json": (json.dumps({"name": "Authorization", "value": f"Bearer {WORD}"}), WORD),
    "name and value in yaml": (f"env:\n  - name: DB_PASSWORD\n    value: {WORD}\n", WORD),
    "parameter": ({"ParameterKey": "DbPassword", "ParameterValue": WORD}, WORD),
    "schema with a value": ({"password": {"type": "string", "value": WORD}}, WORD),
    "schema with a default": ({"properties": {"api_key": {"type": "string", "default": WORD}}}, WORD),
    "schema with examples": ({"token": {"type": "string", "examples": [WORD]}}, WORD),
    "schema as text": (json.dumps({"password": {"type": "string", "value": WORD}}), WORD),
    "typed value": ({"password": {"S": WORD}}, WORD),
    "list under a name": ({"passwords": [WORD, "x"]}, WORD),
    "bytes": ({"note": f"password={WORD}".encode()}, WORD),
    "pairs": ([("password", WORD), ("user", "ada")], WORD),
    "json in json in json": (json.dumps(json.dumps(json.dumps({"password": WORD}))), WORD),
    "python repr of json": (repr(json.dumps({"api_key": WORD})), WORD),
    "html entities": (f"{{&quot;password&quot;:&quot;{WORD}&quot;}}", WORD),
    "error text": (ValueError(f"login failed for ada with password={WORD}"), WORD),
    "graphql": (f'mutation {{ login(user: "ada", password: "{WORD}") {{ ok }} }}', WORD),
    "sql": (f"CREATE USER ada PASSWORD='{WORD}'", WORD),
    "log line": (f"level=info user=ada password={WORD} status=200", WORD),
    "go struct": (f"{{User:ada Password:{WORD} Port:1}}", WORD),
    "ruby hash": (f"{{:user=>\"ada\", :password=>\"{WORD}\"}}", WORD),
    "php array": (f"['user' => 'ada', 'password' => '{WORD}']", WORD),
    "form in multipart": (f'name="password"; value="{WORD}"', WORD),
    "pieces of a stream": ([{"type": "delta", "delta": KEY[:30]}, {"type": "delta", "delta": KEY[30:] + " ok"}], KEY[30:]),
    "events of a stream": ([{"type": "token", "text": KEY[at : at + 9]} for at in range(0, len(KEY), 9)], KEY[18:27]),
    "many pieces": ([{"delta": GITHUB[at : at + 5]} for at in range(0, 40, 5)], GITHUB[15:20]),
    # programs, databases and sentences
    "triple quotes": (f'PASSWORD = """{WORD}"""', WORD),
    "typed constant": (f'const apiKey: string = "{TOKEN}";', TOKEN),
    "typed reference": (f'let token: &str = "{TOKEN}";', TOKEN),
    "define": (f'#define API_KEY "{TOKEN}"', TOKEN),
    "identified by": (f"CREATE USER ada IDENTIFIED BY '{LETTERS}'", LETTERS),
    "with password": (f"ALTER USER ada WITH PASSWORD '{LETTERS}'", LETTERS),
    "set password": (f"SET PASSWORD FOR ada = '{LETTERS}'", LETTERS),
    "validation error": (f"1 validation error for Login\npassword\n  Input should be x [type=t, input_value='{WORD}', input_type=str]", WORD),
    "sshpass": (f"sshpass -p {WORD} ssh host", WORD),
    "mysql": (f"mysql -u root -p{WORD} db", WORD),
    "docker login": (f"docker login -u ada -p {WORD} registry.example.com", WORD),
    "cookie file": (f".example.com\tTRUE\t/\tTRUE\t1769594096\tsession\t{TOKEN}", TOKEN),
    "said": (f"Your token is {TOKEN}.", TOKEN),
    "said in quotes": (f'The password is "{WORD}".', WORD),
    "bold": (f"**Password:** {WORD}", WORD),
    "arrow": (f"password -> {WORD}", WORD),
    "a pair alone": (("password", WORD), WORD),
    "ssh2": (f"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n{TOKEN}\n---- END SSH2 ENCRYPTED PRIVATE KEY ----", TOKEN),
    # letters that are read as others
    "space that does not break": (f"password:\u00a0{WORD}", WORD),
    "zero width": (f"key {spaced(KEY, chr(0x200B))}", KEY[14:60]),
    "zero width joiner": (f"key {spaced(GITHUB, chr(0x200D))}", GITHUB[14:]),
    "soft hyphen": (spaced(GITHUB, chr(0xAD)), GITHUB[14:]),
    "byte order mark": (chr(0xFEFF) + GITHUB, GITHUB),
    "full width": (f"key {wide(GITHUB)}", wide(GITHUB[8:20])),
    "full width assignment": (wide(f"password={WORD}"), wide(WORD)),
    "mathematical letters": (f"{bold('password')}={WORD}", WORD),
    "hyphens that look alike": (KEY.replace("-", chr(0x2011), 2), KEY[20:60]),
    # what stands around a key of a known shape
    "in a url path": (f"https://api.telegram.org/{KEYS['telegram in a url']}/sendMessage", KEYS["telegram in a url"][16:]),
    "in a path": (f"/v1/keys/{GITHUB}/rotate", GITHUB),
    "in a file name": (f"backup-of/{SECRETS['stripe live']}.txt", SECRETS["stripe live"]),
    "after a colon": (f"key:{GITHUB}", GITHUB),
    "url encoded": (urllib.parse.quote(f"token {GITHUB}"), GITHUB),
    "in brackets": (f"[{GITHUB}]", GITHUB),
    "in a comment": (f"<!-- {GITHUB} -->", GITHUB),
    "as a key": ({GITHUB: 1}, GITHUB),
    "in a set": ({GITHUB}, GITHUB),
    "in an exception of an exception": (RuntimeError(RuntimeError(f"key {KEY}")), KEY),
    "base64 in a data url": (f"data:text/plain,{GITHUB}", GITHUB),
    "in base64 basic": (f"Authorization: Basic {base64.b64encode(f'x:{PASSWORD}'.encode()).decode()}", base64.b64encode(f"x:{PASSWORD}".encode()).decode()[:20]),
}  # fmt: skip
"""Values with a secret in them, and what must not be left of it."""


def shown(value: object) -> str:
    """Return everything that a value shows, in one text."""
    if isinstance(value, Mapping):
        return " ".join(f"{shown(key)} {shown(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple, set)):
        return " ".join(map(shown, value))
    return f"{value} {value!r}"
