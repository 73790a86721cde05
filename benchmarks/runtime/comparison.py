"""Running programs side by side, and the page about how they compare.

Rounds are interleaved: in each round every program runs every case once, in a new process and an empty folder, and the
order turns with the round. A cell is the median of the rounds. Times of one run may be compared with each other, not
with another machine's or another day's.
"""

import compileall
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PEERS = ROOT / ".venv-bench-peers" / "bin" / "python"
TIMEOUT_SECONDS = 1_200


@contextmanager
def no_database() -> Iterator[Mapping[str, str]]:
    """Give a program nothing but its folder."""
    yield {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program of the comparison. See `workload.py` for what it must do."""

    name: str
    peer: str | None
    """The product it measures; `None` for ours."""
    python: Path
    script: Path
    variant: str = "shipped"

    def call(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Any:
        """Run the program and return its answer."""
        folder = tempfile.mkdtemp(dir=scratch())
        try:
            process = subprocess.run(
                [self.python, self.script, *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(HERE), **(environment or {})},
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


Measured = dict[str, dict[str, list[dict[str, Any]]]]
"""Answers by case and program."""


def scratch() -> Path:
    """Return a folder on the project's own disk: a memory file system would make syncing free."""
    folder = ROOT / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def machine() -> str:
    """Return what was measured on."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def median(answers: Sequence[dict[str, Any]], key: str = "seconds") -> float:
    """Return the median of one number over the rounds."""
    return float(statistics.median(answer[key] for answer in answers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Programs that do the same on the same kind of store."""

    programs: Sequence[Program]
    cases: Mapping[str, str]
    """What each case is called in the table."""
    wanted: Mapping[tuple[str, str], float]
    """How many times as fast as a peer's better variant ours is meant to be, by case and peer."""
    alike: Collection[str] = ()
    """Cases in which a peer's variants would do the very same."""
    store: Callable[[], AbstractContextManager[Mapping[str, str]]] = no_database
    """Makes an empty store for one call and says in environment variables where it is."""

    def measure(self, only: Collection[str], rounds: int) -> Measured:
        """Run all programs, case by case, round by round; ours compiled, as the peers are, and as `pip install` leaves it."""
        compileall.compile_dir(ROOT / "src", quiet=1)
        programs = [program for program in self.programs if program.script.exists()]
        offered = {program.name: program.call("--cases") for program in programs}
        measured: Measured = {}
        for turn in range(rounds):
            order = programs[turn % len(programs) :] + programs[: turn % len(programs)]
            for case in self.cases:
                for program in order:
                    if case not in offered[program.name] or (only and case not in only):
                        continue
                    if program.variant == "shipped" or case not in self.alike:
                        print(f"round {turn + 1}/{rounds}: {case}, {program.name}", file=sys.stderr)
                        with self.store() as environment:
                            answer = program.call(case, program.variant, environment=environment)
                        measured.setdefault(case, {}).setdefault(program.name, []).append(answer)
        return measured

    def best(self, answers: Mapping[str, Sequence[dict[str, Any]]], peer: str | None) -> float | None:
        """Return the seconds of a product's fastest variant."""
        times = [
            median(answers[program.name])
            for program in self.programs
            if program.peer == peer and program.name in answers
        ]
        return min(times, default=None)

    def ratio_table(self, measured: Measured) -> list[str]:
        """Compare every product with ours, each by its better variant."""
        peers = list(dict.fromkeys(program.peer for program in self.programs if program.peer))
        lines = [f"| case | agent-runtime | {' | '.join(peers)} |", f"|---|---|{'---|' * len(peers)}"]
        for case, answers in measured.items():
            ours = self.best(answers, None)
            if ours is None or all(self.best(answers, peer) is None for peer in peers):
                continue
            cells = [self._compared(case, peer, self.best(answers, peer), ours) for peer in peers]
            lines.append(f"| {self.cases.get(case, case)} | 1 | {' | '.join(cells)} |")
        return lines if len(lines) > 2 else []

    def _compared(self, case: str, peer: str, theirs: float | None, ours: float) -> str:
        if theirs is None:
            return "–"
        wanted = self.wanted.get((case, peer))
        return f"{theirs / ours:.2f} ×" + (f" (wanted ≥ {wanted})" if wanted else "")

    def tables(self, measured: Measured) -> str:
        """Return the ratios, if there are any, and all that was measured."""
        ratios = self.ratio_table(measured)
        parts = ["How many times as long the others take:", "\n".join(ratios)] if ratios else []
        return "\n\n".join([*parts, "What was measured:", "\n".join(detail_table(measured))])


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
