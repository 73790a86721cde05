"""Names whose packages are optional: light until used, and a sentence that helps when the package is missing."""

import subprocess
import sys

import pytest

import agent_runtime

PROBE = """
import sys
sys.path[:0] = {path!r}
sys.modules["redis"] = None
import agent_runtime
from agent_runtime.errors import MissingDependency
try:
    agent_runtime.{name}
except MissingDependency as error:
    print(error)
"""


@pytest.mark.parametrize(
    "name", ["RedisActionStore", "RedisChangeNotifier", "RedisJobCache", "RedisSignalChannel"]
)
def test_a_missing_redis_package_is_said_with_the_extra_that_brings_it(name: str) -> None:
    assert name in agent_runtime.__all__
    run = subprocess.run(
        [sys.executable, "-c", PROBE.format(name=name, path=sys.path)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "'durable-agent-runtime[redis]'" in run.stdout
