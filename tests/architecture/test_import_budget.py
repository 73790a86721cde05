"""`import llm_client` stays light: what is heavy is imported by those who use it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "aiohttp", "alembic", "anthropic", "click", "genai_prices", "httpcore2", "httpx", "httpx2", "mcp", "openai",
    "pydantic", "pydantic_settings", "rich", "sqlalchemy", "sqlite3",
}  # fmt: skip
MAX_RESIDENT_MB = 45

PROBE = """
import json, sys
import {package}
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps({{"modules": sorted(sys.modules), "resident_mb": peak / 1024}}))
"""


def modules_after_import(package: str) -> tuple[set[str], float]:
    """Import a package in a fresh interpreter, without the coverage hook that this one may run under."""
    run = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import sys; sys.path[:0] = {sys.path!r}\n" + PROBE.format(package=package),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(run.stdout)
    return {name.partition(".")[0] for name in answer["modules"]}, answer["resident_mb"]


def test_importing_llm_client_loads_nothing_heavy() -> None:
    modules, _ = modules_after_import("llm_client")

    assert modules & HEAVY == set()


def test_importing_llm_client_takes_little_memory() -> None:
    _, resident_mb = modules_after_import("llm_client")

    assert resident_mb <= MAX_RESIDENT_MB


def test_importing_llm_client_does_not_import_agent_runtime() -> None:
    modules, _ = modules_after_import("llm_client")

    assert "llm_client" in modules
    assert "agent_runtime" not in modules


def test_importing_agent_runtime_loads_no_server_and_no_optional_package() -> None:
    modules, _ = modules_after_import("agent_runtime")

    optional = {
        "aiohttp",
        "asyncpg",
        "confluent_kafka",
        "mcp",
        "opentelemetry",
        "procrastinate",
        "redis",
        "starlette",
        "uvicorn",
    }
    assert modules & optional == set()


def test_importing_the_redaction_compiles_no_rule() -> None:
    """Rules are for the first text; whoever only imports does not wait for them."""
    code = "import sys, llm_client.redaction; print([name for name in sys.modules if name.endswith(('assignments', 'places'))])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("command", [("jobs", "list"), ("actions", "list"), ("costs",)])
def test_a_list_loads_no_kernel_and_no_sqlalchemy(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Somebody waits in front of it, and a list needs neither."""
    code = (
        "import sys\nfrom agent_runtime.cli import main\n"
        "try: main()\n"
        "finally: print([name for name in ('sqlalchemy', 'agent_runtime.kernel.kernel') if name in sys.modules], file=sys.stderr)"
    )
    database = f"sqlite:///{tmp_path}/runs.db"
    environment = {**os.environ, "AGENT_RUNTIME_STORAGE": database}
    run = subprocess.run(
        [sys.executable, "-c", code, *command],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    assert run.stderr.splitlines()[-1] == "[]"
