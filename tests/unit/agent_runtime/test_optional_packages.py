"""Names whose packages are optional: light until used, and a sentence that helps when the package is missing."""

import subprocess
import sys

import pytest

import agent_runtime

PROBE = """
import sys
sys.path[:0] = {path!r}
sys.modules["{package}"] = None
import agent_runtime
from agent_runtime.errors import MissingDependency
try:
    agent_runtime.{name}
except MissingDependency as error:
    print(error)
"""


NAMES = {
    **dict.fromkeys(
        ["RedisActionStore", "RedisChangeNotifier", "RedisJobCache", "RedisSignalChannel"], "redis"
    ),
    "OpenTelemetryAdapter": "opentelemetry",
}
EXTRA = {"redis": "redis", "opentelemetry": "otel"}


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_package_is_said_with_the_extra_that_brings_it(name: str) -> None:
    assert name in agent_runtime.__all__
    run = subprocess.run(
        [sys.executable, "-c", PROBE.format(name=name, package=NAMES[name], path=sys.path)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"'durable-agent-runtime[{EXTRA[NAMES[name]]}]'" in run.stdout


LIGHT = """
import sys
sys.path[:0] = {path!r}
import agent_runtime
agent_runtime.OTelConfig(service_name="mine"), agent_runtime.RuntimeKernel, agent_runtime.InMemoryEventBus
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_nothing_of_opentelemetry_is_imported_before_its_adapter_is_used() -> None:
    code = LIGHT.format(path=sys.path)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
