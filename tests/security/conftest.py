"""The command line in a folder of its own, as the attacks need it."""

from pathlib import Path

import pytest

from support.cli import CommandLine


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """The command line of a user who keeps nothing yet."""
    return CommandLine(tmp_path)
