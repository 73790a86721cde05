"""Run llm_client, the vendors' SDKs and bare httpx2 against one loopback server and print how they compare.

Rounds are interleaved: in each round every client runs every case once, in a process of its own, and the order turns
with the round. A cell is the median of the rounds. Times of one run may be compared with each other, not with another
machine's or another day's.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from serving import stub

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RECORD = ROOT / "docs" / "benchmarks" / "client.md"
TIMEOUT_SECONDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client of the comparison. See `workload.py` for what it must do."""

    name: str
    script: str
    variant: str = ""
    peer: bool = False
    """Whether it is another product's client."""
    environment: str = ".venv-bench-client"
    """Virtual environment it runs in."""

    def measure(self, case: str, url: str) -> dict[str, float]:
        """Run one case in a new process."""
        python = ROOT / self.environment / "bin" / "python"
        process = subprocess.run(
            [python, HERE / "clients" / self.script, case, url, self.variant],
            env={**os.environ, "PYTHONPATH": str(HERE), "NO_PROXY": "*"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        if process.returncode:
            raise SystemExit(f"{self.name}, {case}, failed:\n{process.stderr[-2000:]}")
        answer: dict[str, float] = json.loads(process.stdout.strip().splitlines()[-1])
        return answer


BARE = Client(name="bare httpx2", script="bare.py")
OURS = Client(name="llm_client", script="ours.py", variant="provider")
ON_AIOHTTP = Client(name="llm_client on aiohttp", script="ours.py", variant="aiohttp")
ENGINE = Client(name="llm_client, whole engine", script="ours.py", variant="engine")
OPENAI = Client(name="openai", script="openai_sdk.py", peer=True)
CLIENTS = [
    BARE,
    OURS,
    ENGINE,
    ON_AIOHTTP,
    OPENAI,
    Client(name="openai on aiohttp", script="openai_sdk.py", variant="aiohttp", peer=True),
    Client(name="anthropic", script="anthropic_sdk.py", peer=True),
    Client(name="pydantic-ai", script="pydantic_ai_direct.py", peer=True),
    Client(name="litellm", script="litellm_client.py", peer=True, environment=".venv-bench-litellm"),
]
CASES = {
    "small": "2 messages, one call after the other (µs)",
    "history": "42 messages, 25 KB (µs)",
    "stream": "a stream of 1,000 chunks (ms)",
    "concurrent": "100 calls in flight (µs per call)",
    "import": "import (ms)",
}
ENVIRONMENTS = {
    ".venv-bench-client": ["-e", f"{ROOT}[aiohttp]", "-r", f"{HERE}/requirements.txt"],
    ".venv-bench-litellm": ["-r", f"{HERE}/requirements-litellm.txt"],
}
"""What pip installs into each virtual environment."""

Measured = dict[str, dict[str, list[dict[str, float]]]]
"""Answers by case and client."""


def prepare(clients: list[Client]) -> None:
    """Make the virtual environments the clients need; those that exist stay as they are."""
    for environment in dict.fromkeys(client.environment for client in clients):
        if not (ROOT / environment / "bin" / "python").exists():
            command = [ROOT / "scripts" / "venv", ROOT / environment, *ENVIRONMENTS[environment]]
            subprocess.run(command, check=True)


def measure(clients: list[Client], cases: list[str], rounds: int) -> Measured:
    """Run all clients, case by case, round by round."""
    measured: Measured = {}
    with stub() as url:
        for turn in range(rounds):
            order = clients[turn % len(clients) :] + clients[: turn % len(clients)]
            for case in cases:
                for client in order:
                    print(f"round {turn + 1}/{rounds}: {case}, {client.name}", file=sys.stderr)
                    answer = client.measure(case, url)
                    measured.setdefault(case, {}).setdefault(client.name, []).append(answer)
    return measured


def median(answers: list[dict[str, float]], key: str = "value") -> float:
    """Return the median of one number over the rounds."""
    return statistics.median(answer[key] for answer in answers)


def ratio_table(measured: Measured) -> str:
    """Say how many times as long each client takes as bare httpx2."""
    cases = [case for case in CASES if case in measured and BARE.name in measured[case]]
    names = [client.name for client in CLIENTS if any(client.name in measured[case] for case in cases)]
    lines = [f"| | {' | '.join(CASES[case] for case in cases)} |", f"|---|{'---|' * len(cases)}"]
    for name in names:
        ratios = [
            f"{median(measured[case][name]) / median(measured[case][BARE.name]):.2f}"
            if name in measured[case]
            else "–"
            for case in cases
        ]
        lines.append(f"| {name} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def detail_table(measured: Measured) -> str:
    """List what every client measured."""
    lines = ["| case | client | median | range | CPU | peak memory |", "|---|---|---|---|---|---|"]
    for case, clients in measured.items():
        for name, answers in clients.items():
            values = [answer["value"] for answer in answers]
            lines.append(
                f"| {CASES[case]} | {name} | {median(answers):,.1f} | {min(values):,.1f}–{max(values):,.1f} "
                f"| {median(answers, 'cpu'):,.1f} | {median(answers, 'rss_mb'):.0f} MB |"
            )
    return "\n".join(lines)


def wanted(measured: Measured) -> str:
    """Hold what was measured against what was wanted."""
    sdks = [client.name for client in CLIENTS if client.peer]

    def value(case: str, client: Client, key: str = "value") -> float:
        return median(measured[case][client.name], key)

    fastest = min(median(measured["concurrent"][name]) for name in sdks if name in measured["concurrent"])
    rows = [
        ("small call beside bare httpx2", "≤ 1.15", value("small", OURS) / value("small", BARE)),
        ("history beside bare httpx2", "≤ 1.15", value("history", OURS) / value("history", BARE)),
        ("openai beside ours, small", "≥ 2", value("small", OPENAI) / value("small", OURS)),
        ("openai beside ours, history", "≥ 8", value("history", OPENAI) / value("history", OURS)),
        ("stream beside bare httpx2", "≤ 1.5", value("stream", OURS) / value("stream", BARE)),
        ("fastest SDK beside ours, 100 in flight", "≥ 1", fastest / value("concurrent", OURS)),
        ("import with provider and engine, ms", "≤ 150", value("import", OURS)),
        ("memory after import, MB", "≤ 45", value("import", OURS, "rss_mb")),
    ]
    lines = ["| | wanted | measured |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {what} | {limit} | {number:.2f} |" for what, limit, number in rows)])


def versions(clients: list[Client]) -> str:
    """Return the releases that were compared."""
    found: dict[str, str] = {}
    for environment in dict.fromkeys(client.environment for client in clients):
        listed = subprocess.run(
            [ROOT / environment / "bin" / "python", "-m", "pip", "list", "--format=json"],
            capture_output=True,
            text=True,
            check=True,
        )
        for package in json.loads(listed.stdout):
            found[f"{package['name'].lower()}@{environment}"] = package["version"]
    names = ("httpx2", "aiohttp", "openai", "anthropic", "pydantic-ai-slim")
    shown = [(name, ".venv-bench-client") for name in names] + [("litellm", ".venv-bench-litellm")]
    return ", ".join(
        f"{name} {found[f'{name}@{where}']}" for name, where in shown if f"{name}@{where}" in found
    )


def report(measured: Measured, clients: list[Client], rounds: int) -> str:
    """Return the page about one run."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    intro = (
        f"One run of `python benchmarks/client/run.py`: {rounds} interleaved rounds, medians, every case in a process\n"
        f"of its own, against one server on the loopback interface ({machine}; {versions(clients)}).\n"
        "*Bare httpx2* is `httpx2.AsyncClient` with orjson by hand. llm_client's messages are built anew for every call.\n"
        "*Import* is everything a first call needs, the HTTP library included."
    )
    parts = ["# llm_client beside the vendors' SDKs", intro]
    complete = all(client.name in measured.get(case, {}) for case in CASES for client in (BARE, OURS, OPENAI))
    if complete:
        parts += ["What was wanted of llm_client, and what it does:", wanted(measured)]
    if any(BARE.name in answers for answers in measured.values()):
        parts += ["How many times as long as bare httpx2:", ratio_table(measured)]
    parts += ["What was measured:", detail_table(measured)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure, print, and write the page when asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", action="append", default=[], metavar="CASE", help="measure this case alone; repeatable"
    )
    parser.add_argument("--client", action="append", help="measure this client alone; repeatable")
    arguments = parser.parse_args()
    clients = [client for client in CLIENTS if not arguments.client or client.name in arguments.client]
    cases = [case for case in CASES if not arguments.only or case in arguments.only]
    if not cases:
        return  # `make bench` hands the same cases to other comparisons too
    prepare(clients)
    page = report(measure(clients, cases, arguments.rounds), clients, arguments.rounds)
    print(page)
    if arguments.record:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
