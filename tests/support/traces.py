"""What the journals of a storage tell OpenTelemetry, without what is different for each job."""

from collections import Counter

from agent_runtime import OTelConfig
from agent_runtime.observability.otel.content import Texts
from agent_runtime.observability.otel.job_trace import JobTrace
from agent_runtime.observability.otel.spans import Span
from agent_runtime.ports.storage import Storage

Shape = Counter[tuple[str, ...]]


async def shape_of(storage: Storage) -> Shape:
    """Return what spans there are and what each is below, once all jobs have ended.

    How often a job left the memory depends on who was faster, so runs are not told apart; nor is told of the questions that a death raises.
    """
    spans: dict[int, Span] = {}
    traces: dict[str, JobTrace] = {}
    for _, event in await storage.feed(after=0, upto=await storage.feed_end(), limit=10_000):
        job_id = event.job_id or ""
        trace = traces.setdefault(job_id, JobTrace(job_id, texts=Texts(OTelConfig())))
        for span in trace.read(event):
            assert span.context.span_id not in spans, (span.family, span.operation_id)
            spans[span.context.span_id] = span
    assert all(trace.is_over for trace in traces.values())
    for span in spans.values():
        assert span.above is None or span.above.span_id in spans, (span.family, span.operation_id)
    return Counter(
        (*_told(span), *_told(spans.get(span.above.span_id if span.above else 0))[:2])
        for span in spans.values()
        if span.family != "run" and "!" not in (span.operation_id or "")
    )


def _told(span: Span | None) -> tuple[str, ...]:
    if span is None:
        return ("", "", "")
    return span.family, (span.operation_id or "").partition(":")[2], str(span.facts.get("outcome"))
