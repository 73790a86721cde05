"""Callers' `traceparent`: read as OpenTelemetry reads it, kept with the job, and never an error."""

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from agent_runtime import ExecutionRequest, OperatorContext
from agent_runtime.ports.trace_context import TraceContext, own_context, read_traceparent, span_of, trace_of
from support.kernels import BOUND, kernel

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEX = "0123456789abcdef"
FIELDS = st.tuples(
    st.sampled_from(["00", "01", "ff", "fe", "0", "g0", "000"]),
    st.one_of(
        st.text(HEX, min_size=30, max_size=34), st.just("0" * 32), st.just("0AF7651916CD43DD8448EB211C80319C")
    ),
    st.one_of(st.text(HEX, min_size=15, max_size=17), st.just("0" * 16)),
    st.one_of(st.text(HEX, min_size=1, max_size=3), st.just("01")),
    st.sampled_from(["", "-", "-more", "\n", " ", "\x00"]),
)
TRACEPARENTS = st.one_of(
    FIELDS.map(lambda parts: "-".join(parts[:4]) + parts[4]), st.text(max_size=80), st.just(GOOD)
)


def as_opentelemetry_reads_it(text: str) -> TraceContext | None:
    context = TraceContextTextMapPropagator().extract({"traceparent": text})
    found = get_current_span(context).get_span_context()
    if not found.is_valid:
        return None
    return TraceContext(found.trace_id, found.span_id, found.trace_flags.sampled)


@given(TRACEPARENTS)
@example(GOOD)
@example("01" + GOOD[2:] + "-what-comes-later")
@example(GOOD + "-00")
@example("ff" + GOOD[2:])
@example(GOOD.upper())
def test_a_traceparent_is_read_as_opentelemetry_reads_it(text: str) -> None:
    ours, theirs = read_traceparent(text), as_opentelemetry_reads_it(text)
    if not re.search(r"\s", text):  # theirs takes what is around it in more ways
        assert ours == theirs
    if ours is not None:
        assert read_traceparent(str(ours)) == ours
        assert as_opentelemetry_reads_it(str(ours)) == ours


@given(st.one_of(st.none(), st.integers(), st.binary(), st.lists(st.text()), st.floats(), st.text()))
def test_whatever_is_given_is_ignored_or_read(given: Any) -> None:
    found = read_traceparent(given)
    assert found is None or (0 < found.trace_id < 1 << 128 and 0 < found.span_id < 1 << 64)


@pytest.mark.parametrize("text", [GOOD * 1000, "00-" + "0" * 10_000, "-" * 100_000])
def test_a_long_one_is_refused_at_once(text: str) -> None:
    assert read_traceparent(text) is None


@given(st.text(), st.lists(st.text(), max_size=3))
def test_derived_ids_are_ids(job_id: str, names: list[str]) -> None:
    assert 0 < trace_of(job_id) < 1 << 128
    assert 0 < span_of(job_id, *names) < 1 << 64
    assert own_context(job_id, GOOD).trace_id == int(GOOD.split("-")[1], 16)


async def nothing(context: OperatorContext, given: object) -> None:
    pass


@pytest.mark.parametrize("garbage", ["", "00-nothing", GOOD.replace("-", "_"), 7, b"00-", ["x"], "\ud800"])
async def test_a_job_with_garbage_runs_like_one_without(garbage: Any) -> None:
    async with kernel(operators=[nothing]) as k:
        handle = await k.execute(ExecutionRequest(operator="nothing", traceparent=garbage))
        await handle.result(timeout=BOUND)
        first = (await k.storage.events(handle.job_id))[0]
    assert "traceparent" not in first.data


async def test_a_request_that_is_sent_again_in_another_span_is_the_same_request() -> None:
    async with kernel(operators=[nothing]) as k:
        asked = [
            ExecutionRequest(operator="nothing", idempotency_key="k", traceparent=one)
            for one in (GOOD, GOOD.replace("b7ad", "b7ae"), None)
        ]
        made = [(await k.execute(one)).job_id for one in asked]
        assert len(set(made)) == 1
        first = (await k.storage.events(made[0]))[0]
    assert first.data["traceparent"] == GOOD


async def whose_trace(context: OperatorContext, given: object) -> str:
    await context.sleep(0.05)
    return context.execution_ctx.request.trace_id


@pytest.mark.parametrize("traceparent", [GOOD, None])
async def test_a_job_knows_its_trace_in_every_run(traceparent: str | None) -> None:
    async with kernel(operators=[whose_trace]) as k:
        handle = await k.execute(ExecutionRequest(operator="whose_trace", traceparent=traceparent))
        known = (await handle.result(timeout=BOUND)).output
    assert known == f"{own_context(handle.job_id, traceparent).trace_id:032x}"
