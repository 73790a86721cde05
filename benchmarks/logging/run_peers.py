"""Measure what logging adds to a model call on its caller's path: with our logs, and with LiteLLM's and Langfuse's clients.

All call one server on the loopback interface, which takes what Langfuse exports as well. Each log runs in a process of its own, which calls in turns
with it and without it: what is told is the difference, so whatever else a client takes for a call is not counted. Print it, or record it.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PEERS = HERE / "peers"
CLIENT = ROOT / "benchmarks" / "client"
sys.path += [str(PEERS), str(CLIENT), str(ROOT / "benchmarks" / "runtime")]

from alternating import SIZES  # noqa: E402
from postgres_server import bench_server  # noqa: E402
from serving import stub  # noqa: E402

from agent_runtime.storage.migrate import migrate_postgres  # noqa: E402

RECORD = ROOT / "docs" / "benchmarks" / "logging-peers.md"
ROUNDS = 3
TIMEOUT_SECONDS = 300
LITELLM, LANGFUSE = ".venv-bench-litellm", ".venv-bench-langfuse"
ENVIRONMENTS = {
    LITELLM: CLIENT / "requirements-litellm.txt",
    LANGFUSE: PEERS / "requirements-langfuse.txt",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A way to log a call."""

    name: str
    script: str
    is_done: str
    """What has been done when the caller goes on."""
    environment: str | None = None
    """Virtual environment it runs in, where it is another product's."""
    needs_postgres: bool = False

    def measure(self, url: str, size: str, database: str) -> dict[str, float]:
        """Run it in a new process."""
        python = ROOT / self.environment / "bin" / "python" if self.environment else sys.executable
        process = subprocess.run(
            [python, PEERS / self.script, url, size],
            env={**os.environ, "NO_PROXY": "*", "DATABASE_URL": database if self.needs_postgres else ""},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        if process.returncode:
            raise SystemExit(f"{self.name}, {size}, failed:\n{process.stderr[-2000:]}")
        answer: dict[str, float] = json.loads(process.stdout.strip().splitlines()[-1])
        return answer


OURS = Log(
    name="our file log", script="our_file_log.py", is_done="the record is handed over; a thread writes a file"
)
LOGS = [
    OURS,
    Log(
        name="our rows, SQLite",
        script="our_rows.py",
        is_done="two transactions are committed: the beginning and the end",
    ),
    Log(name="our rows, Postgres", script="our_rows.py", is_done="the same", needs_postgres=True),
    Log(
        name="our projection, SQLite",
        script="our_projection.py",
        is_done="the job has ended, and its journal is on disk with or without it; the same process makes the rows meanwhile",
    ),
    Log(
        name="LiteLLM",
        script="litellm_log.py",
        environment=LITELLM,
        is_done="the record is queued; a task of the same loop makes it and appends it to a file",
    ),
    Log(
        name="Langfuse",
        script="langfuse_log.py",
        environment=LANGFUSE,
        is_done="the span is queued; a thread exports it over HTTP in batches",
    ),
]
Measured = Mapping[str, Mapping[str, list[dict[str, float]]]]
"""Answers by size and log."""


WHAT = """\
So they are not the same thing. Whoever logs rows by hand waits until the database has them, twice for each call: that is the slowest way by far, and the only one beside a projection that loses nothing when a process is killed.
A projection reads journals that are there anyway; its process makes the rows, so a job that runs at the same time has less of the processor, which is less than what one job's time differs from another's here.

Our logs take more processor time than both others, and more of it with longer texts: they look for secrets in every text. Where a model answers at once, one call after the other, a caller waits for that. Langfuse's client looks for none
unless it is given a function that does, and LiteLLM's record is written here as it comes. LiteLLM makes that record whether anybody takes it or not, so most of what it costs is in the call without the log. Langfuse's server,
which has the work of storing and adding up, is not part of this: it is replaced by one that says yes.

What else the machine did is in the ranges. A difference below nothing is nothing."""
"""What is to be known besides."""


def prepare() -> list[Log]:
    """Make the environments of the peers; return the logs that can run here."""
    missing = set()
    for environment, requirements in ENVIRONMENTS.items():
        if not (ROOT / environment / "bin" / "python").exists():
            command = [ROOT / "scripts" / "venv", ROOT / environment, "-r", requirements]
            if subprocess.run(command, check=False).returncode:
                missing.add(environment)
    return [log for log in LOGS if log.environment not in missing]


def measure(logs: list[Log], rounds: int) -> Measured:
    """Run all of them, round by round."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {size: {} for size in SIZES}
    with ExitStack() as stack:
        url = stack.enter_context(stub())
        server = stack.enter_context(bench_server())
        database = stack.enter_context(server.database())["DATABASE_URL"]
        asyncio.run(migrate_postgres(database))
        for number in range(rounds):
            turned = logs[number % len(logs) :] + logs[: number % len(logs)]
            for size in SIZES:
                for log in turned:
                    print(f"round {number + 1}/{rounds}: {size}, {log.name}", file=sys.stderr)
                    found[size].setdefault(log.name, []).append(log.measure(url, size, database))
    return found


def median(answers: list[dict[str, float]], key: str) -> float:
    return statistics.median(answer[key] for answer in answers)


def shown(answers: list[dict[str, float]], key: str) -> str:
    values = [answer[key] for answer in answers]
    return f"{median(answers, key):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def table(by_log: Mapping[str, list[dict[str, float]]], size: str) -> str:
    lines = [
        f"| prompts of {size} | added to a call | times our file log | added to one of many in a row | times our file log | processor time for each | the call without it |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, answers in by_log.items():
        cells = [name]
        for key in ("apart", "in a row"):
            first = median(by_log[OURS.name], key)
            cells += [shown(answers, key), f"{median(answers, key) / first:.1f}" if first > 0 else "–"]
        cells += [f"{median(answers, key):,.0f}" for key in ("processor", "call")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def versions(logs: list[Log]) -> str:
    said = []
    for name, environment in (("litellm", LITELLM), ("langfuse", LANGFUSE), ("openai", LANGFUSE)):
        if not any(log.environment == environment for log in logs):
            said.append(f"{name} could not be installed")
            continue
        python = ROOT / environment / "bin" / "python"
        command = [python, "-c", f"import importlib.metadata as m; print(m.version({name!r}))"]
        said.append(
            f"{name} {subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()}"
        )
    return ", ".join(said)


def report(measured: Measured, logs: list[Log], on: str, rounds: int) -> str:
    """Return the page about one run."""
    intro = (
        f"One run of `make bench` ({on}; {versions(logs)}): {rounds} interleaved rounds, medians and their range, in microseconds. Each log runs in a process of its own, which\n"
        "asks one server on the loopback interface, in turns with the log and without it. What is told is the difference: a client that takes ten times as long for the call itself is no worse here for that,\n"
        "[that is another page](client.md). `added to a call`: the log has caught up before, as it has where a model takes its time to answer. `many in a row`: the model answers at once, and what logs in the background\n"
        "takes the interpreter from the next calls. `processor time` is that of the whole process until everything is written or exported."
    )
    what = (
        "The caller goes on when:\n\n| | |\n|---|---|\n"
        + "\n".join(f"| {log.name} | {log.is_done} |" for log in logs)
        + "\n\n"
        + WHAT
    )
    tables = [table(by_log, size) for size, by_log in measured.items()]
    return "\n\n".join(["# What logging adds to a model call", intro, *tables, what]) + "\n"


def main() -> None:
    """Measure, print, and write the page when asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", action="append", default=[], help="for the other programs of `make bench`")
    arguments = parser.parse_args()
    if arguments.only:
        return
    logs = prepare()
    on = (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.1f} before"
    )
    page = report(measure(logs, arguments.rounds), logs, on, arguments.rounds)
    print(page)
    if arguments.record:
        RECORD.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
