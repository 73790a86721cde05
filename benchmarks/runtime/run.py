"""Run ours and the peers' programs side by side and print how they compare.

Rounds are interleaved: in each round every program runs every case once, in a new process and an empty folder, and the
order turns with the round. A cell is the median of the rounds. Times of one run may be compared with each other, not
with another machine's or another day's.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RECORD = ROOT / "docs" / "benchmarks" / "runtime.md"
TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program of the comparison. See `workload.py` for what it must do."""

    name: str
    peer: str | None
    """The product it measures; `None` for ours."""
    python: Path
    script: Path
    variant: str = "shipped"

    def call(self, *arguments: str) -> Any:
        """Run the program and return its answer."""
        folder = tempfile.mkdtemp(dir=scratch())
        try:
            process = subprocess.run(
                [self.python, self.script, *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(HERE)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if process.returncode:
            raise SystemExit(f"{self.name} {' '.join(arguments)} failed:\n{process.stderr[-2000:]}")
        return json.loads(process.stdout.strip().splitlines()[-1])


PEERS = ROOT / ".venv-bench-peers" / "bin" / "python"
PROGRAMS = [
    Program(name="agent-runtime", peer=None, python=Path(sys.executable), script=HERE / "ours.py"),
    *(
        Program(
            name=f"{peer} {variant}", peer=peer, python=PEERS, script=HERE / "peers" / script, variant=variant
        )
        for peer, script in (("LangGraph", "langgraph_sqlite.py"), ("DBOS", "dbos_sqlite.py"))
        for variant in ("shipped", "tuned")
    ),
]

CASES = {
    "import": "import",
    "turn": "agent runs of one turn, in memory",
    "sequential": "5 jobs × 100 steps, one after the other",
    "sequential-intent": "the same, with an intent before each step",
    "concurrent": "1,000 jobs × 5 steps, 100 in flight",
    "agent": "durable agent runs of 25 turns",
    "suspended": "10,000 jobs suspended",
}
WANTED = {
    ("sequential", "LangGraph"): 2,
    ("concurrent", "LangGraph"): 20,
    ("concurrent", "DBOS"): 20,
    ("agent", "LangGraph"): 3,
}
"""How many times as fast as a peer's better variant ours is meant to be."""

VARIANTS_ALIKE = {"import", "suspended"}
"""Cases in which a peer's variants would do the very same."""

Measured = dict[str, dict[str, list[dict[str, Any]]]]
"""Answers by case and program."""


def scratch() -> Path:
    """Return a folder on the project's own disk: a memory file system would make syncing free."""
    folder = ROOT / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def measure(programs: list[Program], wanted: list[str], rounds: int) -> Measured:
    """Run all programs, case by case, round by round."""
    offered = {program.name: program.call("--cases") for program in programs}
    names = dict.fromkeys([*CASES, *(case for cases in offered.values() for case in cases)])
    measured: Measured = {}
    for turn in range(rounds):
        order = programs[turn % len(programs) :] + programs[: turn % len(programs)]
        for case in names:
            for program in order:
                if case not in offered[program.name] or (wanted and case not in wanted):
                    continue
                if program.variant == "shipped" or case not in VARIANTS_ALIKE:
                    print(f"round {turn + 1}/{rounds}: {case}, {program.name}", file=sys.stderr)
                    answer = program.call(case, program.variant)
                    measured.setdefault(case, {}).setdefault(program.name, []).append(answer)
    return measured


def median(answers: list[dict[str, Any]], key: str = "seconds") -> float:
    """Return the median of one number over the rounds."""
    return float(statistics.median(answer[key] for answer in answers))


def best(answers: dict[str, list[dict[str, Any]]], programs: list[Program], peer: str | None) -> float | None:
    """Return the seconds of a product's fastest variant."""
    times = [
        median(answers[program.name])
        for program in programs
        if program.peer == peer and program.name in answers
    ]
    return min(times, default=None)


def ratio_table(measured: Measured, programs: list[Program]) -> list[str]:
    """Compare every product with ours, each by its better variant."""
    peers = list(dict.fromkeys(program.peer for program in programs if program.peer))
    lines = [f"| case | agent-runtime | {' | '.join(peers)} |", f"|---|---|{'---|' * len(peers)}"]
    for case, answers in measured.items():
        ours = best(answers, programs, None)
        if ours is None or len(answers) == 1:
            continue
        cells = [_compared(case, peer, best(answers, programs, peer), ours) for peer in peers]
        lines.append(f"| {CASES.get(case, case)} | 1 | {' | '.join(cells)} |")
    return lines if len(lines) > 2 else []


def _compared(case: str, peer: str, theirs: float | None, ours: float) -> str:
    if theirs is None:
        return "–"
    wanted = WANTED.get((case, peer))
    return f"{theirs / ours:.2f} ×" + (f" (wanted ≥ {wanted})" if wanted else "")


def detail_table(measured: Measured) -> list[str]:
    """List what every program measured."""
    lines = [
        "| case | program | seconds | per step | steps/s | peak memory | besides |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, answers in measured.items():
        for name, rounds in answers.items():
            seconds, steps = median(rounds), rounds[0]["steps"]
            spread = f"{seconds:.3f} ({min(r['seconds'] for r in rounds):.3f}–{max(r['seconds'] for r in rounds):.3f})"
            besides = ", ".join(
                f"{key} {statistics.median(r['extra'][key] for r in rounds):.2f}"
                for key in rounds[0].get("extra", {})
            )
            pace = f"{seconds / steps * 1e3:.3f} ms | {steps / seconds:,.0f}" if steps > 1 else "– | –"
            lines.append(
                f"| {case} | {name} | {spread} | {pace} | {median(rounds, 'rss_mb'):.0f} MB | {besides} |"
            )
    return lines


def report(measured: Measured, programs: list[Program], rounds: int) -> str:
    """Return the page about one run."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    ratios = ratio_table(measured, programs)
    intro = (
        f"One run of `make bench`: {rounds} interleaved rounds, medians, every program in a process of its own ({machine}).\n"
        "All write to SQLite with `synchronous=FULL` and have a step on disk before the next begins. LangGraph and DBOS\n"
        "run as shipped and tuned (the synchronous saver; WAL and eight threads), and count by whichever was faster."
    )
    parts = ["# The runtime beside LangGraph and DBOS", intro]
    if ratios:
        parts += ["How many times as long the others take:", "\n".join(ratios)]
    parts += ["What was measured:", "\n".join(detail_table(measured))]
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
    arguments = parser.parse_args()
    programs = [program for program in PROGRAMS if program.script.exists()]
    page = report(measure(programs, arguments.only, arguments.rounds), programs, arguments.rounds)
    print(page)
    if arguments.record:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
