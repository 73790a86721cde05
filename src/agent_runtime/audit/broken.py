"""What is wrong with a chain at its first broken link, as far as what comes after it tells."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from agent_runtime.audit.chain import DIGEST_BYTES, Salts, content_digest, data_digest, link
from agent_runtime.audit.report import Problem
from agent_runtime.ports.audit import AuditedEntry, AuditedJob

LOOK_AHEAD = 50
"""Entries after a broken one that are looked at for what has become of it."""


def link_of(entry: AuditedEntry, before: bytes, seq: int, salts: Salts) -> bytes | None:
    """Return the link that an entry has behind another one at a place; `None` for what cannot be read."""
    data, content = entry.data_digest, entry.content_digest
    try:
        if data is None:
            if entry.data is None:
                return None
            data = data_digest(salts.data, seq, entry.operation_id, entry.data)
        elif entry.data or entry.operation_id is not None:
            return None  # nothing links what stands beside a digest
        if entry.content is not None:
            content = content_digest(salts.content, seq, entry.content)
        if len(data) != DIGEST_BYTES or (content is not None and len(content) != DIGEST_BYTES):
            return None
        return link(before, seq, entry.at, entry.type, data, content)
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError, struct.error):
        return None  # whoever writes into a file of SQLite can put anything into any column


def diagnosed(entries: Sequence[AuditedEntry], before: bytes, seq: int, salts: Salts) -> tuple[Problem, str]:
    """Return what is wrong with the first of `entries`, which does not fit.

    Args:
        entries: It, and some that come after it.
        before: The link of the entry before it.
        seq: The place at which it should stand.
        salts: Those of the job.
    """
    first = entries[0]
    if first.seq > seq:
        many = f"entries {seq} to {first.seq - 1} are" if first.seq > seq + 1 else f"entry {seq} is"
        return "missing", f"{many} missing"
    named = f"entry {seq} ({first.type})"
    known = {entry.link for entry in entries}
    for place, entry in enumerate(entries[1:], 1):
        its_link = link_of(entry, before, seq, salts)
        if its_link is None or its_link not in known:
            continue
        # Here this entry stood. What is before it now has come from later, or from outside.
        if place == 1 and not _fits_anywhere(first, entries, salts):
            return "inserted", f"{named} was inserted: the one behind it stood in its place"
        return "reordered", f"{named} stood elsewhere: here stood what is entry {entry.seq} now"
    if len(entries) > 1:
        second = entries[1]
        if first.link is not None:
            if link_of(second, first.link, second.seq, salts) == second.link:
                return "changed", f"{named} was changed"
            if link_of(second, first.link, second.seq + 1, salts) == second.link:
                return "missing", f"an entry before {named} is missing, and those behind it were renumbered"
    return "changed", f"{named} was changed"


def _fits_anywhere(entry: AuditedEntry, entries: Sequence[AuditedEntry], salts: Salts) -> bool:
    """Whether an entry stood at some place among others."""
    known = [other.link for other in entries if other.link is not None]
    places = range(entry.seq, entry.seq + len(entries) + 1)
    return any(link_of(entry, before, seq, salts) in known for before in known for seq in places)


def taken_away(job: AuditedJob, entry: AuditedEntry) -> str | None:
    """Say when something was taken away from an entry of a job that was neither pruned nor erased."""
    content_gone = entry.content is None and entry.content_digest is not None
    if content_gone and job.content_pruned_at is None and job.erased_at is None:
        return f"the content of entry {entry.seq} ({entry.type}) is missing, and the job was neither pruned nor erased"
    if entry.data_digest is not None and job.erased_at is None:
        return f"the data of entry {entry.seq} ({entry.type}) is missing, and the job was not erased"
    return None
