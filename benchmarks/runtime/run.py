"""Compare ours with the peers on SQLite, and print or record how they do. See `comparison.py` for how it is measured."""

import argparse
import sys
from pathlib import Path

from comparison import HERE, PEERS, ROOT, Comparison, Measured, Program, machine

RECORD = ROOT / "docs" / "benchmarks" / "runtime.md"
LATER = "LangGraph, asynchronous"
"""`durability="async"`: a checkpoint is written while the next step runs."""

SQLITE = Comparison(
    programs=[
        Program(name="agent-runtime", peer=None, python=Path(sys.executable), script=HERE / "ours.py"),
        *(
            Program(
                name=f"{peer} {variant}",
                peer=peer,
                python=PEERS,
                script=HERE / "peers" / script,
                variant=variant,
            )
            for peer, script in (("LangGraph", "langgraph_sqlite.py"), ("DBOS", "dbos_sqlite.py"))
            for variant in ("shipped", "tuned")
        ),
        *(
            Program(
                name=f"{LATER} {variant}",
                peer=LATER,
                python=PEERS,
                script=HERE / "peers" / "langgraph_later.py",
                variant=variant,
            )
            for variant in ("shipped", "tuned")
        ),
    ],
    cases={
        "import": "import",
        "turn": "agent runs of one turn, in memory",
        "sequential": "5 jobs × 100 steps, one after the other",
        "sequential-intent": "the same, with an intent before each step",
        "concurrent": "1,000 jobs × 5 steps, 100 in flight",
        "empty": "5,000 jobs without a step, 100 in flight",
        "children": "a job with 1,000 children",
        "agent": "durable agent runs of 25 turns",
        "suspended": "10,000 jobs suspended",
    },
    wanted={
        ("sequential", "LangGraph"): 10,
        ("sequential", LATER): 3,
        ("concurrent", "LangGraph"): 10,
        ("concurrent", "DBOS"): 15,
        ("agent", "LangGraph"): 4,
    },
    alike={"import", "suspended"},
)


def report(measured: Measured, rounds: int, on: str) -> str:
    """Return the page about one run."""
    intro = (
        f"One run of `make bench`: {rounds} interleaved rounds, medians, every program in a process of its own ({on}).\n"
        "All write to SQLite with `synchronous=FULL`. LangGraph and DBOS run as shipped and tuned (the synchronous saver; WAL and\n"
        "eight threads), and count by whichever was faster. DBOS and LangGraph have a step on disk before the next begins; `LangGraph,\n"
        'asynchronous` (`durability="async"`) writes it meanwhile. Ours holds the outcomes of steps that only read for up to 2 ms and writes them\n'
        "with what others could see of them, at the latest; `sequential-intent` has everything on disk first. A job without a step is to take 0.4 ms\n"
        "of processor time at most, and one of a parent's 1,000 children 0.8 ms (`cpu_ms`).\n\n"
        "What stands in the way where less is reached than wanted is processor time of our own: commits are as few as the rules allow (one for a\n"
        "turn whose tools only read, two for a job of quick steps), and what is left is the Python around each – a step is matched with its place,\n"
        "its result is written as JSON and read back, its entry is looked through for secrets; a model's request is ruled on, estimated, hashed and\n"
        "priced – beside peers that do less of it, and the interpreter's lock, which the loop shares with the thread that writes."
    )
    return "\n\n".join(["# The runtime beside LangGraph and DBOS", intro, SQLITE.tables(measured)]) + "\n"


def main() -> None:
    """Measure, print, and write the page when asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", action="append", default=[], metavar="CASE", help="measure this case alone; repeatable"
    )
    arguments = parser.parse_args()
    on = machine()
    page = report(SQLITE.measure(arguments.only, arguments.rounds), arguments.rounds, on)
    print(page)
    if arguments.record:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
