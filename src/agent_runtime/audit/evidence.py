"""Evidence: a job's entries as lines of JSON, which verify without the database that they come from."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from itertools import islice
from typing import Any, Final

import orjson

from agent_runtime.audit.broken import LOOK_AHEAD, diagnosed, link_of, taken_away
from agent_runtime.audit.chain import Salts, first_head
from agent_runtime.audit.report import AuditFinding, AuditReport, Problem
from agent_runtime.errors import InvalidInput, UnknownJob
from agent_runtime.ports.audit import Audit, AuditedEntry, AuditedJob
from agent_runtime.values.content import decode
from agent_runtime.values.event import TERMINAL_TYPES
from agent_runtime.values.job import JobStatus
from llm_client.json_text import JsonObject, dumps, exact, read_exactly

FORMAT: Final = "agent-runtime audit 1"


async def evidence(storage: Audit, job_id: str, *, scope_id: str | None = None) -> AsyncIterator[JsonObject]:
    """Yield a job, then its entries, page by page: what `verified` computes the links from.

    Raises:
        UnknownJob: There is none, or not in this scope.
        InvalidInput: Its row cannot be read.
    """
    found = await storage.audited([job_id])
    if not found or scope_id not in (None, found[0].scope_id):
        raise UnknownJob(f"no job {job_id!r}")
    job = found[0]
    if not job.is_readable:
        raise InvalidInput(f"the row of job {job_id!r} cannot be read: `audit verify --job` says so as well")
    yield _of_job(job)
    after = 0
    while page := await storage.audited_entries(job_id, after_seq=after):
        for entry in page:
            if entry.seq <= job.last_seq:  # later ones came while it was read
                yield _of_entry(entry)
        after = page[-1].seq


def _of_job(job: AuditedJob) -> JsonObject:
    return {
        "format": FORMAT,
        "job_id": job.job_id,
        "scope_id": job.scope_id,
        "status": job.status.value,
        "entries": job.last_seq,
        "head": job.head.hex(),
        "salts": job.salts.hex(),
        "content_pruned_at": _time(job.content_pruned_at),
        "erased_at": _time(job.erased_at),
    }


def _of_entry(entry: AuditedEntry) -> JsonObject:
    told: dict[str, Any] = {
        "seq": entry.seq,
        "type": entry.type,
        "at": _time(entry.at),
        "operation_id": entry.operation_id,
        "data": entry.data,
        "link": _hex(entry.link),
    }
    if entry.content is not None:
        told["content"] = base64.b64encode(entry.content).decode()
        try:
            told["body"] = decode(entry.content)
        except Exception:  # noqa: BLE001 -- for people; the links are of the bytes
            told["body"] = None
    told |= {
        name: value.hex()
        for name in ("data_digest", "content_digest")
        if (value := getattr(entry, name)) is not None
    }
    return told


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def verified(lines: Iterable[str | bytes]) -> AuditReport:
    """Compute the links of evidence again, line by line.

    Raises:
        InvalidInput: It is no evidence.
    """
    rest = iter(lines)
    job, head = _read_job(next(rest, ""))
    salts, before, seq, kind = Salts.read(job.salts), first_head(job.job_id, job.scope_id), 0, ""
    entries = (_read_entry(line) for line in rest if line.strip())
    found: tuple[Problem, str, int] | None = None
    for entry, body_differs in entries:
        made = link_of(entry, before, seq + 1, salts) if entry.seq == seq + 1 else None
        if made is None or made != entry.link:
            behind = [other for other, _ in islice(entries, LOOK_AHEAD)]
            found = (*diagnosed([entry, *behind], before, seq + 1, salts), seq + 1)
            break
        text = taken_away(job, entry)
        if text is None and body_differs:
            text = f"the body of entry {entry.seq} ({entry.type}) is not what its content says"
        if text is not None:
            found = ("changed", text, entry.seq)
            break
        before, seq, kind = made, entry.seq, entry.type
    if found is None and seq != job.last_seq:
        problem: Problem = "cut_off" if seq < job.last_seq else "inserted"
        found = (problem, f"there are {seq} entries; the job had {job.last_seq}", min(seq, job.last_seq) + 1)
    if found is None and before != head:
        found = ("changed", f"the head does not belong to the last entry, {seq}", seq)
    if found is None and not _ends_as(job.status, kind):
        found = ("changed", f"the job is said to be {job.status.value}; its last entry says {kind}", seq)
    findings: tuple[AuditFinding, ...] = ()
    if found is not None:
        problem, text, place = found
        findings = (
            AuditFinding(problem=problem, scope_id=job.scope_id, job_id=job.job_id, place=place, text=text),
        )
    return AuditReport(
        jobs=1,
        entries=seq,
        pruned=job.content_pruned_at is not None and job.erased_at is None,
        erased=job.erased_at is not None,
        problems=len(findings),
        findings=findings,
    )


def _read_job(line: str | bytes) -> tuple[AuditedJob, bytes]:
    try:
        told = orjson.loads(line)
        if told["format"] != FORMAT:
            raise ValueError(FORMAT)
        job = AuditedJob(
            job_id=str(told["job_id"]),
            scope_id=str(told["scope_id"]),
            status=JobStatus(told["status"]),
            last_seq=int(told["entries"]),
            head=bytes.fromhex(told["head"]),
            salts=bytes.fromhex(told["salts"]),
            content_pruned_at=_read_time(told["content_pruned_at"]),
            erased_at=_read_time(told["erased_at"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InvalidInput(
            "this is no evidence: its first line is no job of `agent-runtime audit export`"
        ) from error
    return job, job.head


def _read_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _ends_as(status: JobStatus, kind: str) -> bool:
    """Whether a job with a status may have a last entry of a type."""
    return kind == f"job.{status.value}" if status.is_terminal else kind not in TERMINAL_TYPES


def _read_entry(line: str | bytes) -> tuple[AuditedEntry, bool]:
    """Return an entry, and whether its body is another than that of its content."""
    try:
        told = _loaded(line)
        content = told.get("content")
        at = datetime.fromisoformat(told["at"])
        if at.tzinfo is None or not isinstance(told["data"], dict):
            raise ValueError("no entry of ours")
        entry = AuditedEntry(
            seq=int(told["seq"]),
            type=str(told["type"]),
            at=at,
            operation_id=told["operation_id"],
            data=told["data"],
            content=None if content is None else base64.b64decode(content, validate=True),
            link=_bytes(told.get("link")),
            data_digest=_bytes(told.get("data_digest")),
            content_digest=_bytes(told.get("content_digest")),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, binascii.Error) as error:
        raise InvalidInput("this is no evidence: a line of it is no entry") from error
    body = told.get("body")
    return entry, body is not None and not _is_body(body, entry.content)


def _loaded(line: str | bytes) -> Any:
    try:
        return exact(orjson.loads(line), line)
    except orjson.JSONDecodeError:  # it has a whole number that no float is as large as
        return read_exactly(line)


def _is_body(body: object, content: bytes | None) -> bool:
    """Whether a body is what content says, as people are shown it."""
    if content is None:
        return False
    try:
        return dumps(body) == dumps(_loaded(dumps(decode(content))))
    except Exception:  # noqa: BLE001 -- bytes of anybody's; what cannot be read says nothing
        return False


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
