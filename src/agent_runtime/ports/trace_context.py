"""Where a job stands in a trace: ids that are made of names, and the `traceparent` that callers hand over.

Nobody keeps ids of spans: whoever tells of the same thing, in whichever process, derives the same id. The form of `traceparent` is that of the
W3C recommendation Trace Context, https://www.w3.org/TR/trace-context/.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

TRACEPARENT: Final = "traceparent"
"""Under which `job.created` says what a job belongs to."""
_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED: Final = 1
_LONGEST: Final = 512


class TraceContext(NamedTuple):
    """A span of some trace, to which others belong."""

    trace_id: int
    """128 bits, never 0."""
    span_id: int
    """64 bits, never 0."""
    sampled: bool = False
    """Whether whoever made the trace keeps it. Where it is not said, it is decided by the trace's id."""

    def __str__(self) -> str:
        """Return it as a `traceparent`."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


def read_traceparent(given: object) -> TraceContext | None:
    """Return what a `traceparent` says; `None` for anything that is none: who is called is to ignore it then.

    A version that is not known yet is read as far as it is like the first one.
    """
    if not isinstance(given, str) or len(given) > _LONGEST:
        return None
    found = _FORM.fullmatch(given.strip(" \t"))
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    context = TraceContext(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))
    is_readable = version != "ff" and (more is None or version != "00")
    return context if is_readable and context.trace_id and context.span_id else None


def trace_of(job_id: str) -> int:
    """Return the id of the trace of a job that belongs to no other."""
    return _number("trace", job_id, size=16)


def span_of(job_id: str, *names: str) -> int:
    """Return the id of the span that tells of something in a job; without names, of the job's own."""
    return _number("span", job_id, *names, size=8)


def belonging_to(traceparent: object) -> dict[str, str]:
    """Return what the first entry of a job says of the span that it belongs to: nothing where it is said of none."""
    found = read_traceparent(traceparent)
    return {} if found is None else {TRACEPARENT: str(found)}


def own_context(job_id: str, traceparent: object = None) -> TraceContext:
    """Return where a job's own span stands, by the span that it belongs to."""
    above = read_traceparent(traceparent)
    if above is None:
        return TraceContext(trace_of(job_id), span_of(job_id))
    return above._replace(span_id=span_of(job_id))


def _number(*names: str, size: int) -> int:
    """Return some bytes of a hash of names as a number, never 0."""
    text = "\0".join(names).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:size], "big") or 1
