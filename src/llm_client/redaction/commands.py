"""What command lines and settings say without a sign of assignment: `setx API_KEY …`, `-Password …`, `zip -P …`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from llm_client.redaction.neighbours import PROGRAMS
from llm_client.redaction.readers import NAME, Reader, Readers, by_name, of_kind
from llm_client.redaction.rules import Span, near_miss
from llm_client.redaction.stretches import matches

_WORD = r"[\"']?(?P<secret>[^\s\"'$<>|;&-][^\s\"'<>|;&]{2,256})"

_SET = re.compile(
    rf"set(?:x|env|_header)?[ \t(]{{1,3}}(?:-[a-z]{{1,3}}[ \t]{{1,3}})?(?://[^\s:]{{1,200}}:)?{NAME}[ \t]{{1,4}}(?:to[ \t]{{1,3}}|--body[ \t=]{{1,2}}|-b[ \t]?)?"
    + _WORD
)
"""`setx NAME value`, `set -x NAME value`, `config set NAME value`, `proxy_set_header NAME value;` in small letters."""
_ENVIRONMENT = re.compile(rf"ENV(?<=\bENV)[ \t]{{1,4}}{NAME}[ \t]{{1,4}}{_WORD}")
_OPTION = re.compile(rf"-(?<=[\s(]-)(?P<name>[A-Z][A-Za-z]{{2,40}})[ \t:]{{1,3}}{_WORD}")
"""An option of PowerShell."""
_SECURE_STRING = re.compile(
    r"SecureString[ \t]{1,3}(?:-String[ \t]{1,3})?[\"'](?P<secret>[^\"'\n$]{3,256})[\"']"
)

_SAME_COMMAND = r"(?:\.exe)?[ ](?:[^\n|;&]{0,120}?[ ])??"
_GLUED = re.compile(
    rf"(?:sshpass(?<=\bsshpass)[ ]{{1,3}}-p[ ]{{0,2}}|mysql(?<=\bmysql)(?:dump|admin)?{_SAME_COMMAND}-p(?=\S)|docker login(?<=\bdocker login){_SAME_COMMAND}-p[ ]"
    rf"|redis-cli(?<=\bredis-cli){_SAME_COMMAND}-a[ ]|zip(?:(?<=\bzip)|(?<=\bunzip)){_SAME_COMMAND}-P[ ]?|7z(?<=\b7z)a?{_SAME_COMMAND}-p(?=\S)"
    rf"|ldap(?:search|modify|add|whoami){_SAME_COMMAND}-w[ ]|az login(?<=\baz login){_SAME_COMMAND}-p[ ]|smbclient{_SAME_COMMAND}-U[ ]?[^\s%]{{1,64}}%"
    rf"|openssl(?<=\bopenssl){_SAME_COMMAND}(?:-k[ ]|-pass(?:in|out)?[ ]pass:)|http(?<=\bhttp){_SAME_COMMAND}-a[ ][\w.@-]{{1,64}}:"
    rf"|net user(?<=\bnet user)[ ][\w.-]{{1,64}}[ ](?!/)|net use(?<=\bnet use)[ ](?:\S{{1,3}}[ ])?+\S{{1,100}}[ ](?![/\\])|snmp\w{{2,8}}{_SAME_COMMAND}-[cAX][ ]|mosquitto_[ps]ub{_SAME_COMMAND}-P[ ]|nmcli[ ](?:[^\n|;&]{{0,60}}?[ ])??password[ ]|vault login(?<=\bvault login)[ ](?=\S*\d)"
    rf"|mongo(?<=\bmongo)(?:sh|dump|export|import|restore)?{_SAME_COMMAND}-p[ ](?![\d.:]+(?:[\s\"']|\Z))|(?:sqlcmd|osql|bcp(?<=\bbcp)){_SAME_COMMAND}-P[ ]?|htpasswd[ ]-[a-zA-Z]{{0,6}}b[a-zA-Z]{{0,6}}[ ]\S{{1,200}}[ ]\S{{1,100}}[ ]"
    rf"|(?:keytool|jarsigner){_SAME_COMMAND}-(?:store|key|deststore|srcstore)pass[ ]|(?:plink|pscp|psftp){_SAME_COMMAND}-pw[ ]|freerdp{_SAME_COMMAND}/p:|x11vnc{_SAME_COMMAND}-passwd[ ])"
    + _WORD
)
_PIPED = re.compile(
    r"echo(?<=\becho)[ ]{1,2}(?:-n[ ])?[\"']?(?:[\w.-]{1,64}:)?(?P<secret>[^\s\"'$<>|:][^\s\"'<>|]{2,256})[\"']?[ ]{0,2}\|[^\n|;&]{0,120}?(?:chpasswd|--password-stdin|sudo -S|passwd)"
)
_LITERAL = re.compile(r"--from-literal[= ][\"']?[\w.-]{1,80}=(?P<secret>[^\s\"'$<>]{3,512})")
_SENT_COOKIE = re.compile(
    r"curl(?<=\bcurl)[ ][^\n|;&]{0,80}?(?:-b|--cookie)[ ]?[\"'][^\s=\"']{1,80}=(?P<secret>[^\"'\n$]{6,2048})"
)
_REDIS = re.compile(
    r"(?:requirepass|masterauth|masteruser|AUTH(?<=\bAUTH)(?=[ ][\"']?[^\s\"']{0,64}\d))[ ][\"']?(?P<secret>[^\s\"'$<>]{6,512})"
)
_ORACLE = re.compile(r"(?:thin:|sqlplus )(?:-\w{1,3} ){0,3}[\w.$]{1,64}/(?P<secret>[^\s@/\"'<>]{3,128})@")
_SOCKET = re.compile(r"@(?:tcp|unix|udp)\(")
_BEFORE_SOCKET = re.compile(r"(?:^|[\s\"'=])[\w.-]{1,64}:(?P<secret>[^\s@:/\"'<>${]{3,128})\Z")


def _driver(text: str) -> Iterator[Span]:
    """Read `ada:…@tcp(db:3306)/shop`."""
    for socket in matches(_SOCKET, text):
        begin = max(0, socket.start() - 200)
        match = _BEFORE_SOCKET.search(text[begin : socket.start()])
        if match is None:
            yield near_miss(socket.start())
        else:
            yield begin + match.start("secret"), begin + match.end("secret"), "url_password"


_set = by_name(_SET, small=True, telling=True)
_sent_cookie = of_kind(_SENT_COOKIE, "cookie")
_glued, _piped = of_kind(_GLUED, "password"), of_kind(_PIPED, "password")
_redis, _oracle = of_kind(_REDIS, "password"), of_kind(_ORACLE, "password")

COMMANDS: Final[dict[str, Readers]] = {
    "set": (
        (("setx ", "setenv ", "set ", "set -", "set(", "_header "), _set),
    ),
    "env ": ((("env ",), by_name(_ENVIRONMENT, telling=True)),),
    " -": (
        (
            (" -password", " -apikey", " -token", " -secret", " -clientsecret", " -accesskey", " -passphrase"),
            by_name(_OPTION, telling=True),
        ),
        (("securestring",), of_kind(_SECURE_STRING, "password")),
        (
            ("sshpass", "mysql", "docker login", "redis-cli", "zip ", "7z", "ldap", "az login", "smbclient", "snmp", "mosquitto", "openssl ", "http ", "mongo", "sqlcmd", "osql", "bcp ",
             "htpasswd", "keytool", "jarsigner", "plink", "pscp", "psftp", "x11vnc"),
            _glued,
        ),
        (("--from-literal",), of_kind(_LITERAL, "secret")),
        (("curl ",), _sent_cookie),
        (("chpasswd", "password-stdin", "sudo -s"), _piped),
    ),
    "freerdp ": ((("/p:",), _glued),),
    "nmcli ": ((("nmcli ",), _glued),),
    "net use": ((("net use",), _glued),),
    "vault login": ((("vault login",), _glued),),
    "chpasswd": ((("chpasswd",), _piped),),
    "auth ": ((("masterauth ", "auth "), _redis),),
    "requirepass ": ((("requirepass ",), _redis),),
    "sqlplus ": ((("sqlplus ",), _oracle),),
    "thin:": ((("thin:",), _oracle),),
    "@": ((("@tcp(", "@unix(", "@udp("), _driver),),
}  # fmt: skip
"""Readers by what every text of theirs holds; each then has literals of its own."""

BY_PROGRAM: Final[dict[str, tuple[Reader, ...]]] = dict.fromkeys(PROGRAMS, (_glued,)) | {
    "setx": (_set,),
    "redis-cli": (_glued, _redis),
    "redis-server": (_redis,),
    "sqlplus": (_oracle,),
    "curl": (_sent_cookie,),
}
"""Readers of a command line that is a list."""
