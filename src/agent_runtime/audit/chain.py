"""The chain over a job's entries: what each storage writes with them, and what a verification computes again.

An entry's link is the hash of the link before it, its place, time and type, and of two digests: that of its public data and
that of its content. Both are salted, so that a short answer that was erased cannot be found by trying. While data and content
are there their digests are not stored; who takes them away stores the digest and forgets the salt.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple, Protocol

import orjson

from agent_runtime.values.digest import canonical
from agent_runtime.values.event import EPOCH
from llm_client.chance import random_name
from llm_client.json_text import JsonObject, dumps

SALT_BYTES: Final = 16
"""Of each of the two salts of a job: the first is for data, the second for content."""
LINK_BYTES: Final = 32
DIGEST_BYTES: Final = 32
_MICROSECOND: Final = timedelta(microseconds=1)
_PLACE: Final = Struct(">qqI").pack
_SEQ: Final = Struct(">q").pack
_AS_THEY_ARE: Final = frozenset({str, int, bool, type(None)})
"""Most data has nothing else, and is written as it is: this is done for every entry."""


class Linked(Protocol):
    """An entry, as far as its link depends on it."""

    @property
    def type(self) -> str:
        """What has happened."""
        ...

    @property
    def operation_id(self) -> str | None:
        """The step it belongs to."""
        ...

    @property
    def data(self) -> JsonObject:
        """What everybody may read."""
        ...

    @property
    def content(self) -> bytes | None:
        """What is private."""
        ...


class Salts(NamedTuple):
    """The salts of a job; each is empty once what it salted was taken away."""

    data: bytes
    content: bytes

    @classmethod
    def read(cls, stored: bytes) -> Salts:
        """Return the salts of a column: both, that for data alone, or none."""
        return cls(stored[:SALT_BYTES], stored[SALT_BYTES:])


def new_salts() -> bytes:
    """Return both salts of a new job, as they are stored."""
    return bytes.fromhex(random_name(2 * SALT_BYTES))


def first_head(job_id: str, scope_id: str) -> bytes:
    """Return what the first entry of a job's chain is linked to."""
    return sha256(orjson.dumps(["agent-runtime audit 1", job_id, scope_id])).digest()


def data_digest(salt: bytes, seq: int, operation_id: str | None, data: JsonObject) -> bytes:
    """Return the digest of an entry's data, and of the operation that it names; the same on every storage."""
    try:
        if not _AS_THEY_ARE.issuperset(map(type, data.values())):
            raise TypeError("not all of it is the same on every storage")
        text = orjson.dumps([operation_id, data], option=orjson.OPT_SORT_KEYS)
    except TypeError:  # also of numbers and texts that orjson does not write
        text = dumps([operation_id, canonical(data)], option=orjson.OPT_SORT_KEYS)
    return sha256(salt + _SEQ(seq) + text).digest()


def content_digest(salt: bytes, seq: int, content: bytes) -> bytes:
    """Return the digest of an entry's content. Postgres computes the same where it deletes content."""
    return sha256(salt + _SEQ(seq) + content).digest()


def link(before: bytes, seq: int, at: datetime, kind: str, data: bytes, content: bytes | None) -> bytes:
    """Return an entry's link.

    Args:
        before: The link of the entry before it.
        seq: Its place.
        at: When it was written.
        kind: Its type.
        data: The digest of its data.
        content: That of its content, `None` if it never had any.
    """
    return _link(before, seq, (at - EPOCH) // _MICROSECOND, kind, data, content or b"")


def _link(before: bytes, seq: int, moment: int, kind: str, data: bytes, content: bytes) -> bytes:
    name = kind.encode("utf-8", "surrogatepass")
    return sha256(before + _PLACE(seq, moment, len(name)) + name + data + content).digest()


def links(head: bytes, salts: bytes, first_seq: int, events: Sequence[Linked], at: datetime) -> list[bytes]:
    """Return the links of entries that are written together; the last one is the new head.

    Args:
        head: The link of the last entry that is there.
        salts: Those of the job, as they are stored.
        first_seq: The place of the first of the entries.
        events: The entries.
        at: When they are written.
    """
    made = []
    moment, for_data, for_content = (at - EPOCH) // _MICROSECOND, salts[:SALT_BYTES], salts[SALT_BYTES:]
    for seq, event in enumerate(events, first_seq):
        content = b"" if event.content is None else content_digest(for_content, seq, event.content)
        data = data_digest(for_data, seq, event.operation_id, event.data)
        head = _link(head, seq, moment, event.type, data, content)
        made.append(head)
    return made


def trail_link(
    before: bytes,
    scope_id: str,
    number: int,
    at: datetime,
    kind: str,
    end: tuple[str | None, int | None, bytes | None],
    data: JsonObject,
) -> bytes:
    """Return the link of an entry of a scope's trail.

    Args:
        before: The link of the entry before it; nothing for the first.
        scope_id: Whose trail.
        number: Its place.
        at: When it was written.
        kind: What it says.
        end: The job that has ended, the place of its last entry, and where its chain ends.
        data: What else it says.
    """
    job_id, seq, head = end
    moment = (at - EPOCH) // _MICROSECOND
    said = [scope_id, number, moment, kind, job_id, seq, head.hex() if head else None, canonical(data)]
    return sha256(before + dumps(said, option=orjson.OPT_SORT_KEYS)).digest()
