"""Measure what budgets cost, and print or record it. See `reservations.py` for what is done."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from comparison import HERE, ROOT, Program, machine, median

RECORD = ROOT / "docs" / "benchmarks" / "budgets.md"
OURS = Program(name="agent-runtime", peer=None, python=Path(sys.executable), script=HERE / "reservations.py")
Answers = dict[str, list[dict[str, Any]]]


def measure(rounds: int) -> Answers:
    """Run every case in a process and a folder of its own, round by round."""
    cases = OURS.call("--cases")
    found: Answers = {case: [] for case in cases}
    for turn in range(rounds):
        for case in cases:
            print(f"round {turn + 1}/{rounds}: {case}", file=sys.stderr)
            found[case].append(OURS.call(case))
    return found


def _extra(answers: list[dict[str, Any]], key: str) -> float:
    return median([answer["extra"] for answer in answers], key)


def report(found: Answers, rounds: int, on: str) -> str:
    """Return the page about one run."""
    lines = ["| what | measured | wanted |", "|---|---|---|"]
    for case, store, wanted in (("reserve", "SQLite", "≥ 5,000"), ("reserve-memory", "memory", "–")):
        answers = found[case]
        pace = answers[0]["steps"] / median(answers)
        lines += [
            f"| reservations a second, {store}, 100 in flight, two windows each | {pace:,.0f} | {wanted} |",
            f"| … given back a second | {_extra(answers, 'released_per_second'):,.0f} | – |",
        ]
    governed = found["governed"]
    steps = governed[0]["steps"]
    free = min(answer["extra"]["free_seconds"] for answer in governed) / steps
    budgeted = min(answer["seconds"] for answer in governed) / steps
    lines += [
        f"| a durable model call without budgets, SQLite | {free * 1e3:.2f} ms | – |",
        f"| the same in one run budget and one tenant budget | {budgeted * 1e3:.2f} ms | – |",
        f"| added | {(budgeted / free - 1) * 100:.0f} % | ≤ 10 % |",
    ]
    intro = (
        f"One run of `make bench`: {rounds} rounds, every case in a process of its own ({on}). SQLite with\n"
        "`synchronous=FULL`. Reservations are the medians of the rounds. Model calls are made one after the other, by a model that\n"
        "answers at once; each is two commits. Jobs with and without budgets take turns, and the quickest of each kind counts."
    )
    return "\n\n".join(["# What budgets cost", intro, "\n".join(lines)]) + "\n"


def main() -> None:
    """Measure, print, and write the page when asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[], help="for the other programs of `make bench`")
    arguments = parser.parse_args()
    if arguments.only:
        return
    on = f"{machine()}, load average {os.getloadavg()[0]:.1f} before"
    page = report(measure(arguments.rounds), arguments.rounds, on)
    print(page)
    if arguments.record:
        RECORD.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
