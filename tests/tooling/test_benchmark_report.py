"""The report of `make bench` says what was measured."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "runtime"


@pytest.fixture(scope="module")
def run() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_run", FOLDER / "run.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def answer(seconds: float, **extra: float) -> dict[str, Any]:
    return {"seconds": seconds, "steps": 500, "rss_mb": 70.0, "extra": extra}


def test_ours_is_compared_with_the_better_variant_of_each_peer(run: ModuleType) -> None:
    measured = {
        "sequential": {
            "agent-runtime": [answer(0.1), answer(0.3), answer(0.2)],
            "LangGraph shipped": [answer(0.8)],
            "LangGraph tuned": [answer(0.5)],
            "DBOS shipped": [answer(1.0)],
        },
        "ours alone": {"agent-runtime": [answer(0.1)]},
    }

    lines = run.ratio_table(measured, run.PROGRAMS)

    assert lines[2:] == ["| 5 jobs × 100 steps, one after the other | 1 | 2.50 × (wanted ≥ 2) | 5.00 × |"]


def test_a_peer_without_the_case_is_left_open(run: ModuleType) -> None:
    measured = {"suspended": {"agent-runtime": [answer(1.0)], "LangGraph shipped": [answer(20.0)]}}

    assert run.ratio_table(measured, run.PROGRAMS)[2:] == ["| 10,000 jobs suspended | 1 | 20.00 × | – |"]


def test_without_ours_there_is_nothing_to_compare(run: ModuleType) -> None:
    measured = {"sequential": {"DBOS tuned": [answer(1.0, wake_ms=2.0)]}}

    page = run.report(measured, run.PROGRAMS, rounds=1)

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

    assert {"import", "sequential", "concurrent", "agent"} <= set(json.loads(done.stdout)) <= set(run.CASES)
