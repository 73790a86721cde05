"""Measure what the log of model calls costs whoever calls a model, and the thread that writes it; print or record it.

What it costs the caller is measured twice: the hand-over alone, and everything that a runner does for it. `run_peers.py` measures it beside other
products' clients.
"""

import argparse
import asyncio
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import yaml

from agent_runtime.observability import CallPrompts, CallRecord, FileCallLogger
from agent_runtime.observability.document import document_of
from agent_runtime.observability.yaml_text import yaml_text
from agent_runtime.ports.clock import SystemClock
from agent_runtime.runner import AgentSpec
from agent_runtime.runner.attempts import RunAttempts, RunFacts
from llm_client import (
    CompletionResult,
    FunctionProvider,
    Message,
    ModelAttempt,
    ModelCall,
    RequestContext,
    RequestSpec,
    Usage,
)
from llm_client.agent.structured import OutputType

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "docs" / "benchmarks" / "logging.md"
SIZES = {"1 KB": 1_000, "8 KB": 8_000, "32 KB": 32_000}
CALLS = 1_000
PAUSE = 50
"""Calls after which the writer catches up, unmeasured: a model takes longer to answer than a file to be written."""
LINE = "The planner looks at order 17 of 2026-11-21, which costs 12.50, and asks for the next step.\n"


def text(size: int) -> str:
    return (LINE * (size // len(LINE) + 1))[:size]


def record(size: int) -> CallRecord:
    """Return a record whose texts have so many bytes: half asked, half answered."""
    system, answer = text(size // 2), text(size // 2)
    usage = Usage(input_tokens=size // 8, output_tokens=size // 8, requests=1, unpriced_requests=1)
    return CallRecord(
        call_id="call-1",
        agent_name="planner",
        started_at=datetime(2026, 1, 28, tzinfo=UTC),
        duration_seconds=0.5,
        status="succeeded",
        model="gpt-5.2",
        provider="openai",
        usage=usage,
        prompts=CallPrompts(system=system, user="Go on."),
        spec=RequestSpec(messages=(Message.system(system), Message.user("Go on."))),
        result=CompletionResult(content=answer, usage=usage, model="gpt-5.2"),
    )


def handed_over(size: int, folder: Path) -> tuple[float, float, float]:
    """Return the median and the 99th percentile of a hand-over by the clock, and the mean of the caller's processor time, in µs."""
    logger, given = FileCallLogger(folder, "hand-over"), record(size)
    times, worked = [], 0
    for number in range(CALLS):
        if number % PAUSE == 0:
            logger.flush()
        busy, began = time.thread_time_ns(), time.perf_counter_ns()
        logger.record(given)
        times.append(time.perf_counter_ns() - began)
        worked += time.thread_time_ns() - busy
    logger.flush()
    return statistics.median(times) / 1e3, sorted(times)[int(CALLS * 0.99)] / 1e3, worked / CALLS / 1e3


async def caller(size: int, folder: Path, *, logged: bool) -> tuple[float, float]:
    """Return what an attempt takes from its caller besides the model, in µs: the median by the clock, and of its processor time.

    The writer sleeps before each, so waking it is counted.
    """
    logger, given = FileCallLogger(folder, f"attempts-{size}"), record(size)
    assert given.spec is not None
    assert given.prompts is not None
    provider = FunctionProvider(lambda _: "")
    call = ModelCall(spec=given.spec, context=RequestContext(), provider=provider)
    attempt = ModelAttempt(call=call, spec=given.spec, provider=provider, number=1)
    facts = RunFacts(spec=AgentSpec(name="planner"), prompts=given.prompts, context={"goal": "on"})
    value, output = {"text": text(size // 2)}, OutputType(dict[str, str])

    async def proceed(_: ModelAttempt) -> CompletionResult:
        assert given.result is not None
        return given.result

    times, worked = [], []
    for _ in range(CALLS // 4):
        logger.record(given)  # and the writer is asleep again when it is done
        await logger.flush_async()
        attempts = RunAttempts(facts, logger if logged else None, SystemClock())
        busy, began = time.thread_time_ns(), time.perf_counter_ns()
        await attempts.room()
        attempts.ask(given.spec)
        await attempts.attempt(attempt, proceed)
        await attempts.matched(given.result.content, lambda: output.dump(value))
        times.append(time.perf_counter_ns() - began)
        worked.append(time.thread_time_ns() - busy)
    await logger.flush_async()
    return statistics.median(times) / 1e3, statistics.median(worked) / 1e3


def per_file(size: int, folder: Path) -> float:
    """Return how long the writer takes for a file, in µs."""
    logger, given = FileCallLogger(folder, f"files-{size}"), record(size)
    logger.record(given)
    logger.flush()
    began = time.perf_counter()
    for _ in range(CALLS):
        logger.record(given)
    logger.flush()
    return (time.perf_counter() - began) / CALLS * 1e6


def emitted(size: int, emit: Callable[[dict[str, object]], object]) -> float:
    """Return how long a document takes to become text, in µs."""
    document = document_of(record(size), "run", "standard", sanitize=False)
    times = []
    for _ in range(50):
        began = time.perf_counter()
        emit(document)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def pyyaml(document: dict[str, object]) -> str:
    return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def measure() -> list[str]:
    """Return the rows of the table."""
    rows = []
    for name, size in SIZES.items():
        folder = Path(tempfile.mkdtemp(prefix="logging-"))
        try:
            median, late, worked = handed_over(size, folder)
            without, idle = asyncio.run(caller(size, folder, logged=False))
            whole, busy = asyncio.run(caller(size, folder, logged=True))
            rows.append(
                f"| {name} | {median:.1f}, {late:.1f} | {worked:.1f} | {whole - without:.0f}, {busy - idle:.0f} | "
                f"{per_file(size, folder):.0f} | {emitted(size, yaml_text):.0f} | {emitted(size, pyyaml):.0f} |"
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return rows


def report(rows: list[str], on: str) -> str:
    """Return the page about one run."""
    lines = [
        (
            "| texts of a call | hand-over by the clock: median, 99th percentile | its processor time | a runner's attempt, longer than without a log: clock, processor | "
            "the writer, per file | of that, the text | PyYAML's emitter in C |"
        ),
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
    intro = (
        f"One run of `make bench` ({on}). All numbers are microseconds. `hand-over` is `logger.record(…)` alone, wanted are at most 50; the writer catches up\n"
        f"after each {PAUSE} of them. `a runner's attempt` is everything that the log takes from its caller, right after the loop has waited and with the writer asleep, as it is between two answers of a model:\n"
        "making the record, writing the answer as its type writes it, handing over. The writer redacts, makes the text and writes the file, on a thread of its own."
    )
    return "\n\n".join(["# What the log of model calls costs", intro, "\n".join(lines)]) + "\n"


def main() -> None:
    """Measure, print, and write the page when asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    parser.add_argument("--rounds", type=int, default=1, help="for the other programs of `make bench`")
    parser.add_argument("--only", action="append", default=[], help="for the other programs of `make bench`")
    arguments = parser.parse_args()
    if arguments.only:
        return
    on = (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.1f} before"
    )
    page = report(measure(), on)
    print(page)
    if arguments.record:
        RECORD.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
