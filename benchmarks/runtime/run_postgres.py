"""Compare ours with the peers on Postgres, study what several workers do, and print or record it.

The server is the benchmark's own, with its default settings, on a disk, and on the same machine as everything else.
"""

import argparse
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from comparison import HERE, PEERS, ROOT, Comparison, Measured, Program, machine, median
from postgres_server import BenchServer, bench_server

RECORD = ROOT / "docs" / "benchmarks" / "postgres.md"
OURS = {"shipped": "agent-runtime", "tuned": "agent-runtime, no queue"}
STUDIES = Program(name="study", peer=None, python=Path(sys.executable), script=HERE / "studies.py")
Found = Mapping[str, float]
Row = tuple[str, str, str, str]
"""Study, number, what was found and what is wanted."""


def comparison(server: BenchServer) -> Comparison:
    """Return the programs, each call of which gets a database of its own."""
    return Comparison(
        programs=[
            *(
                Program(
                    name=name,
                    peer=None,
                    python=Path(sys.executable),
                    script=HERE / "ours.py",
                    variant=variant,
                )
                for variant, name in OURS.items()
            ),
            *(
                Program(
                    name=f"{peer} {variant}",
                    peer=peer,
                    python=PEERS,
                    script=HERE / "peers" / script,
                    variant=variant,
                )
                for peer, script in (("LangGraph", "langgraph_postgres.py"), ("DBOS", "dbos_postgres.py"))
                for variant in ("shipped", "tuned")
            ),
        ],
        cases={
            "sequential": "5 jobs × 100 steps, one after the other",
            "sequential-intent": "the same, with an intent before each step",
            "concurrent": "1,000 jobs × 5 steps, 100 in flight",
            "agent": "durable agent runs of 25 turns",
        },
        wanted={("concurrent", "LangGraph"): 6, ("concurrent", "DBOS"): 5},
        store=server.database,
    )


def study(server: BenchServer, name: str, **environment: str) -> Found:
    """Run a study on a database of its own, or on a SQLite file."""
    print(f"study: {name}", file=sys.stderr)
    with server.database() as database:
        found: Found = STUDIES.call(
            name, environment={**database, "POSTMASTER": str(server.process), **environment}
        )
    return found


def number(value: float, unit: str) -> str:
    """Return a number with its unit, as exact as it is worth."""
    return f"{value:,.1f} {unit}" if value < 100 else f"{value:,.0f} {unit}"


def start_rows(found: Found) -> list[Row]:
    """Say how fast a submitted job starts."""
    name = "submitted to started, idle worker in another process"
    return [
        (name, "p50", number(found["p50_ms"], "ms"), "≤ 15 ms"),
        (name, "p99", number(found["p99_ms"], "ms"), ""),
    ]


def takeover_rows(found: Found) -> list[Row]:
    """Say how fast the jobs of a killed worker run elsewhere."""
    name = "100 jobs of a worker killed with SIGKILL, production settings"
    return [
        (name, "first runs elsewhere after", number(found["first_s"], "s"), ""),
        (name, "last", number(found["last_s"], "s"), "≤ 10 s"),
    ]


def suspended_rows(store: str, found: Found) -> list[Row]:
    """Say what suspended jobs cost, and how fast they wake."""
    name = f"{found['jobs']:,.0f} suspended jobs, {store}"
    return [
        (name, "suspended a second", f"{found['parked_per_s']:,.0f}", ""),
        (name, "worker's memory with a tenth of them", number(found["first_tenth_mb"], "MB"), ""),
        (name, "with all of them", number(found["all_mb"], "MB"), "flat"),
        (name, "woken by an answer, p50", number(found["answer_p50_ms"], "ms"), ""),
        (name, "p99", number(found["answer_p99_ms"], "ms"), "≤ 100 ms"),
        (name, "woken by a timer, p50", number(found["timer_p50_ms"], "ms"), ""),
        (name, "p99", number(found["timer_p99_ms"], "ms"), "≤ 100 ms"),
    ]


def study_table(rows: list[Row]) -> list[str]:
    """List what the studies found."""
    head = ["| study | | found | wanted |", "|---|---|---|---|"]
    return [*head, *(f"| {' | '.join(row)} |" for row in rows)]


def scale_table(found: list[Found]) -> list[str]:
    """Compare numbers of workers."""
    lines = [
        "| workers | steps/s | against one | cores: Postgres | workers | submitter | transactions per step | WAL per step | connections |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        cores = " | ".join(f"{one[f'{who}_cores']:.2f}" for who in ("server", "worker", "submitter"))
        lines.append(
            f"| {one['workers']:.0f} | {one['steps_per_s']:,.0f} | {one['steps_per_s'] / found[0]['steps_per_s']:.2f} × | {cores} "
            f"| {one['transactions_per_step']:.2f} | {one['wal_bytes_per_step']:,.0f} bytes | {one['connections']:.0f} |"
        )
    return lines


def studies(server: BenchServer, only: Collection[str]) -> list[str]:
    """Run the studies and return their part of the page."""
    rows: list[Row] = []

    def wanted(name: str) -> bool:
        return not only or name in only

    if wanted("start"):
        rows += start_rows(study(server, "start"))
    if wanted("takeover"):
        rows += takeover_rows(study(server, "takeover"))
    if wanted("suspended"):
        rows += suspended_rows("Postgres", study(server, "suspended"))
        rows += suspended_rows("SQLite", study(server, "suspended", DATABASE_URL="sqlite:///runs.db"))
    parts = ["## Several processes", "\n".join(study_table(rows))] if rows else []
    if wanted("scale"):
        found = [study(server, f"scale-{count}") for count in (1, 2, 4)]
        parts += ["## More workers on this machine", "\n".join(scale_table(found))]
    return parts


def through_the_queue(compared: Comparison, measured: Measured) -> float | None:
    """Return how many times as long LangGraph takes as our default, with 100 jobs in flight."""
    answers = measured.get("concurrent", {})
    theirs = compared.best(answers, "LangGraph")
    ours = answers.get(OURS["shipped"])
    return None if theirs is None or ours is None else theirs / median(ours)


def report(version: str, rounds: int, on: str, tables: str, studied: list[str], queued: float | None) -> str:
    """Return the page about one run."""
    intro = (
        f"One run of `make bench`: {rounds} interleaved rounds, medians, every program in a process of its own ({on}).\n"
        f"All write to Postgres {version} on the same machine, with `synchronous_commit=on`. The others have a step on disk before the\n"
        "next begins; ours holds the outcomes of steps that only read for up to 2 ms. `agent-runtime` is the default, where half of what one worker runs goes through the shared queue;\n"
        '`no queue` is `dispatch="local"`, which is what the others do. LangGraph runs as shipped (the asynchronous saver over\n'
        "a pool) and tuned (eight threads with a synchronous saver each), DBOS as shipped and tuned (eight threads). Every\n"
        "product counts by its faster variant."
    )
    if queued is not None:
        intro += f" Through the queue, 1,000 jobs at 100 in flight take LangGraph {queued:.2f} times as long as ours (wanted ≥ 3.5)."
    intro += (
        "\n\nWhere less is reached than wanted, it is processor time that is short: server, worker and submitter together keep nearly two cores busy (the last\n"
        "table), and of what the worker takes [the page on SQLite](runtime.md) says where it goes. A start in an idle worker is a notification,\n"
        "a look at the queue, a claim and a commit, one after the other in three processes. Why\n"
        "the slowest of many timers takes so long among 100,000 suspended jobs is not known yet."
    )
    return (
        "\n\n".join(["# The runtime on Postgres, beside LangGraph and DBOS", intro, tables, *studied]) + "\n"
    )


def main() -> None:
    """Measure, print, and write the page when asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="CASE",
        help="measure this case or study alone (start, takeover, suspended, scale); repeatable",
    )
    parser.add_argument(
        "--suspended", type=int, default=100_000, metavar="JOBS", help="how many jobs are suspended"
    )
    arguments = parser.parse_args()
    os.environ["STUDY_SUSPENDED"] = str(arguments.suspended)
    on = machine()
    with bench_server() as server:
        compared = comparison(server)
        cases = [case for case in arguments.only if case in compared.cases]
        measured = {} if arguments.only and not cases else compared.measure(cases, arguments.rounds)
        tables = compared.tables(measured) if measured else ""
        studied = studies(server, arguments.only)
        queued = through_the_queue(compared, measured)
        page = report(server.version(), arguments.rounds, on, tables, studied, queued)
    print(page)
    if arguments.record:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
