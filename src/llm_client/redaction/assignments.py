"""Secrets that only their name gives away, inside a text: `password=…`, `"api_key": "…"`, `Cookie: …`.

Texts are JSON that was encoded twice, header dumps, environment listings, query strings, source code and prose, so a
name is not enough: what follows must be an assignment, and its value must be able to be a secret. `The token: a unit
of text` and `api_key = settings.api_key` stay as they are.

The time is linear, whoever wrote the text. A name is read once, since names end at their signs and signs are looked at once, and what
announces nothing is counted too. Whether
a value can be a secret is judged by a bounded part of it; only what has been judged a secret is read to its end, and then no other
value begins inside it. What would be read to its end again and again (a line without an `=` after each of a thousand `Cookie: `) is not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge

from llm_client.redaction.key_names import FOREIGN, MAX_NAME_LENGTH, is_harmless, kind_of_name
from llm_client.redaction.rules import Span, near_miss
from llm_client.redaction.stretches import STRETCH, matches, occurs

_REST = (
    r"[\w.-]{0,24}+(?P<close>\\{0,15}[\"'`]\]?|%22|%27|&quot;|&#3[49];|\*{1,2}|\[?\]|%5d)?[ \t]{0,3}"
    r"(?P<sign>=>|<-|->|\u2192|:=|[=!]==?|[?+]=|[:=]|%3[ad]|%253[ad]|(?:as )?string[ \t]=|\{ get; set; \} =|\{(?=\")|\((?=[rbfu]?[\"'`])"
    r"|(?<=[\"'`]),(?=[ \t]{0,3}(?:\r?\n[ \t]{0,32})?[rbfu]{0,2}\\{0,15}[\"'`]))"
)
_CODES = (
    "otp",
    "verification",
    "onetime",
    "one-time",
    "one_time",
    "one time",
    "sms",
    "login",
    "2fa",
    "two-factor",
    "security",
)
_SAID_BEFORE_CODE = "|".join(f"(?<={word}{mark}code)" for word in _CODES for mark in ("", "_", "-", " "))
_WORDS = {
    "pass": "pass", "pwd": "pwd", "pw": "pw(?![a-z0-9])", "secret": "secret", "token": "token", "key": "key(?<=[\\w. -]key)", "cred": "cred",
    "auth": "auth(?!or(?![a-z]*iz))", "cookie": "cookie", "jwt": "jwt", "bearer": "bearer", "sid": "sid", "sess": "sess(?:ion)?id",
    "signature": "signature", "verifier": "verifier", "assertion": "assertion", "hmac": "hmac", "code": "code(?:(?<=authcode)|(?<=authorizationcode)|(?<=devicecode)|(?<=(?:auth|vice)[_.-]code)|(?<=authorization[_.-]code)|" + _SAID_BEFORE_CODE + ")",
    "pin": "pin(?<![a-z]pin)(?:[_ -]?code)?(?![a-z])", "psk": "psk", "presharedkey": "presharedkey", "kennwort": "kennwort", "senha": "senha",
    "wachtwoord": "wachtwoord", "losenord": "losenord", "haslo": "haslo", "heslo": "heslo", "sifre": "sifre", "salasana": "salasana",
    "adgangskode": "adgangskode", "contrase": "contrase", "geheimnis": "geheimnis", "clave": "clave[_ ]?secreta", "_session": "(?:laravel|ci|symfony|rails|express)_session", "_pat": "_pat", "dockerconfig": "dockerconfig", "otp": "otp", "cvv": "cvv", "mnemonic": "mnemonic", "seed": "seed[_ -]?phrase",
}  # fmt: skip
"""What to look for in lower-case text, by the word that must occur: one search each is faster than one for all."""

_ASSIGNMENTS = {word: re.compile(pattern + _REST) for word, pattern in _WORDS.items()}
_FOREIGN = re.compile(
    "(?:" + "|".join((*FOREIGN, *(re.escape(json.dumps(word)[1:-1]) for word in FOREIGN))) + ")" + _REST
)
"""Names in other scripts, as they are and as JSON writes them."""

_HEAD = 256
"""Characters of a value by which it is judged."""

_NAME_CHARACTERS = re.compile(r"[A-Za-z0-9_.-]*+")
_HEX = re.compile(r"[0-9A-Fa-f]{2}(?=[A-Za-z_])")
_WITHIN_NAMES = frozenset("_.-")
_OPENING = re.compile(
    r"(?P<space>(?:\*{1,2}(?=[ \t]))?[ \t]{0,3}+(?:\r?\n[ \t]{0,32}+(?=\\{0,15}[\"']))?)"
    r"(?P<quote>[rbfu]{0,2}(?P<mark>\\{0,15}(?:\"{3}|'{3}|[\"'`])|%22|%27|&quot;|&#3[49];))?"
)
_WRAPPED = re.compile(
    r"[ \t]{0,3}(?:"
    r"(?:@|\$@?|\(|Some\(|(?:\w{1,20}::)?String::from\(|\w{0,16}Secret\w{0,10}\(|str\()?[rbfu]?(?P<mark>\\{0,15}[\"'`])"
    r"(?P<quoted>[^\s\"'`\\]{6,512})(?=(?P=mark))"
    r"|\[\s{0,20}\\{0,15}[\"'](?P<listed>[^\s\"'\\]{6,256}(?=\\{0,15}[\"'])[^\]\n]{0,4096})(?=\])"
    r"|%?[qQ][qQwW]?(?:\((?P<q1>[^()\n]{3,256})\)|\{(?P<q2>[^{}\n]{3,256})\}|\[(?P<q3>[^\[\]\n]{3,256})\]|\|(?P<q4>[^|\n]{3,256})\|)"
    r"|\[\[(?P<lua>[^\[\]\n]{6,256})\]\]"
    r"|\{(?P<braced>[^{}\s$%]{6,128})\}(?=;|\s|\Z)"
    r"|(?:!{1,2}\w{1,12}|&\w{1,20})[ \t]{1,3}(?P<tagged>[^\s\"']{6,256})"
    r"|<<-?[\"']?\w{1,20}[\"']?\r?\n(?P<here>[^\n]{3,1024})"
    r"|(?:\r?\n[ \t]{0,16}){1,2}(?P<below>(?![-#*])[^\s\"'`,;{}\[\]|<>]{6,256})(?=[ \t]*(?:\r?\n|\Z))"
    r")"
)
"""Values that something stands around: a call, a list, the quotes of Perl and Lua, a tag of YAML, the end of a line."""
_TYPE = re.compile(
    r"[ \t]{0,3}(?:&|\[\]const )?[A-Za-z][\w<>\[\].]{0,40}(?: \| [A-Za-z]\w{0,20})?[ \t]{0,3}=[ \t]{0,3}(?=[rbfu]?[\"'`])"
)
_UNQUOTED = re.compile(r"[^\s\"'`,;&<>{}()\[\]|\\]+")
_REST_OF_LINE = re.compile(r"[^\r\n\"'`<>\\]+")
_WHOLE_LINE = re.compile(r"[^\r\n]+")
_FIRST_COOKIE = re.compile(r"[^\s=;,\"'<>\\]{1,128}=[^\s;,]")
_CREDENTIAL = re.compile(
    r"(?P<scheme>(?:Bearer|Basic|Token|Digest|Negotiate|NTLM|SSWS|Hawk|OAuth|MAC|GoogleLogin|SharedKey(?:Lite)?|Api-?Key|Key|Signature"
    r"|AWS4-HMAC-SHA256|GenieKey|Splunk|Zoho-oauthtoken|Bot|PRIVATE-TOKEN)[ \t]+)?(?P<word>[^\s\"'`]{1,256}+)(?P<more>[ \t]+[^\s])?",
    re.IGNORECASE,
)
_OF_PARTS = ("digest", "hawk", "oauth", "signature", "aws4-hmac-sha256", "mac", "sharedkey")
_BLOCK = re.compile(r"[|>][+\-0-9]{0,2}[ \t]*\r?\n(?P<indent>[ \t]{1,64})(?=\S)")
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"[-+]?[\d.,_]+%?")
_PLACEHOLDER = re.compile(
    r"(?:none|null|nil|true|false|undefined|required|optional|string|str|bytes|secretstr|redacted|hidden)[.,]?|[*.x•-]+"
    r"|\$\{?[a-z_]\w*\}?|\$\(.*|%\(?\w*\)?[sd]?|\{\{?[^{}]*\}?\}|<[^<>]*>"
    r"|[\w-]{0,12}(?:\.{3,}|\*{3,}|…)[\w-]{0,8}"
    r"|(?:os|self|cls|config|settings|env|environ|process|args|secrets)\..*",
    re.IGNORECASE,
)
_MARK = "<REDACTED:"
_WORDS_TOO = frozenset({"bearer", "sid", "auth"})
_VAGUE = frozenset({"token", "jwt", "pw", *_WORDS_TOO})


@dataclass(slots=True)
class _Name:
    """A name that something is assigned to."""

    start: int
    text: str
    kind: str
    close: str
    """The quote right after the name, if it has one."""
    sign: str
    before: str
    """The character right before the name."""

    @property
    def opening(self) -> str:
        """The quote right before the name, if it has one."""
        return self.before if self.before in {'"', "'", "`"} else ""

    @property
    def sets(self) -> bool:
        """Whether it is the name of a function that is given a secret: `set_password("…")`, but not `get_secret("…")`."""
        _, dot, last = self.text.rpartition(".")
        return last.lower().startswith(("set", "with", "update")) or (bool(dot) and self.kind == "password")

    @property
    def subscript(self) -> bool:
        """Whether it is a key in brackets: `config["password"] = …`."""
        return self.close.endswith("]") and len(self.close) > 1

    @property
    def vague(self) -> bool:
        """Whether the name alone could just as well be about units of text."""
        return self.text.strip("_ ").lower() in _VAGUE and not self.text.startswith("_")


def assignment_spans(text: str, lowered: str) -> Iterator[Span]:
    """Yield the values that a text, which is given in lower case as well, assigns to names of secrets, and near misses."""
    is_short = len(lowered) <= STRETCH
    found = [
        _matches(pattern, lowered, order)
        for order, (word, pattern) in enumerate(_ASSIGNMENTS.items())
        if (word in lowered if is_short else occurs(word, lowered))
    ]
    done = last = others = 0
    foreign = () if lowered.isascii() and not occurs("\\u", lowered) else (_matches(_FOREIGN, lowered, -1),)
    for end, _, match in merge(*found, *foreign):
        if end == last or match.start() < done:
            continue
        last = end
        name = _name(text, match)
        if name is None:
            others += 1
            if others % 6 == 0:  # `max_tokens` is quickly read, and a list of bills is full of it
                yield near_miss(match.start())
            continue
        span = _value_span(text, name, end)
        if span is None:
            yield near_miss(name.start)
        else:
            done = span[1]
            yield *span, name.kind


def _matches(pattern: re.Pattern[str], text: str, order: int) -> Iterator[tuple[int, int, re.Match[str]]]:
    """Yield matches in a form that sorts by where they end, and then by the order of the words."""
    for match in matches(pattern, text):
        yield match.end(), order, match


def _name(text: str, match: re.Match[str]) -> _Name | None:
    """Read the whole name around the word that was found, or `None` if it announces no secret."""
    close, sign = match["close"] or "", match["sign"]
    end = match.start("close") if close else match.start("sign")
    start = match.start()
    before = text[start - 1 : start]
    if before.isalnum() or before in _WITHIN_NAMES:
        start = _start_of_name(text, start)
        before = text[start - 1 : start]
    name = text[start:end].rstrip()
    kind = kind_of_name(name)
    if kind is None and before == " " and text[start - 2 : start - 1].isalnum():  # `API key: …`
        start = _start_of_name(text, start - 1)
        before = text[start - 1 : start]
        name = text[start:end].rstrip()
        kind = kind_of_name(name)
    if kind is None:
        return None
    return _Name(start, name, kind, close, sign, before)


def _start_of_name(text: str, position: int) -> int:
    floor = position - MAX_NAME_LENGTH if position > MAX_NAME_LENGTH else 0
    before = _NAME_CHARACTERS.match(text[floor:position][::-1])  # read backwards
    position -= before.end() if before else 0
    after = text[position - 1] if position else ""
    if after == "\\" and text[position] in "nrt":
        return position + 1
    return position + 2 if after == "%" and _HEX.match(text, position) else position


def _value_span(text: str, name: _Name, end: int) -> tuple[int, int] | None:
    span = None if name.sign in {"(", "{", "==", "!="} else _plain_value(text, name, end)
    return span or _wrapped(text, name, end)


def _wrapped(text: str, name: _Name, begin: int) -> tuple[int, int] | None:
    """Read a value that something stands around; it must be telling, since as much can stand around a harmless one."""
    match = _WRAPPED.match(text, begin)
    if match is None or name.sign == "," or (name.sign == "(" and not name.sets):
        return None
    if name.kind in {"authorization", "cookie"} and not name.subscript:
        return None
    group = next(group for group in match.groupdict() if group != "mark" and match[group] is not None)
    value = match[group].split('"')[0]
    telling = _is_telling(value) and (not name.vague or len(value) >= 16) and not value.endswith(":")
    if not (telling or (group[:-1] == "q" and name.kind == "password")) or value.startswith(_MARK):
        return None
    if _PLACEHOLDER.fullmatch(value) or is_harmless(name.text, value):
        return None
    return match.span(group)


def _plain_value(text: str, name: _Name, end: int) -> tuple[int, int] | None:
    typed = _TYPE.match(text, end) if name.sign == ":" else None  # `apiKey: string = "…"`
    opening = _OPENING.match(text, typed.end() if typed else end)
    if opening is None:
        return None
    if "\n" in opening["space"] and name.close in {"", "]", "*", "**"}:
        return None  # a sentence stands below `-> Cookie:`
    quote = opening["mark"]
    if name.sign == ",":
        return _after_comma(text, name, opening) if quote else None
    if (
        quote
        and name.subscript
        and (
            name.kind in {"authorization", "cookie", "token"}
            or kind_of_name(text[opening.end() : opening.end() + 64].partition(quote)[0])
        )
    ):
        return None
    if quote and (name.close or not text.endswith(quote, 0, name.start)):
        return _quoted(text, opening.end(), quote, name)
    # A name right after a quote that it does not close stands inside that string, and so must its value.
    position = opening.end("space")
    if name.kind in {"authorization", "cookie"}:
        if name.subscript:
            return None  # `headers["Authorization"] = authorization(user)`
        return _header(text, position, name)
    if name.sign == ":" and name.before == ":" and position == end:  # `arn:aws:…:secret:name`
        return None
    if name.kind != "token" and text[position : position + 1] in {"|", ">"}:
        block = _block(text, position)
        if block is not None:
            return block
    return _unquoted(text, name, position)


def _after_comma(text: str, name: _Name, opening: re.Match[str]) -> tuple[int, int] | None:
    """Read `("Authorization", "Bearer …")` and `["--password", "…"]`, but not a list of names."""
    before = text[max(0, name.start - 4) : name.start].rstrip("\"'`\\rbfu")
    option = name.text.startswith("--")
    if not option and not before.endswith(("(", "[")):
        return None
    span = _quoted(text, opening.end(), opening["mark"], name)
    if span is None:
        return None
    value = text[span[0] : min(span[1], span[0] + _HEAD)]
    if value.startswith("-") or kind_of_name(value):
        return None
    listed = before.endswith("[") and not option
    return span if not listed or _is_telling(value) or " " in value or "=" in value else None


def _quoted(text: str, begin: int, quote: str, name: _Name) -> tuple[int, int] | None:
    end = text.find(quote, begin)
    while end > begin and len(quote) == 1 and _is_escaped(text, end):
        end = text.find(quote, end + 1)
    if end < 0:
        end = next((at for at in (text.find("\n", begin),) if at >= 0), len(text))
    head = text[begin : min(end, begin + _HEAD)]
    if not head or head.startswith(_MARK) or is_harmless(name.text, head):
        return None
    if end - begin <= _HEAD and _PLACEHOLDER.fullmatch(head):
        return None
    credible = not name.vague or len(head) >= 16 or _is_telling(head)
    return (begin, end) if credible else None


def _is_escaped(text: str, position: int) -> bool:
    backslashes = 0
    while text[position - 1 - backslashes : position - backslashes] == "\\" and backslashes < 64:
        backslashes += 1
    return backslashes % 2 == 1


def _header(text: str, begin: int, name: _Name) -> tuple[int, int] | None:
    if name.kind == "cookie":
        if not _FIRST_COOKIE.match(text, begin):
            return None if "cookie" in name.text.lower() else _unquoted(text, name, begin)
        return _line(text, begin, _REST_OF_LINE)
    match = _CREDENTIAL.match(text, begin)
    if match is None or not (match["scheme"] or match["more"] is None):
        return None
    of_parts = (match["scheme"] or "").strip().lower() in _OF_PARTS and "=" in match["word"]
    if not (of_parts or _is_credential(match["word"])):
        return None
    whole = of_parts and not name.opening  # `Digest username="…", response="…"`
    return _line(text, begin, _WHOLE_LINE if whole else _REST_OF_LINE)


def _line(text: str, begin: int, pattern: re.Pattern[str]) -> tuple[int, int] | None:
    line = pattern.match(text, begin)
    return (begin, begin + len(line[0].rstrip())) if line and line[0].strip() else None


def _is_credential(word: str) -> bool:
    plain = word.strip(".,;:!?").isalpha() and word.islower()
    return (
        not word.startswith(_MARK)
        and not _PLACEHOLDER.fullmatch(word)
        and len(word) >= 6
        and (_has_digit(word) or not plain or len(word) >= 20)
    )


def _block(text: str, begin: int) -> tuple[int, int] | None:
    """Read a block scalar of YAML: all lines that stand as deep as the first."""
    head = _BLOCK.match(text, begin)
    if head is None or text.startswith(_MARK, head.end()):
        return None
    indent, start = head["indent"], head.end()
    end = start
    while True:
        newline = text.find("\n", end)
        end = len(text) if newline < 0 else newline
        if newline < 0 or not text.startswith(indent, newline + 1):
            break
        end = newline + 1
    return start, start + len(text[start:end].rstrip())


def _unquoted(text: str, name: _Name, begin: int) -> tuple[int, int] | None:
    match = _UNQUOTED.match(text, begin, min(len(text), begin + _HEAD))
    if match is None:
        return None
    head = match[0].rstrip(".,:!?")
    calls = text[match.end() : match.end() + 1] in {"(", "["}
    if not head or calls or head.startswith(_MARK) or _PLACEHOLDER.fullmatch(head):
        return None
    if is_harmless(name.text, head) or (kind_of_name(head) and not _has_digit(head)):
        return None
    if _NUMBER.fullmatch(head) and name.kind not in {"password", "secret", "card_number"}:
        return None
    if not _is_credible(text, name, head, begin):
        return None
    whole = _UNQUOTED.match(text, begin)
    return (begin, begin + len((whole or match)[0].rstrip(".,:!?")))


def _is_credible(text: str, name: _Name, value: str, begin: int) -> bool:
    if name.text.lower() == "pin":
        return True
    if value.isalpha() and not value.isascii():  # a word of a sentence
        return False
    if name.text.strip("_ ").lower() in _WORDS_TOO and not (len(value) >= 16 and _has_digit(value)):
        return False
    if _is_telling(value) or len(value) >= 20:
        return True
    tight = text.endswith(name.sign, 0, begin) or name.sign.startswith("%")  # `name=value`, without a space
    if tight and text[name.start - 1 : name.start] in {"?", "&"}:
        return len(value) >= 3
    if name.kind == "token":  # also what models read and programs parse
        return tight and not name.vague and len(value) >= 8
    return len(value) >= 3 if tight else _fills_line(text, name.start, begin + len(value))


def _fills_line(text: str, start: int, end: int) -> bool:
    """Whether an assignment stands alone on its line, as in a configuration file."""
    before = text[max(0, start - 80) : start].rpartition("\n")
    alone = (bool(before[1]) or start <= 80) and not before[2].strip(" \t-\"'*`#>")
    return alone and text[end : end + 3].lstrip(" \t\r")[:1] in {"", "\n"}


def _is_telling(value: str) -> bool:
    return len(value) >= 6 and _has_digit(value)


def _has_digit(value: str) -> bool:
    return _DIGIT.search(value) is not None
