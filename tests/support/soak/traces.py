"""The traces of a story: whoever tells of it, and however often he was cut off, the spans are the same, each once, below spans that are there."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from agent_runtime import FeedEntry, OTelConfig
from agent_runtime.observability.otel.projection import SpanProjection
from agent_runtime.observability.otel.spans import Span
from agent_runtime.observability.otel.telling import Ended, Telling
from agent_runtime.ports.storage import Storage
from support.soak.checks import Findings
from support.soak.logs import every_entry, portions_of

CONFIG = OTelConfig(begin="first", capture_input=True, capture_output=True, capture_tool_args=True)
CUT_OFF = 0.2
"""Share of portions of which another process tells."""


class Gathered:
    """Keeps the spans that it is told, and the first that was told otherwise before."""

    def __init__(self) -> None:
        self.spans: dict[int, Span] = {}
        self.told: Counter[int] = Counter()
        self.changed: list[Span] = []

    async def tell(self, ended: Sequence[Ended]) -> None:
        """Keep spans."""
        for span, _ in ended:
            self.told[span.context.span_id] += 1
            if self.spans.setdefault(span.context.span_id, span) != span:
                self.changed.append(span)

    async def as_telling(self) -> Telling:
        """Return it as what a projection hands spans to."""
        return cast("Any", self)  # type: ignore[no-any-return] -- nothing is exported in virtual time


async def check_traces(storage: Storage, rng: random.Random, findings: Findings) -> None:
    """Compare the spans that are told in one go with those that are told in portions, by several, again and again."""
    entries = await every_entry(storage)
    once, again = Gathered(), Gathered()
    await SpanProjection(storage, CONFIG, once.as_telling).project(entries)
    projection = SpanProjection(storage, CONFIG, again.as_telling)
    for portion in portions_of(entries, rng):
        if rng.random() < CUT_OFF:
            projection = SpanProjection(storage, CONFIG, again.as_telling)
        if portion:
            await projection.project(portion)
    for gathered in (once, again):
        changed = [(span.family, span.job_id, span.operation_id) for span in gathered.changed]
        findings.check(not changed, f"spans are told in two ways: {changed}")
    twice = [once.spans[one].operation_id for one, count in once.told.items() if count > 1]
    findings.check(not twice, f"spans are told twice: {twice}")
    findings.check(once.spans == again.spans, "who was cut off has told other spans")
    _check_tree(once.spans, entries, findings)


def _check_tree(spans: dict[int, Span], entries: Sequence[FeedEntry], findings: Findings) -> None:
    ended = {event.job_id for _, event in entries if event.is_terminal}
    jobs = {span.job_id: span for span in spans.values() if span.family == "job"}
    findings.check(jobs.keys() == ended, f"jobs without a span: {sorted(map(str, ended ^ jobs.keys()))}")
    for span in spans.values():
        what = f"span {span.family} {span.operation_id} of {span.job_id}"
        job = jobs.get(span.job_id)
        if job is None:  # it lives
            continue
        if span.family != "job":
            findings.check(
                span.above is not None and span.above.span_id in spans, f"{what} is below none that is there"
            )
            findings.check(span.context.trace_id == job.context.trace_id, f"{what} is in another trace")
        assert span.end is not None
        assert job.end is not None
        findings.check(job.start <= span.start <= span.end <= job.end, f"{what} is not within its job")
