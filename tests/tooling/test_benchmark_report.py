"""The report of `make bench` says what was measured."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "runtime"


@pytest.fixture(scope="module", autouse=True)
def programs_can_import() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(FOLDER)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def run() -> ModuleType:
    return importlib.import_module("run")


@pytest.fixture(scope="module")
def run_postgres() -> ModuleType:
    return importlib.import_module("run_postgres")


def answer(seconds: float, **extra: float) -> dict[str, Any]:
    return {"seconds": seconds, "steps": 500, "rss_mb": 70.0, "extra": extra}


def test_ours_is_compared_with_the_better_variant_of_each_peer(run: ModuleType) -> None:
    measured = {
        "sequential": {
            "agent-runtime": [answer(0.1), answer(0.3), answer(0.2)],
            "LangGraph shipped": [answer(0.8)],
            "LangGraph tuned": [answer(0.5)],
            "DBOS shipped": [answer(1.0)],
            "LangGraph, asynchronous tuned": [answer(0.4)],
        },
        "ours alone": {"agent-runtime": [answer(0.1)]},
    }

    lines = run.SQLITE.ratio_table(measured)

    assert lines[2:] == [
        "| 5 jobs × 100 steps, one after the other | 1 | 2.50 × (wanted ≥ 10) | 5.00 × | 2.00 × (wanted ≥ 3) |"
    ]


def test_a_peer_without_the_case_is_left_open(run: ModuleType) -> None:
    measured = {"suspended": {"agent-runtime": [answer(1.0)], "LangGraph shipped": [answer(20.0)]}}

    assert run.SQLITE.ratio_table(measured)[2:] == ["| 10,000 jobs suspended | 1 | 20.00 × | – | – |"]


def test_without_ours_there_is_nothing_to_compare(run: ModuleType) -> None:
    measured = {"sequential": {"DBOS tuned": [answer(1.0, wake_ms=2.0)]}}

    page = run.report(measured, rounds=1, on="two cores")

    assert "How many times as long" not in page
    assert "| sequential | DBOS tuned | 1.000 (1.000–1.000) | 2.000 ms | 500 | 70 MB | wake_ms 2.00 |" in page


def test_a_program_runs_in_a_folder_of_its_own_and_answers_one_line(run: ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "from pathlib import Path\nimport workload\n"
        "assert not list(Path().iterdir())\n"
        "workload.main({'here': lambda variant: workload.Result(0.5, len(variant))})\n"
    )
    program = run.Program(name="p", peer=None, python=Path(sys.executable), script=script)

    assert program.call("--cases") == ["here"]
    assert program.call("here", "tuned") | {"rss_mb": 0} == {
        "case": "here", "variant": "tuned", "seconds": 0.5, "steps": 5, "extra": {}, "rss_mb": 0,
    }  # fmt: skip
    with pytest.raises(SystemExit, match="KeyError"):
        program.call("elsewhere")


@pytest.mark.parametrize("name", ["langgraph_sqlite.py", "dbos_sqlite.py"])
def test_a_peers_program_offers_the_cases_of_the_comparison(run: ModuleType, name: str) -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / "peers" / name, "--cases"],
        env={"PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert (
        {"import", "sequential", "concurrent", "agent"}
        <= set(json.loads(done.stdout))
        <= set(run.SQLITE.cases)
    )


def test_on_postgres_the_better_of_our_variants_counts(run_postgres: ModuleType) -> None:
    comparison = run_postgres.comparison(server=SimpleNamespace(database=None))
    measured = {
        "concurrent": {
            "agent-runtime": [answer(2.0)],
            "agent-runtime, no queue": [answer(1.0)],
            "LangGraph tuned": [answer(6.0)],
            "DBOS shipped": [answer(9.0)],
        }
    }

    lines = comparison.ratio_table(measured)

    assert lines[2:] == [
        "| 1,000 jobs × 5 steps, 100 in flight | 1 | 6.00 × (wanted ≥ 6) | 9.00 × (wanted ≥ 5) |"
    ]


def test_more_workers_are_compared_with_one(run_postgres: ModuleType) -> None:
    one = {
        "workers": 1.0, "steps_per_s": 1000.0, "server_cores": 0.5, "worker_cores": 0.9, "submitter_cores": 0.2,
        "transactions_per_step": 1.25, "wal_bytes_per_step": 1200.0, "connections": 14.0,
    }  # fmt: skip

    lines = run_postgres.scale_table([one, one | {"workers": 2.0, "steps_per_s": 1500.0}])

    assert lines[3] == "| 2 | 1,500 | 1.50 × | 0.50 | 0.90 | 0.20 | 1.25 | 1,200 bytes | 14 |"


def test_what_is_wanted_stands_beside_what_was_found(run_postgres: ModuleType) -> None:
    rows = run_postgres.takeover_rows({"first_s": 6.04, "last_s": 6.26})

    assert run_postgres.study_table(rows)[3].endswith("| last | 6.3 s | ≤ 10 s |")


def test_the_servers_work_is_what_was_done_in_between() -> None:
    load = importlib.import_module("postgres_server").Load
    before = load(cpu_seconds=1.0, transactions=10, log_bytes=100, connections=3)

    done = load(cpu_seconds=1.5, transactions=30, log_bytes=900, connections=5).since(before)

    assert done == load(cpu_seconds=0.5, transactions=20, log_bytes=800, connections=5)


@pytest.mark.parametrize("name", ["langgraph_postgres.py", "dbos_postgres.py"])
def test_a_peer_on_postgres_offers_the_cases_of_the_comparison(run_postgres: ModuleType, name: str) -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / "peers" / name, "--cases"],
        env={"PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        check=True,
    )

    offered = set(json.loads(done.stdout))
    assert offered < set(run_postgres.comparison(server=SimpleNamespace(database=None)).cases)
    assert offered == {"sequential", "concurrent", "agent"}
