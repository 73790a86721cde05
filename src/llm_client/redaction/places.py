"""Secrets that only their place gives away: the password of a URL, an element of XML, a field of a form or a key.

Each reader is asked only where a word of its place occurs, and looks at a bounded stretch around it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import chain
from typing import Final

from llm_client.redaction.command_lists import LISTS
from llm_client.redaction.commands import COMMANDS
from llm_client.redaction.key_names import kind_of_name
from llm_client.redaction.readers import MARK, NAME, QUOTE, REFERENCES, Reader, Readers, by_name, of_kind
from llm_client.redaction.rules import Span, near_miss
from llm_client.redaction.sentences import sentence_readers
from llm_client.redaction.stretches import STRETCH, containing, first_match, matches, position_of
from llm_client.redaction.tables import TABLES

_STRICT = re.compile(r"[^\s/?#:\[\]\"'<>\\]{0,256}:(?P<secret>[^\s/?#\"'<>\\]{1,8000})@")
_OPEN = re.compile(r"[^\s/?#:\[\]\"'<>\\]{0,256}:(?P<secret>[^\s\"<>\\]{1,1024})@(?=[\w.\[-])")
_HOST = re.compile(r"@(?=[\w.\[-])")
_TEMPLATE = re.compile(r"\$?\{[^{}]{0,64}\}|\$\w{1,64}|%s|\*{3,}|<[^<>]{0,64}>")
_PORT = re.compile(r"\d{1,5}(?:[/?#].*)?")
_TOKEN_AS_USER = re.compile(r"(?P<secret>[A-Za-z0-9_-]{20,512})(?::[\w-]{0,64})?@")

_ELEMENT = re.compile(
    rf"<(?:[\w.-]{{1,40}}+:)?{NAME}(?:\s[^<>]{{0,200}})?>(?:<!\[CDATA\[)?(?P<secret>[^<>]{{1,8000}}?)(?:\]\]>)?</"
)
_ATTRIBUTE = re.compile(
    rf"=(?:(?<=\bname=)|(?<=\bkey=)|(?<=\bid=)|(?<=\btype=)|(?<=\bfield=)|(?<=\bheader=))[\"']?{NAME}[\"']?",
    re.IGNORECASE,
)
_VALUE = re.compile(r"=(?:(?<=\bvalue=)|(?<=\bcontent=))[\"'](?P<secret>[^\"'<>]{1,1024})", re.IGNORECASE)
_BETWEEN = 168
"""Characters that may stand between an attribute with a name and one with a value."""
_NEAR = 4
"""Attributes before a value, and after it, that are looked at."""
_TAG_END = re.compile(r"[<>]")
_PAIR = re.compile(
    rf"(?:name(?<=\bname)|key(?<=\bkey))(?:{QUOTE})?[ \t]*[:=][ \t]*(?:{QUOTE})?{NAME}(?:{QUOTE})?[ \t]*[,\n][^{{}}\n]{{0,80}}?\bvalue(?:{QUOTE})?[ \t]*[:=][ \t]*"
    r"(?:b?(?P<mark>\\{0,3}[\"'])(?P<secret>[^\"'\n]{1,1024}?)(?=\\{0,3}[\"'])|(?P<plain>[^\s\"'{}\[\],|>][^\s{}\[\],]{2,512}))"
)
_TYPED = re.compile(
    rf"[\"']{NAME}\\{{0,3}}[\"'][ \t]*:[ \t]*\{{[^{{}}]{{0,200}}?{QUOTE}(?:value|default|const|example)(?:{QUOTE})[ \t]*:[ \t]*{QUOTE}"
    r"(?P<secret>[^\"'\n\\]{1,1024})"
)
_PAIR_BACKWARDS = re.compile(
    rf"value{QUOTE}[ \t]*:[ \t]*\\{{0,3}}[\"'](?P<secret>[^\"'\n\\]{{1,1024}})\\{{0,3}}[\"'][ \t]*,[ \t\n]*{QUOTE}(?:name|key){QUOTE}[ \t]*:[ \t]*{QUOTE}{NAME}{QUOTE}"
)
_SHORT_PAIR = re.compile(
    rf"[\"']k\\{{0,3}}[\"'][ \t]*:[ \t]*{QUOTE}{NAME}{QUOTE}[ \t]*,[ \t\n]*{QUOTE}v{QUOTE}[ \t]*:[ \t]*\\{{0,3}}[\"'](?P<secret>[^\"'\n\\]{{1,1024}})"
)
_VARIABLE = re.compile(
    rf"variable[ ]\"{NAME}\"[ ]\{{[^{{}}]{{0,300}}?\bdefault[ ]{{0,20}}=[ ]{{0,3}}\"(?P<secret>[^\"\n]{{1,1024}})"
)
_NAMED_ELEMENT = re.compile(
    rf"=(?<=\bname=)[\"']{NAME}[\"'][^<>]{{0,80}}>\s{{0,40}}(?:<value>)?(?P<secret>[^<>\s][^<>]{{0,1024}})</"
)
_ESCAPED_ELEMENT = re.compile(rf"&lt;{NAME}&gt;(?P<secret>[^<>&\n]{{1,1024}})&lt;/")
_PATH = re.compile(
    r"/(?:reset[_-]?password|password[_-]?reset|reset|magic[_-]?link|api[_-]?key|access[_-]?token|token|secret)/"
    r"(?P<secret>(?=[\w-]{0,64}\d)(?=[\w-]{0,64}[A-Za-z])(?![0-9a-f]{8}-[0-9a-f]{4}-)[\w-]{20,512}+)"
)
_SECRET_OF_A_CLUSTER = re.compile(
    r"(?:^|\n)[ ]{0,8}(?:data|stringData):[ ]*\n(?:[ ]{1,16}[\w.-]{1,80}:[^\n]*\n?){1,100}"
)
_ENTRY = re.compile(r"[\w.-]{1,80}:[ ]{1,8}(?P<secret>[^\s\"'|>][^\n]{3,4096})")
_USER_IN_A_QUERY = re.compile(r"%3A%2F%2F[\w.%+-]{1,64}%3A(?P<secret>[^\s&%\"'<>]{3,256})%40", re.IGNORECASE)
_MACHINE = re.compile(
    r"(?:machine(?<=\bmachine)\s{1,8}\S{1,255}|default(?<=\bdefault)|login(?<=\blogin)\s{1,8}\S{1,255})\s{1,8}(?:login\s{1,8}\S{1,255}\s{1,8})?(?:account\s{1,8}\S{1,255}\s{1,8})?"
    r"password\s{1,8}(?P<secret>[^\s<]\S{0,511})"
)
_JWK_FIELD = re.compile(
    r"[dpqk](?<![\w-][dpqk])[pqi]?\\{0,3}[\"'][ \t]*:[ \t]*\\{0,3}[\"'](?P<secret>[\w-]{16,4096})"
)
_CODE = re.compile(r"code=(?<![^?&\s\"']code=)(?P<secret>(?=[^\s&#\"'<>]{0,64}\d)[^\s&#\"'<>\\]{12,2048})")
_CODE_IN_JSON = re.compile(r"[\"']code\\{0,3}[\"'][ \t]*:[ \t]*\\{0,3}[\"'](?P<secret>[^\s\"'\\]{12,2048})")


def place_readers(text: str, lowered: str) -> Iterator[Iterator[Span]]:
    """Yield readers of the secrets that their place in a text, which is given in lower case as well, gives away."""
    holds, is_short = containing(lowered), len(lowered) <= STRETCH
    chosen: dict[Reader, None] = {}  # each once, though it may be asked for by more than one word
    for needed, readers in chain(_PLACES.items(), TABLES.items(), COMMANDS.items(), LISTS.items()):
        if needed in lowered if is_short else holds(needed):
            for literals, reader in readers:
                if any(map(holds, literals)):
                    chosen[reader] = None
    for reader in chosen:
        yield reader(text)
    yield from sentence_readers(lowered)


def _secret_of_a_cluster(text: str) -> Iterator[Span]:
    """Read the entries of a Secret of Kubernetes, whatever they are called."""
    for block in _SECRET_OF_A_CLUSTER.finditer(text):
        for entry in _ENTRY.finditer(text, block.start(), block.end()):
            if not entry["secret"].startswith(REFERENCES):
                yield *entry.span("secret"), "secret"


def _urls(text: str) -> Iterator[Span]:
    """Read passwords of URLs. Elsewhere than on the web they may hold `/`, `?`, `#` and quotes, as people write them."""
    position = position_of("://", text, 0)
    at = host = -1
    while position >= 0:
        begin = position + 3
        if at < begin:
            at = position_of("@", text, begin)
            if at < 0:
                return
        if at - begin <= 8_300:
            if host < begin:  # looked for once: the open pattern reads far before it finds none
                found = first_match(_HOST, text, begin)
                host = len(text) + 1_400 if found is None else found.start()
            yield near_miss(position)
            for start, end, kind in _url(text, position, begin, may_be_open=host - begin <= 1400):
                yield start, end, kind
                begin = max(begin, end)  # each `://` in what is taken out would read the rest once more
        position = position_of("://", text, begin)


def _url(text: str, position: int, begin: int, *, may_be_open: bool) -> Iterator[Span]:
    user = _TOKEN_AS_USER.match(text, begin)
    if user is not None and _is_drawn(user["secret"]):
        yield *user.span("secret"), "url_token"
    web = text.endswith(("http", "https", "HTTP", "HTTPS", "ws", "wss"), max(0, position - 5), position)
    match = _STRICT.match(text, begin)
    if match is None and may_be_open and not web:
        match = _OPEN.match(text, begin)
        if match is not None and _PORT.fullmatch(match["secret"]):
            match = None
    if match is not None and not _TEMPLATE.fullmatch(match["secret"]) and MARK not in match["secret"]:
        yield *match.span("secret"), "url_password"


def _is_drawn(value: str) -> bool:
    return any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def _attributes(text: str) -> Iterator[Span]:
    """Read `name="password" value="…"` and the other way round: any attribute of the same tag may name the value."""
    found = list(matches(_ATTRIBUTE, text))
    names = [(name.start(), name.end(), kind_of_name(name["name"].rpartition(":")[2])) for name in found]
    if not any(kind for _, _, kind in names):
        return
    starts = [start for start, _, _ in names]
    for value in matches(_VALUE, text):
        begin, end = value.span("secret")
        yield near_miss(begin)
        if value["secret"].startswith(REFERENCES) or not value["secret"].strip():
            continue
        middle = bisect_left(starts, begin)
        for first, last, kind in names[max(0, middle - _NEAR) : middle + _NEAR]:
            gap = (last, value.start()) if first < begin else (end, first)
            if kind and gap[1] - gap[0] <= _BETWEEN and _TAG_END.search(text, *gap) is None:
                yield begin, end, kind
                break


_FORM_FIELD = re.compile(
    rf"=(?<=\bname=)[\"']?{NAME}[\"']?[^\n]{{0,80}}\n(?:[A-Za-z-]{{1,40}}:[^\n]{{0,80}}\n){{0,3}}\r?\n(?P<secret>[^\r\n]{{1,4096}})",
    re.IGNORECASE,
)
_FORM_FIELD_ESCAPED = re.compile(
    rf"=(?<=\bname=)\\{{0,3}}[\"']{NAME}\\{{0,3}}[\"'](?:\\{{1,3}}r)?\\{{1,3}}n(?:[A-Za-z-]{{1,40}}:[^\n\\]{{0,80}}(?:\\{{1,3}}r)?\\{{1,3}}n){{0,3}}(?:\\{{1,3}}r)?\\{{1,3}}n"
    r"(?P<secret>[^\r\n\\\"']{1,4096})",
    re.IGNORECASE,
)
_DEFINED = re.compile(rf"#define[ \t]{{1,8}}{NAME}[ \t]{{1,8}}\"(?P<secret>[^\"\n]{{1,1024}})\"")
_REFUSED = re.compile(
    r"(?:^|\n)(?:[\w\[\]]{1,60}+\.){0,8}+(?P<name>[A-Za-z_]\w{0,60})\n[^\n]{0,300}?input_value=(?P<secret>'[^'\n]{1,1024}'?|\"[^\"\n]{1,1024}\"?|[^,\s]{1,1024})"
)
_PARAMETER = re.compile(rf"ParameterKey={NAME},ParameterValue=(?P<secret>[^\s,\"']{{3,1024}})")
_AUTH_OF_TWO = re.compile(
    r"auth(?:=\(|\((?<=[Bb]asic.uth\()|\((?<=[Dd]igest.uth\())[\"'][^\"'\n]{1,128}[\"'],[ ]{0,2}[\"'](?P<secret>[^\"'\n]{3,256})[\"']",
    re.IGNORECASE,
)
_ASSERTION = re.compile(r"SAML(?:Response|Request)=(?P<secret>[\w%+/=-]{40,})")
_WIRELESS = re.compile(r"WIFI:[^\n]{0,120}?;P:(?P<secret>[^;\n]{4,128});")
_MASKED = re.compile(r"::add-mask::(?P<secret>\S{3,512})")
_COOKIE_OF_A_JAR = re.compile(r"<Cookie [^\s=<>]{1,80}=(?P<secret>[^\s<>]{6,4096}) for ")
_COOKIE_FILE = re.compile(r"\t(?:TRUE|FALSE)\t\d{1,12}\t[^\t\n]{1,128}\t(?P<secret>[^\t\r\n]{4,4096})")

_PLACES: Final[dict[str, Readers]] = {
    "://": ((("://",), _urls),),
    "</": ((("</",), by_name(_ELEMENT)), (("name=",), by_name(_NAMED_ELEMENT))),
    "parameterkey=": ((("parametervalue=",), by_name(_PARAMETER)),),
    "content=": ((("name=",), _attributes),),
    "auth": (
        (("auth=(", "basicauth(", "digestauth("), of_kind(_AUTH_OF_TWO, "password")),
    ),
    "wifi:": ((("wifi:",), of_kind(_WIRELESS, "password")),),
    "saml": ((("samlresponse=", "samlrequest="), of_kind(_ASSERTION, "assertion")),),
    "::add-mask::": ((("::add-mask::",), of_kind(_MASKED, "secret")),),
    "<cookie ": ((("<cookie ",), of_kind(_COOKIE_OF_A_JAR, "cookie")),),
    "&lt;": ((("&lt;",), by_name(_ESCAPED_ELEMENT)),),
    "\"v": ((('"v"', '"v\\'), by_name(_SHORT_PAIR)),),
    "%3a%2f%2f": ((("%40",), of_kind(_USER_IN_A_QUERY, "url_password")),),
    "kind: secret": ((("data:",), _secret_of_a_cluster),),
    "/": ((("reset", "magic", "/api", "token/", "secret/"), of_kind(_PATH, "url_token")),),
    "value": (
        (("value=",), _attributes),
        (("value\"", "value'", "value:", "value\\"), by_name(_PAIR, small=True)),
        (("value\"", "value'", "value\\"), by_name(_PAIR_BACKWARDS)),
        (("input_value=",), by_name(_REFUSED)),
    ),
    "form-data": ((("form-data",), by_name(_FORM_FIELD)), (("n\\r\\n", "\\n\\n"), by_name(_FORM_FIELD_ESCAPED))),
    "{": (
        (('"value', "'value", "value\\", '"type', "'type"), by_name(_TYPED)),
        (('variable "',), by_name(_VARIABLE)),
    ),
    "password": ((("password ", "password\t"), of_kind(_MACHINE, "password", "machine", "default", "login")),),
    "kty": ((("kty",), of_kind(_JWK_FIELD, "private_key")),),
    "code": (
        (("code=",), of_kind(_CODE, "authorization_code", "state=", "redirect_uri", "grant_type", "client_id", "callback", "code_verifier", "oauth")),
        (("grant_type", "redirect_uri", "code_verifier"), of_kind(_CODE_IN_JSON, "authorization_code")),
    ),
    "#define": ((("#define",), by_name(_DEFINED)),),
    "\t": ((("\ttrue\t", "\tfalse\t"), of_kind(_COOKIE_FILE, "cookie")),),
}  # fmt: skip
"""Readers by what every text of theirs holds; each then has literals of its own."""
