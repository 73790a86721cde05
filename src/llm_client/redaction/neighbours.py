"""What values tell about each other: a name beside its value, an option before its argument, the pieces of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import Final

KindOf = Callable[[str], "str | None"]

_SCHEMA_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_SCHEMA_KEYS = frozenset({"$ref", "anyOf", "oneOf", "allOf"})
VALUES_OF_A_SCHEMA: Final = frozenset({"value", "Value", "default", "const", "example", "examples", "enum"})
"""What a description of a secret may hold the secret in."""

_NAMES = (
    "name",
    "Name",
    "key",
    "Key",
    "id",
    "field",
    "header",
    "parameter",
    "ParameterKey",
    "ParameterName",
    "k",
)
_VALUES = ("value", "Value", "ParameterValue", "values", "Values", "val", "v")
_ALL_VALUES = frozenset(_VALUES)
_PRIVATE_FIELDS = ("d", "p", "q", "dp", "dq", "qi", "k", "oth")
_OAUTH = ("grant_type", "redirect_uri", "code_verifier")
_OPTIONS_OF_A_PAIR = frozenset({"-u", "--user", "--proxy-user", "-U"})
PROGRAMS: Final = frozenset(
    {
        "7z", "7za", "7zz", "az", "bcp", "curl", "docker", "htpasswd", "http", "https", "jarsigner", "keytool", "ldapadd", "ldapmodify", "ldapsearch",
        "ldapwhoami", "mongo", "mongodump", "mongoexport", "mongoimport", "mongorestore", "mongosh", "mosquitto_pub", "mosquitto_sub", "mysql",
        "mysqladmin", "mysqldump", "net", "nmcli", "openssl", "osql", "plink", "podman", "pscp", "psftp", "redis-cli", "redis-server", "setx",
        "smbclient", "snmpget", "snmpset", "snmpwalk", "sqlcmd", "sqlplus", "sshpass", "unzip", "vault", "wfreerdp", "x11vnc", "xfreerdp", "zip",
    }
)  # fmt: skip
"""Programs that are given secrets as arguments."""
_LOOKED_FOR = 16
"""Words of a list among which a program is looked for: `sudo -u ada mysql …`."""
_PIECE_FIELDS = ("delta", "chunk", "partial_json", "text")
_TYPES_OF_PIECES = frozenset(
    {
        "token",
        "reasoning",
        "tool_call_delta",
        "text_delta",
        "thinking_delta",
        "input_json_delta",
        "model.token",
    }
)
"""What a record says of itself whose `text` is a piece of a stream; other texts are whole."""
_MAX_PIECES = 100_000


def is_schema(value: Mapping[object, object]) -> bool:
    """Whether a mapping describes a secret instead of being one: a JSON Schema of an argument named `password`."""
    kind = value.get("type")
    return (isinstance(kind, str) and kind in _SCHEMA_TYPES) or not _SCHEMA_KEYS.isdisjoint(value)


def kinds_around(
    value: Mapping[object, object], kind_of: Callable[[str | bytes], str | None]
) -> dict[object, str]:
    """Return which keys of a mapping are secret because of what else stands in it.

    Reads `{"name": "Authorization", "value": "…"}` and `{"Key": …, "Value": …}`, the private fields of a JSON Web Key (RFC 7517),
    the entries of a Secret of Kubernetes, and the code of an OAuth exchange (RFC 6749, 4.1.3).
    """
    found: dict[object, str] = {}
    if not _ALL_VALUES.isdisjoint(value):
        values = [key for key in _VALUES if key in value]
        name = next((value[key] for key in _NAMES if isinstance(value.get(key), (str, bytes))), None)
        kind = kind_of(name) if isinstance(name, (str, bytes)) else None
        if kind:
            found.update(dict.fromkeys(values, kind))
    if value.get("kind") == "Secret":  # of Kubernetes, whatever its entries are called
        found.update((key, "secret") for key in ("data", "stringData") if key in value)
    if "kty" in value:
        found.update((key, "private_key") for key in _PRIVATE_FIELDS if key in value)
    if "code" in value and any(key in value for key in _OAUTH):
        found["code"] = "authorization_code"
    return found


def arguments_of(value: Sequence[object], kind_of: KindOf) -> Iterator[tuple[int, str]]:
    """Yield the places of a list of arguments that hold a secret: what follows `--password` or curl's `-u`."""
    if len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], str):
        kind = kind_of(value[0])  # a pair on its own, and not a list of two names
        if kind and len(value[1]) >= 6 and any(map(str.isdigit, value[1])):
            yield 1, kind
    for index, (option, argument) in enumerate(pairwise(value), start=1):
        if not isinstance(option, str) or not option.startswith("-"):
            continue
        if not isinstance(argument, str) or argument.startswith("-"):
            continue
        if option in _OPTIONS_OF_A_PAIR:
            if argument.partition(":")[2] and "://" not in argument:
                yield index, "password"
        elif option.startswith("--"):
            kind = kind_of(option.lstrip("-"))
            if kind and argument:
                yield index, kind


def program_of(value: Sequence[object]) -> int | None:
    """Return which item of a list is a program that is given secrets as arguments: the list is a command line."""
    if isinstance(value[0], (str, PurePath)):
        for index, word in enumerate(value[:_LOOKED_FOR]):
            if is_program(word):
                return index
    return None


def is_program(word: object) -> bool:
    """Whether a word, or a path, names a program that is given secrets as arguments."""
    if isinstance(word, str):
        return word in PROGRAMS or (("/" in word or "." in word) and program_name(word) in PROGRAMS)
    return isinstance(word, PurePath) and program_name(word.name) in PROGRAMS


def program_name(path: str) -> str:
    """Return what a program is called without its folder."""
    return path[-64:].replace("\\", "/").rpartition("/")[2].removesuffix(".exe")


def pieces_of(value: Sequence[object]) -> list[str] | None:
    """Return the texts of a list of records that are the pieces of one stream, or `None` if it is another list."""
    first = value[0]
    if (
        type(first) is not dict
        or ("type" not in first and _field_of(first) is None)
        or len(value) > _MAX_PIECES
    ):
        return None
    fields = [_field_of(item) for item in value]
    if not any(fields):
        return None
    return [
        item[field] if field and isinstance(item, dict) else ""
        for item, field in zip(value, fields, strict=True)
    ]


def with_piece(item: object, text: str) -> object:
    """Return a piece of a stream with another text."""
    field = _field_of(item)
    return {**item, field: text} if field and isinstance(item, dict) else item


def _field_of(item: object) -> str | None:
    """Return which field of a record holds a piece of a stream."""
    if not isinstance(item, dict):
        return None
    field = next((field for field in _PIECE_FIELDS if isinstance(item.get(field), str)), None)
    whole = field == "text" and item.get("type") not in _TYPES_OF_PIECES
    return None if whole else field
