"""Names that announce a secret: keys of a mapping, header names, environment variables.

A name is read as words (`clientSecret`, `CLIENT_SECRET` and `client-secret` are the same two), and what counts is
what it ends in: `access_token` holds a token, `token_count` holds a count and `max_tokens` a number.
"""

from __future__ import annotations

import re
from base64 import b64decode
from functools import lru_cache
from unicodedata import normalize

MAX_NAME_LENGTH = 96

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_KINDS_BY_ENDING = {
    "password": "password passwords passwd pwd pw passphrase passcode passwort passwordhash userpass dbpass apppassword sshpass becomepass"
    " smtppass adminpass rootpass mailpass loginpass sudopass authpass mysqlpass redispass ldappass vaultpass ftppass sftppass smbpass webdavpass httppass proxypass"
    " depasse motdepasse kennwort senha wachtwoord losenord haslo heslo sifre passord salasana adgangskode contrasena",
    "secret": "secret secrets clientsecret appsecret secretkey signingkey encryptionkey decryptionkey masterkey"
    " hmackey sessionkey mnemonic seedphrase recoverycode recoverycodes backupcode backupcodes otp totp mfacode"
    " pincode cvv cvc codeverifier clientassertion otpcode verificationcode onetimecode smscode logincode twofactorcode 2facode"
    " securitycode psk presharedkey secretkeybase geheimnis clavesecreta",
    "credentials": "credential credentials creds dockerconfigjson dockerauthconfig",
    "api_key": "apikey apikeys accesskey accesskeys accountkey authkey subscriptionkey sharedaccesskey servicekey"
    " servicerolekey appkey applicationkey writekey adminkey integrationkey deploykey licensekey rootkey consumerkey"
    " ingestkey ingestionkey insertkey functionkey functionskey",
    "private_key": "privatekey privatekeys sshkey clientkeydata keypem privkey rsakey",
    "authorization": "authorization basicauth",
    "cookie": "cookie cookies connectsid phpsessid jsessionid aspsessionid gitlabsession laravelsession cisession symfonysession railssession expresssession",
    "signature": "hubsignature slacksignature stripesignature twiliosignature githubsignature gitlabsignature"
    " linearsignature webhooksignature svixsignature hmacsha hmacsignature",
    "token": "token jwt bearer accesstoken refreshtoken authtoken bearertoken sessiontoken idtoken csrftoken xsrftoken"
    " apitoken accesstokens refreshtokens authtokens bearertokens sessiontokens apitokens authorizationcode authcode"
    " oauthcode devicecode",
    "card_number": "cardnumber creditcard creditcardnumber ccnumber",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ENDINGS = {ending: kind for kind, endings in _KINDS_BY_ENDING.items() for ending in endings.split()}

_VENDORS = _words(
    "anthropic azure cohere datadog deepseek fireworks gemini github gitlab google groq hf huggingface langsmith"
    " mistral openai openrouter perplexity pinecone sendgrid serpapi stripe tavily together twilio voyage xai"
)
"""`OPENAI_KEY` is a secret where `cache_key` is not."""

_NOT_A_SECRET_TOKEN = _words(
    "page continuation next previous prev cursor sync stop start end eos bos pad unk mask sep cls special first last"
    " per max min num to top prompt completion input output text sample current model"
)
"""Words before `token` that make it a cursor or a unit of text."""

_SILENT_TAILS = _words("again b64 base64 confirm confirmation encoded header pem plain plaintext raw value")


_WHOLE_NAMES = {"auth": "credentials", "sid": "cookie", "pass": "password", "pin": "secret"}
"""Names that tell something only when they are all there is: `_auth` and `sid`, but not `AccountSid` or `oauth`."""

FOREIGN = (
    "contraseña", "hasło", "şifre", "lösenord", "jelszó", "mật khẩu", "clé secrète", "пароль", "κωδικός", "סיסמה", "كلمة المرور", "كلمة السر",
    "पासवर्ड", "รหัสผ่าน", "密码", "密碼", "口令", "密钥", "パスワード", "暗証番号", "秘密鍵", "비밀번호", "암호",
)  # fmt: skip
"""What a name of a password ends with where people write more than ASCII."""

_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_PIN = re.compile(r"\d{4,12}")
_PATH = re.compile(r"(?:~?/|[A-Za-z]:\\\\?)[^\n]*|\.{1,2}(?:/[^\n]*)?")
_OBJECT_ID = re.compile(r"[A-Z]{2}[0-9a-f]{32}")
_PAIR_IN_BASE64 = re.compile(r"[A-Za-z0-9+/]{8,}={0,2}")

STEMS = (
    "pass", "pwd", "pw", "secret", "token", "key", "cred", "auth", "cookie", "jwt", "bearer", "sid", "sess", "signature", "hmac", "code",
    "verifier", "assertion", "mnemonic", "phrase", "otp", "cvv", "cvc", "number", "pat", "dockerconfig", "pin", "psk", "kennwort", "senha",
    "wachtwoord", "losenord", "haslo", "heslo", "sifre", "salasana", "adgangskode", "contrase", "geheimnis", "clave", *FOREIGN,
)  # fmt: skip
"""One of these is in every name of a secret, in small letters."""

_GLUED = ("password", "passwd", "passphrase")
"""What names write together with what comes before: `PGPASSWORD`."""


@lru_cache(maxsize=4096)
def kind_of_name(name: str) -> str | None:
    """Return which kind of secret a value of this name is, or `None` for a harmless name.

    Args:
        name: A key, header or variable name in any spelling.
    """
    if len(name) > MAX_NAME_LENGTH or "<" in name:  # `<REDACTED:api_key>` is no name
        return None
    if not name.isascii() or "\\u" in name:
        spelled = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), name)
        if normalize("NFC", spelled).lower().rstrip("\\\"' ]*").endswith(FOREIGN):
            return "password"
    words = [word.lower() for word in _WORD.findall(name)]
    while words and (words[-1].isdigit() or words[-1] in _SILENT_TAILS):
        words.pop()
    if len(words) == 1 and words[0] in _WHOLE_NAMES:
        return _WHOLE_NAMES[words[0]]
    for count in (3, 2, 1):
        kind = _ENDINGS.get("".join(words[-count:])) if len(words) >= count else None
        if kind is not None:
            return None if _is_cursor_or_text(words) else kind
    if len(words) >= 2 and words[-1] == "key" and words[-2] in _VENDORS:
        return "api_key"
    if words and words[-1].endswith(_GLUED):
        return "password"
    return "token" if len(words) >= 2 and words[-1] == "pat" else None


def is_harmless(name: str, value: object) -> bool:
    """Whether a value cannot be the secret that a name with a second meaning announces.

    `pwd` is also where a shell stands, `sid` the id of an object, `pin` a place on a board, and `auth` what a program calls its options.
    """
    name = name.strip("_-. ").lower()
    if name == "auth":
        return not isinstance(value, (str, bytes, tuple, list)) or (
            isinstance(value, str) and not _is_pair(value)
        )
    if name == "pin":
        return not _PIN.fullmatch(str(value))
    if not isinstance(value, str):
        return False
    return (name == "pwd" and bool(_PATH.fullmatch(value))) or (
        name == "sid" and bool(_OBJECT_ID.fullmatch(value))
    )


def _is_pair(value: str) -> bool:
    """Whether a text is long and mixed enough to be `user:password` in base64, or a token."""
    if not _PAIR_IN_BASE64.fullmatch(value):
        return ":" in value and not value.startswith(("http:", "https:"))
    try:
        return b":" in b64decode(value + "=" * (-len(value) % 4))
    except ValueError:
        return False


def _is_cursor_or_text(words: list[str]) -> bool:
    return words[-1] == "token" and len(words) > 1 and words[-2] in _NOT_A_SECRET_TOKEN
