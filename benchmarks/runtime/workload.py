"""What every program of this comparison does, and how it reports: equal work, counted, measured alike.

A program is called as `program.py CASE [VARIANT]` (or `program.py --cases`) with this folder on its path, an empty
current directory of its own, and one line of JSON as its answer.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

SEQUENTIAL_JOBS, SEQUENTIAL_STEPS = 5, 100
CONCURRENT_JOBS, CONCURRENT_STEPS, IN_FLIGHT = 1_000, 5, 100
EMPTY_JOBS = 5_000
AGENT_RUNS, AGENT_TURNS = 4, 25
SUSPENDED_JOBS = 10_000

SYSTEM_PROMPT = (
    "You audit the licences of installed packages. Look every package up before you judge it. " * 8
)
USER_PROMPT = "Audit these packages one by one and tell me which of them need a person's decision. " * 4
THOUGHT = "The last licence is permissive, so it passes; the next package on the list is looked up now."
TOOL_RESULT = (
    '{"package": "example", "version": "1.2.3", "licence": "Apache-2.0", "classifiers": ['
    + ", ".join(f'"Programming Language :: Python :: 3.{minor}"' for minor in range(9, 19))
    + "]}"
)
FINAL_ANSWER = "All packages are permissively licensed; none needs a decision."


@dataclass
class Result:
    """One measured case. `seconds` covers the work alone: neither imports, nor opening the store, nor a warm-up job."""

    seconds: float
    steps: int
    extra: dict[str, float] = field(default_factory=dict)


class Stopwatch:
    """Measures a `with` block."""

    seconds = 0.0

    def __enter__(self) -> "Stopwatch":
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start


def resident_mb(which: str = "VmRSS") -> float:
    """Return this process's resident memory in MB: now (`VmRSS`) or at its highest (`VmHWM`)."""
    with Path("/proc/self/status").open(encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(which)) / 1024


def step_result(number: int) -> dict[str, int | str]:
    """The small result that every durable step stores."""
    return {"number": number, "status": "ok"}


def expect(actual: int, wanted: int) -> None:
    """Fail if a program did other work than it says."""
    if actual != wanted:
        raise SystemExit(f"expected {wanted} steps, counted {actual}")


def main(cases: dict[str, Callable[[str], Result]]) -> None:
    """Run the case named on the command line and print its result as one line of JSON."""
    if sys.argv[1:] == ["--cases"]:
        print(json.dumps(list(cases)))
        return
    case, variant = sys.argv[1], (sys.argv[2:] or ["shipped"])[0]
    result = asdict(cases[case](variant))
    print(json.dumps({"case": case, "variant": variant, **result, "rss_mb": round(resident_mb("VmHWM"), 1)}))
