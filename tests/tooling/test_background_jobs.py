"""The tests pass as a job in the background of a shell, too, which ignores what Ctrl-C sends, as does whatever it starts."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

BOUND = 50.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_what_a_test_starts_can_be_interrupted(number: signal.Signals) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    sleeper.send_signal(number)

    assert sleeper.wait(BOUND) == -number


def test_so_it_can_in_the_background() -> None:
    test = f"{Path(__file__)}::test_what_a_test_starts_can_be_interrupted"
    command = f"trap '' INT QUIT; exec {sys.executable} -m pytest -q -p no:cacheprovider -p no:xdist {test}"

    done = subprocess.run(
        ["sh", "-c", command],
        check=False,
        cwd=Path(__file__).parents[2],
        timeout=BOUND,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout
