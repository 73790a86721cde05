"""The statements and rows of the audit, the same for both databases but for their parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from agent_runtime.audit.chain import trail_link
from agent_runtime.ports.audit import JOB_ENDED, AuditedEntry, AuditedJob, Note, TrailEntry
from agent_runtime.storage.rows import EVENT, Columns
from agent_runtime.values.event import EPOCH
from agent_runtime.values.job import JobStatus

JOB: Final[Columns] = {
    "job_id": "plain",
    "scope_id": "plain",
    "status": "plain",
    "last_seq": "plain",
    "audit_head": "plain",
    "audit_salt": "plain",
    "content_pruned_at": "time",
    "erased_at": "time",
}
ENTRY: Final[Columns] = {**EVENT, "link": "plain", "data_digest": "plain", "content_digest": "plain"}
TRAIL: Final[Columns] = {
    "scope_id": "plain",
    "number": "plain",
    "at": "time",
    "kind": "plain",
    "job_id": "plain",
    "seq": "plain",
    "head": "plain",
    "data": "json",
    "link": "plain",
    "gone_at": "time",
}
JOBS: Final = f"SELECT {', '.join(JOB)} FROM runtime_jobs WHERE "  # noqa: S608 -- names of our own
ALL_JOBS: Final = f"{JOBS} job_id > {{after}} ORDER BY job_id LIMIT {{limit}}"
JOBS_OF_SCOPE: Final = (
    f"{JOBS} scope_id = {{scope}} AND job_id > {{after}} ORDER BY scope_id, job_id LIMIT {{limit}}"
)
SIZES: Final = """
SELECT seq, {bytes} FROM runtime_events WHERE job_id = {job} AND seq > {after}
ORDER BY seq LIMIT {limit}
"""
ENTRIES: Final = f"""
SELECT {", ".join(ENTRY)} FROM runtime_events WHERE job_id = {{job}} AND seq > {{after}} AND seq <= {{upto}} ORDER BY seq
"""  # noqa: S608
PAGE_OF_JOURNAL: Final = f"""
SELECT {", ".join(EVENT)} FROM runtime_events WHERE job_id = {{job}} AND seq > {{after}} AND seq <= {{upto}}
ORDER BY seq LIMIT {{limit}}
"""  # noqa: S608
PUBLIC_PAGE_OF_JOURNAL: Final = PAGE_OF_JOURNAL.replace("content", "NULL AS content")
_TRAIL: Final = f"SELECT {', '.join(TRAIL)} FROM runtime_audit WHERE scope_id = {{scope}}"  # noqa: S608
TRAIL_PAGE: Final = f"{_TRAIL} AND number > {{after}} ORDER BY number LIMIT {{limit}}"
LAST_OF_TRAIL: Final = (
    "SELECT number, link FROM runtime_audit WHERE scope_id = {scope} ORDER BY number DESC LIMIT 1"
)
HEADS: Final = """
SELECT a.scope_id, a.number, a.link FROM runtime_audit a
WHERE a.number = (SELECT max(b.number) FROM runtime_audit b WHERE b.scope_id = a.scope_id) ORDER BY a.scope_id
"""
ENDED: Final = f"""
SELECT j.job_id, j.last_seq, j.audit_head FROM runtime_jobs j
WHERE j.job_id {{among}} AND j.scope_id = {{scope}} AND j.status IN ('succeeded', 'failed', 'cancelled', 'timed_out')
  AND NOT EXISTS (SELECT 1 FROM runtime_audit a WHERE a.job_id = j.job_id AND a.kind = '{JOB_ENDED}')
"""  # noqa: S608
GONE: Final = "UPDATE runtime_audit SET gone_at = {at} WHERE job_id {among} AND gone_at IS NULL"


Decode = Callable[[Columns, Iterable[object]], list[object]]


def audited_job(row: Sequence[object], decode: Decode) -> AuditedJob:
    """Build a job from its columns, whatever somebody has written into them."""
    raw: Sequence[Any] = row
    try:
        job_id, scope_id, status, last_seq, head, salts, pruned_at, erased_at = decode(JOB, row)
        values: dict[str, Any] = {"last_seq": last_seq, "head": head, "salts": salts}
        kinds = (str, str, int, bytes, bytes)
        if not all(map(isinstance, (job_id, scope_id, last_seq, head, salts), kinds)):
            raise TypeError("no job of ours")
        values |= {"content_pruned_at": pruned_at, "erased_at": erased_at, "status": JobStatus(str(status))}
    except (ValueError, TypeError, OverflowError):
        values = {"last_seq": 0, "head": b"", "salts": b"", "status": JobStatus.FAILED, "is_readable": False}
    return AuditedJob(job_id=raw[0], scope_id=raw[1], **values)


def audited_entry(row: Sequence[object], decode: Decode) -> AuditedEntry:
    """Build an entry from its columns, whatever somebody has written into them."""
    try:
        values: dict[str, Any] = dict(zip(ENTRY, decode(ENTRY, row), strict=True))
        if not (isinstance(values["data"], Mapping) and isinstance(values["at"], datetime)):
            raise TypeError("no entry of ours")
        return AuditedEntry(**values)
    except (ValueError, TypeError, OverflowError):
        raw: dict[str, Any] = dict(zip(ENTRY, row, strict=True))
        return AuditedEntry(seq=raw["seq"], type=str(raw["type"]), at=EPOCH)


def trail_entry(row: Sequence[object], decode: Decode) -> TrailEntry:
    """Build an entry of a trail from its columns likewise: what cannot be read has no link that fits."""
    try:
        values: dict[str, Any] = dict(zip(TRAIL, decode(TRAIL, row), strict=True))
        if not (isinstance(values["data"], Mapping) and isinstance(values["at"], datetime)):
            raise TypeError("no entry of ours")
        if not isinstance(values["seq"], int | None) or not isinstance(values["head"], bytes | None):
            raise TypeError("no end of a job")
        return TrailEntry(**values)
    except (ValueError, TypeError, OverflowError):
        raw: dict[str, Any] = dict(zip(TRAIL, row, strict=True))
        return TrailEntry(
            scope_id=raw["scope_id"], number=raw["number"], at=EPOCH, kind=str(raw["kind"]), data={}, link=b""
        )


def next_of_trail(
    scope_id: str,
    last: tuple[int, bytes] | None,
    at: datetime,
    ends: Iterable[tuple[str, int, bytes]],
    notes: Iterable[Note],
) -> list[TrailEntry]:
    """Return the entries that come next in a trail, linked to its last one."""
    said: list[tuple[str, str | None, int | None, bytes | None, Mapping[str, Any]]] = [
        (JOB_ENDED, job_id, seq, head, {}) for job_id, seq, head in ends
    ]
    said += [(note.kind, None, None, None, note.data) for note in notes]
    number, before = last or (0, b"")
    made = []
    for number, (kind, job_id, seq, head, data) in enumerate(said, number + 1):  # noqa: B020 -- goes on from the last
        before = trail_link(before, scope_id, number, at, kind, (job_id, seq, head), data)
        made.append(
            TrailEntry(
                scope_id=scope_id,
                number=number,
                at=at,
                kind=kind,
                job_id=job_id,
                seq=seq,
                head=head,
                data=data,
                link=before,
            )
        )
    return made


def trail_row(entry: TrailEntry) -> list[object]:
    """Return a trail entry's column values, in the order of `TRAIL`."""
    return [getattr(entry, name) for name in TRAIL]
