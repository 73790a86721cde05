"""A command line of its own for every test."""

from pathlib import Path

import pytest

from support.cli import CommandLine


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)
