"""The wheel, the source distribution and every extra install into fresh environments, and work there."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from support.environments import ROOT, Distribution, Environment, fresh_environment

pytestmark = [pytest.mark.xdist_group("packaging"), pytest.mark.timeout(300)]

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
IMPORTS = {
    "opentelemetry-api": "opentelemetry",
    "opentelemetry-sdk": "opentelemetry.sdk",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry.exporter.otlp.proto.http",
    "confluent-kafka": "confluent_kafka",
    "prometheus-client": "prometheus_client",
    "pyjwt": "jwt",
}


def test_the_wheel_installs_and_runs_alone(distribution: Distribution, tmp_path: Path) -> None:
    environment = fresh_environment(tmp_path / "env")
    environment.install(distribution.wheel)

    assert environment.run("agent-runtime", "--version").split()[-1] == "0.1.0"
    looked = environment.run("agent-runtime", "doctor", "--db", tmp_path / "runs.db")
    assert "durable-agent-runtime[postgres]" in looked  # what could be installed is said as pip calls it
    missing = "import agent_runtime; agent_runtime.open_storage('postgresql://localhost/x')"
    told = environment.run(
        "python",
        "-W",
        "error",
        "-c",
        f"""
try:
    {missing}
except ImportError as error:
    print(error)
""",
    )
    assert "durable-agent-runtime[postgres]" in told
    environment.run("agent-runtime", "migrate", "--db", tmp_path / "runs.db")
    listed = environment.run("agent-runtime", "jobs", "list", "--json", "--db", tmp_path / "runs.db")
    assert json.loads(listed) == []


def test_the_source_distribution_installs_the_same_files(distribution: Distribution, tmp_path: Path) -> None:
    environment = fresh_environment(tmp_path / "env")
    environment.install("--no-deps", distribution.source)
    from_source = installed_files(environment)
    environment.install("--no-deps", "--force-reinstall", distribution.wheel)
    assert from_source == installed_files(environment)


def installed_files(environment: Environment) -> list[str]:
    program = (
        "import importlib.metadata as m, json; "
        "print(json.dumps(sorted(str(f) for f in m.files('durable-agent-runtime') if f.suffix != '.pyc')))"
    )
    files = json.loads(environment.run("python", "-c", program))
    return [name for name in files if "direct_url" not in name and "REQUESTED" not in name]


def test_every_extra_installs_and_doctor_finds_it(distribution: Distribution, tmp_path: Path) -> None:
    environment = fresh_environment(tmp_path / "env")
    environment.install(distribution.extras("all"))

    wanted = {re.split(r"[<>=\[]", one)[0] for name in EXTRAS.keys() - {"all"} for one in EXTRAS[name]}
    modules = sorted(IMPORTS.get(package, package) for package in wanted)
    environment.run("python", "-c", "; ".join(f"import {module}" for module in modules))
    looked = environment.run("agent-runtime", "doctor", "--db", tmp_path / "runs.db")
    assert "durable-agent-runtime[" not in looked, "an extra of [all] is said to be missing"
