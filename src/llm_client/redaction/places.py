"""Secrets that only their place gives away: the password of a URL, an element of XML, a column of CSV, a field of a key.

Each reader is asked only where a word of its place occurs, and looks at a bounded stretch around it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator
from itertools import chain
from typing import Final

from llm_client.redaction.folding import in_lower_case
from llm_client.redaction.key_names import STEMS, kind_of_name
from llm_client.redaction.rules import CROWDED, Span, near_miss

_MARK: Final = "<REDACTED:"

_STRICT = re.compile(r"[^\s/?#:\[\]\"'<>\\]{0,256}:(?P<secret>[^\s/?#\"'<>\\]{1,1024})@")
_OPEN = re.compile(r"[^\s/?#:\[\]\"'<>\\]{0,256}:(?P<secret>[^\s\"<>\\]{1,1024})@(?=[\w.\[-])")
_HOST = re.compile(r"@(?=[\w.\[-])")
_TEMPLATE = re.compile(r"\$?\{[^{}]{0,64}\}|\$\w{1,64}|%s|\*{3,}|<[^<>]{0,64}>")
_PORT = re.compile(r"\d{1,5}(?:[/?#].*)?")
_TOKEN_AS_USER = re.compile(r"(?P<secret>[A-Za-z0-9_-]{20,512})(?::[\w-]{0,64})?@")

_NAME = r"(?P<name>[A-Za-z_$][\w.:-]{1,80}+)"
_QUOTE = r"\\{0,3}[\"']"
_ELEMENT = re.compile(
    rf"<(?:[\w.-]{{1,40}}+:)?{_NAME}(?:\s[^<>]{{0,200}})?>(?:<!\[CDATA\[)?(?P<secret>[^<>]{{1,4096}}?)(?:\]\]>)?</"
)
_ATTRIBUTE = re.compile(
    rf"=(?:(?<=\bname=)|(?<=\bkey=)|(?<=\bid=)|(?<=\btype=)|(?<=\bfield=)|(?<=\bheader=))[\"']?{_NAME}[\"']?",
    re.IGNORECASE,
)
_VALUE = re.compile(r"=(?<=\bvalue=)[\"'](?P<secret>[^\"'<>]{1,1024})", re.IGNORECASE)
_BETWEEN = 168
"""Characters that may stand between an attribute with a name and one with a value."""
_NEAR = 4
"""Attributes before a value, and after it, that are looked at."""
_TAG_END = re.compile(r"[<>]")
_PAIR = re.compile(
    rf"(?:name(?<=\bname)|key(?<=\bkey))(?:{_QUOTE})?[ \t]*[:=][ \t]*(?:{_QUOTE})?{_NAME}(?:{_QUOTE})?[ \t]*[,\n][^{{}}\n]{{0,80}}?\bvalue(?:{_QUOTE})?[ \t]*[:=][ \t]*"
    r"(?:b?(?P<mark>\\{0,3}[\"'])(?P<secret>[^\"'\n]{1,1024}?)(?=\\{0,3}[\"'])|(?P<plain>[^\s\"'{}\[\],|>][^\s{}\[\],]{2,512}))"
)
_TYPED = re.compile(
    rf"[\"']{_NAME}\\{{0,3}}[\"'][ \t]*:[ \t]*\{{[^{{}}]{{0,200}}?{_QUOTE}(?:value|default|const|example)(?:{_QUOTE})[ \t]*:[ \t]*{_QUOTE}"
    r"(?P<secret>[^\"'\n\\]{1,1024})"
)
_MACHINE = re.compile(
    r"(?:machine(?<=\bmachine)\s{1,8}\S{1,255}|default(?<=\bdefault)|login(?<=\blogin)\s{1,8}\S{1,255})\s{1,8}(?:login\s{1,8}\S{1,255}\s{1,8})?(?:account\s{1,8}\S{1,255}\s{1,8})?"
    r"password\s{1,8}(?P<secret>[^\s<]\S{0,511})"
)
_JWK_FIELD = re.compile(
    r"[dpqk](?<![\w-][dpqk])[pqi]?\\{0,3}[\"'][ \t]*:[ \t]*\\{0,3}[\"'](?P<secret>[\w-]{16,4096})"
)
_CODE = re.compile(r"code=(?<![^?&\s\"']code=)(?P<secret>(?=[^\s&#\"'<>]{0,64}\d)[^\s&#\"'<>\\]{12,2048})")
_CODE_IN_JSON = re.compile(r"[\"']code\\{0,3}[\"'][ \t]*:[ \t]*\\{0,3}[\"'](?P<secret>[^\s\"'\\]{12,2048})")
_HEADING = r"[\"']?[A-Za-z_][\w .\"'-]{0,60}+(?:[,;\t|][\w .\"'-]{1,60}+){1,60}+(?=\r?\n)"
_TELLING_LINE = rf"(?={_HEADING})[^\r\n]*?(?:{'|'.join(STEMS)})[^\r\n]*+"  # in small letters
_FIRST_HEADING, _LATER_HEADING = re.compile(_TELLING_LINE), re.compile("\n" + _TELLING_LINE)
_QUOTED_CELL = {
    mark: re.compile(
        rf"(?:(?<=\n)|(?<={re.escape(mark)}))(?:\"(?P<quoted>[^\"\n]*+)\"|(?P<plain>[^{re.escape(mark)}\n\"]*+))(?=[{re.escape(mark)}\r]|\Z)"
    )
    for mark in ",;\t|"
}
MAX_ROWS: Final = 1_000
"""Rows of a table that are looked at; what follows them is taken out as a whole."""
_MAX_ROW, _MAX_CELLS = 10_000, 100


def place_readers(text: str, lowered: str) -> Iterator[Iterator[Span]]:
    """Yield readers of the secrets that their place in a text, which is given in lower case as well, gives away."""
    for needed, readers in _READERS.items():
        if needed in lowered:
            for literals, reader in readers:
                if any(literal in lowered for literal in literals):
                    yield reader(text)
    for needed, patterns in _SENTENCES.items():
        if needed in lowered:
            for literal, pattern, kind in patterns:
                if literal in lowered:
                    yield _said(pattern, kind, lowered)


def _said(pattern: re.Pattern[str], kind: str, lowered: str) -> Iterator[Span]:
    for match in pattern.finditer(lowered):
        yield *match.span("secret" if match["secret"] else "quoted"), kind


def _urls(text: str) -> Iterator[Span]:
    """Read passwords of URLs. Elsewhere than on the web they may hold `/`, `?`, `#` and quotes, as people write them."""
    position = text.find("://")
    at = host = -1
    while position >= 0:
        begin = position + 3
        if at < begin:
            at = text.find("@", begin)
            if at < 0:
                return
        if at - begin <= 1400:
            if host < begin:  # looked for once: the open pattern reads far before it finds none
                found = _HOST.search(text, begin)
                host = len(text) + 1_400 if found is None else found.start()
            yield near_miss(position)
            for start, end, kind in _url(text, position, begin, may_be_open=host - begin <= 1400):
                yield start, end, kind
                begin = max(begin, end)  # each `://` in what is taken out would read the rest once more
        position = text.find("://", begin)


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
    if match is not None and not _TEMPLATE.fullmatch(match["secret"]) and _MARK not in match["secret"]:
        yield *match.span("secret"), "url_password"


def _is_drawn(value: str) -> bool:
    return any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def _by_name(pattern: re.Pattern[str], *, small: bool = False) -> Callable[[str], Iterator[Span]]:
    """Make a reader of a pattern with the groups `name` and `secret` or `plain`, which may want small letters."""

    def read(text: str) -> Iterator[Span]:
        for match in pattern.finditer(in_lower_case(text) if small else text):
            name = text[slice(*match.span("name"))]
            kind = kind_of_name(name.rpartition(":")[2])
            group = "secret" if match["secret"] is not None else "plain"
            value = text[slice(*match.span(group))]
            if not kind:
                continue
            if value and value.strip() and not value.startswith((_MARK, "${", "{{", "$(", "%(")):
                yield *match.span(group), kind
            else:
                yield near_miss(match.start(group))

    return read


def _attributes(text: str) -> Iterator[Span]:
    """Read `name="password" value="…"` and the other way round: any attribute of the same tag may name the value."""
    found = list(_ATTRIBUTE.finditer(text))
    names = [(name.start(), name.end(), kind_of_name(name["name"].rpartition(":")[2])) for name in found]
    if not any(kind for _, _, kind in names):
        return
    starts = [start for start, _, _ in names]
    for value in _VALUE.finditer(text):
        begin, end = value.span("secret")
        yield near_miss(begin)
        if value["secret"].startswith((_MARK, "${", "{{", "$(", "%(")) or not value["secret"].strip():
            continue
        middle = bisect_left(starts, begin)
        for first, last, kind in names[max(0, middle - _NEAR) : middle + _NEAR]:
            gap = (last, value.start()) if first < begin else (end, first)
            if kind and gap[1] - gap[0] <= _BETWEEN and _TAG_END.search(text, *gap) is None:
                yield begin, end, kind
                break


def _of_kind(pattern: re.Pattern[str], kind: str, *needed: str) -> Callable[[str], Iterator[Span]]:
    """Make a reader of a pattern with the group `secret`, for texts that hold one of the words that are needed."""

    def read(text: str) -> Iterator[Span]:
        if needed and not any(word in text for word in needed):
            return
        for match in pattern.finditer(text):
            if not match["secret"].startswith(_MARK):
                yield *match.span("secret"), kind

    return read


def _table(text: str) -> Iterator[Span]:
    """Read columns of CSV whose heading is the name of a secret."""
    done = 0
    lowered = in_lower_case(text)
    first = _FIRST_HEADING.match(lowered)
    for header in chain((first,) if first else (), _LATER_HEADING.finditer(lowered)):
        if header.start() < done:
            continue
        line = text[header.start() : header.end()].lstrip("\n")
        mark = next(mark for mark in ",;\t|" if mark in line)
        names = [cell.strip(" \"'\r") for cell in line.split(mark)]
        kinds = [kind_of_name(name) if len(name.split()) <= 3 else None for name in names]
        yield near_miss(header.start())
        if any(kinds) and not all(kinds):
            done = yield from _rows(text, text.index("\n", header.end()) + 1, mark, kinds)


def _rows(text: str, position: int, mark: str, kinds: list[str | None]) -> Generator[Span, None, int]:
    """Yield the secret cells below a heading; return where the table ends."""
    for _ in range(MAX_ROWS):
        newline = text.find("\n", position)
        end = len(text) if newline < 0 else newline
        cells = _cells(text, position, end, mark)
        if len(cells) != len(kinds):
            return position
        for (start, stop), kind in zip(cells, kinds, strict=True):
            if kind and stop > start and not text.startswith(_MARK, start):
                yield start, stop, kind
        if newline < 0:
            return end
        position = newline + 1
    yield position, len(text), CROWDED
    return len(text)


def _cells(text: str, position: int, end: int, mark: str) -> list[tuple[int, int]]:
    """Return where the cells of one row start and end."""
    cells: list[tuple[int, int]] = []
    if '"' in text[position : min(end, position + _MAX_ROW)]:
        for match in _QUOTED_CELL[mark].finditer(text, position, min(end, position + _MAX_ROW)):
            group = "quoted" if match["quoted"] is not None else "plain"
            cells.append(match.span(group))
        return cells
    while position <= end and len(cells) <= _MAX_CELLS:
        at = text.find(mark, position, end)
        at = end if at < 0 else at
        cells.append((position, at))
        position = at + 1
    return cells


_FORM_FIELD = re.compile(
    rf"=(?<=\bname=)[\"']?{_NAME}[\"']?[^\n]{{0,80}}\n(?:[A-Za-z-]{{1,40}}:[^\n]{{0,80}}\n){{0,3}}\r?\n(?P<secret>[^\r\n]{{1,4096}})",
    re.IGNORECASE,
)
_DEFINED = re.compile(rf"#define[ \t]{{1,8}}{_NAME}[ \t]{{1,8}}\"(?P<secret>[^\"\n]{{1,1024}})\"")
_REFUSED = re.compile(
    r"(?:^|\n)(?:[\w\[\]]{1,60}+\.){0,8}+(?P<name>[A-Za-z_]\w{0,60})\n[^\n]{0,300}?input_value=(?P<secret>'[^'\n]{1,1024}'?|\"[^\"\n]{1,1024}\"?|[^,\s]{1,1024})"
)
_SQL = r"(?: for [^\s=]{1,80} =)? ?'(?P<secret>[^'\n<]{6,256})'(?P<quoted>)"
_SAID = (
    r"(?: is| was| ist)? ?(?:[\"'`](?P<quoted>(?=[^\s\"'`]{0,64}\d)[^\s\"'`<]{6,128})[\"'`]"
    r"|(?P<secret>(?=[a-z_-]{0,64}\d)(?=[\d_-]{0,64}[a-z])[a-z0-9_+/-]{16,512}))"
)


def _sentences(*said: str) -> tuple[tuple[str, re.Pattern[str], str], ...]:
    return tuple((f"{words} ", re.compile(words + _SAID), "secret") for words in said)


_SENTENCES: Final = {
    "password": (
        *_sentences("password"),
        ("password ", re.compile("password" + _SQL), "password"),
    ),
    "identified by": (("identified by ", re.compile("identified by" + _SQL), "password"),),
    "pass": _sentences("passphrase", "passwort"),
    "token": _sentences("access token", "api token", "your token"),
    "key": _sentences("api key", "secret key"),
}
"""Sentences that say what a secret is, in lower case: `your token is …`."""
_GLUED = re.compile(
    r"(?:sshpass(?<=\bsshpass)[ ]{1,3}-p[ ]{0,2}|mysql(?<=\bmysql)(?:dump|admin)?[ ][^\n|;&]{0,120}?[ ]-p(?=\S)"
    r"|docker login(?<=\bdocker login)[ ][^\n|;&]{0,120}?[ ]-p[ ]|redis-cli(?<=\bredis-cli)[ ][^\n|;&]{0,120}?[ ]?-a[ ])"
    r"(?P<secret>[^\s\"'$<-][^\s\"'<>]{2,256})"
)
_COOKIE_FILE = re.compile(r"\t(?:TRUE|FALSE)\t\d{1,12}\t[^\t\n]{1,128}\t(?P<secret>[^\t\r\n]{4,4096})")

_READERS: dict[str, tuple[tuple[tuple[str, ...], Callable[[str], Iterator[Span]]], ...]] = {
    "://": ((("://",), _urls),),
    "</": ((("</",), _by_name(_ELEMENT)),),
    "value": (
        (("value=",), _attributes),
        (("value\"", "value'", "value:", "value\\"), _by_name(_PAIR, small=True)),
        (("input_value=",), _by_name(_REFUSED)),
    ),
    "form-data": ((("form-data",), _by_name(_FORM_FIELD)),),
    "type": ((("\"type", "'type"), _by_name(_TYPED)),),
    "password": ((("password ", "password\t"), _of_kind(_MACHINE, "password", "machine", "default", "login")),),
    "kty": ((("kty",), _of_kind(_JWK_FIELD, "private_key")),),
    "code": (
        (("code=",), _of_kind(_CODE, "authorization_code", "state=", "redirect_uri", "grant_type", "client_id", "callback", "code_verifier", "oauth")),
        (("grant_type", "redirect_uri", "code_verifier"), _of_kind(_CODE_IN_JSON, "authorization_code")),
    ),
    "#define": ((("#define",), _by_name(_DEFINED)),),
    " -": ((("sshpass", "mysql", "docker login", "redis-cli"), _of_kind(_GLUED, "password")),),
    "\t": ((("\ttrue\t", "\tfalse\t"), _of_kind(_COOKIE_FILE, "cookie")),),
    "\n": (((",", ";", "\t", " |"), _table),),
}  # fmt: skip
"""Readers by what every text of theirs holds; each then has literals of its own."""
