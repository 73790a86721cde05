"""Lines at a terminal."""

import asyncio
import os
import pty
from collections.abc import Iterator

import pytest

from agent_runtime.cli.terminal import Lines
from support.kernels import BOUND


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


async def test_what_was_typed_before_a_question_was_there_is_no_answer_to_it(
    terminal: tuple[int, int],
) -> None:
    """An impatient person says yes twice to the first of two questions; a model chooses that the second follows at once."""
    ours, theirs = terminal
    lines = Lines(theirs)
    os.write(ours, b"y\ny\nye")
    assert await asyncio.wait_for(lines.next(), BOUND) == "y"
    lines.forget()
    os.write(ours, b"no\n")
    assert await asyncio.wait_for(lines.next(), BOUND) == "no"


async def test_a_line_that_nobody_has_waited_for_is_the_next_one(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    lines = Lines(theirs)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(lines.next(), 0.01)
    os.write(ours, b"later\n")
    assert await asyncio.wait_for(lines.next(), BOUND) == "later"
