"""Names that announce a secret: keys of a mapping, header names, environment variables.

A name is read as words (`clientSecret`, `CLIENT_SECRET` and `client-secret` are the same two), and what counts is
what it ends in: `access_token` holds a token, `token_count` holds a count and `max_tokens` a number.
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_NAME_LENGTH = 96

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_KINDS_BY_ENDING = {
    "password": "password passwords passwd pwd passphrase passcode passwort passwordhash userpass dbpass",
    "secret": "secret secrets clientsecret appsecret secretkey signingkey encryptionkey decryptionkey masterkey"
    " hmackey sessionkey mnemonic seedphrase recoverycode recoverycodes backupcode backupcodes otp totp mfacode"
    " pincode cvv cvc",
    "credentials": "credential credentials creds",
    "api_key": "apikey apikeys accesskey accesskeys accountkey authkey subscriptionkey sharedaccesskey servicekey",
    "private_key": "privatekey privatekeys sshkey",
    "authorization": "authorization basicauth",
    "cookie": "cookie cookies",
    "token": "token jwt accesstoken refreshtoken authtoken bearertoken sessiontoken idtoken csrftoken xsrftoken"
    " apitoken accesstokens refreshtokens authtokens bearertokens sessiontokens apitokens",
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
    words = [word.lower() for word in _WORD.findall(name)]
    while words and (words[-1].isdigit() or words[-1] in _SILENT_TAILS):
        words.pop()
    for count in (3, 2, 1):
        kind = _ENDINGS.get("".join(words[-count:])) if len(words) >= count else None
        if kind is not None:
            return None if _is_cursor_or_text(words) else kind
    if len(words) >= 2 and words[-1] == "key" and words[-2] in _VENDORS:
        return "api_key"
    if words and (words == ["pass"] or words[-1].endswith(_GLUED)):
        return "password"
    return None


def _is_cursor_or_text(words: list[str]) -> bool:
    return words[-1] == "token" and len(words) > 1 and words[-2] in _NOT_A_SECRET_TOKEN
