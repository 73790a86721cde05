"""Measure how long the event loop is held at a time, and print or record it. See `holds.py` for what is done."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from comparison import HERE, ROOT, Program, machine

RECORD = ROOT / "docs" / "benchmarks" / "loop.md"
OURS = Program(name="agent-runtime", peer=None, python=Path(sys.executable), script=HERE / "holds.py")
Answers = dict[str, list[dict[str, Any]]]
WHAT = {
    "resume-10000": "a job of 10,000 steps",
    "resume-40000": "a job of 40,000 steps",
    "children-1000": "a gather of 1,000 children",
    "content-4mb": "a result of 4 MB, 90,000 small objects",
}


def measure(rounds: int) -> Answers:
    """Run every case in a process and a folder of its own, round by round."""
    cases = OURS.call("--cases")
    found: Answers = {case: [] for case in cases}
    for turn in range(rounds):
        for case in cases:
            print(f"round {turn + 1}/{rounds}: {case}", file=sys.stderr)
            found[case].append(OURS.call(case))
    return found


def report(found: Answers, rounds: int, on: str) -> str:
    """Return the page about one run."""
    lines = [
        "| what | store | its first run: processor, clock | followed again: processor, clock | of that garbage | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for case, answers in found.items():
        name, _, store = case.rpartition("-")
        least = {key: min(answer[key] for answer in answers) for key in answers[0]}
        lines.append(
            f"| {WHAT[name]} | {store} | {least['first_worked_ms']:.0f} ms, {least['first_longest_ms']:.0f} ms | "
            f"{least['worked_ms']:.0f} ms, {least['longest_ms']:.0f} ms | {least['collected_ms']:.0f} ms | "
            f"{least['seconds']:.1f} |"
        )
    intro = (
        f"One run of `make bench`: the best of {rounds} rounds, every case in a process of its own ({on}).\n"
        "Each number is the longest turn of the loop while the case went on, in processor time of the loop's thread and by the clock;\n"
        "wanted are 50 ms. By the clock, whatever else the machine did is in it. `of that garbage` is the longest collection by the\n"
        "clock: as in `agent-runtime worker`, everything that was there when the worker had started is out of its reach, and young objects\n"
        "are looked at by the ten thousand. The first run of a large result includes the user's function that makes it, and the import of pydantic."
    )
    return "\n\n".join(["# How long the loop is held", intro, "\n".join(lines)]) + "\n"


def main() -> None:
    """Measure, print, and write the page when asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    parser.add_argument("--rounds", type=int, default=1)
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
