"""Names are drawn once, by whoever draws them: threads, processes that were forked."""

import os
import threading

import pytest

from llm_client.chance import BLOCK, random_name


def test_no_name_is_drawn_twice_by_any_thread() -> None:
    drawn: list[str] = []

    def draw() -> None:
        drawn.extend([random_name(8) for _ in range(2_000)])

    threads = [threading.Thread(target=draw) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == len(drawn) == 16_000
    assert {len(name) for name in drawn} == {16}


def test_more_than_a_block_is_drawn_at_once() -> None:
    assert len(random_name(BLOCK + 1)) == 2 * (BLOCK + 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here")
def test_a_process_that_was_forked_draws_other_names_than_its_parent() -> None:
    random_name(8)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, random_name(16).encode())
        os._exit(0)
    os.close(write)
    theirs = os.read(read, 100).decode()
    os.waitpid(child, 0)
    os.close(read)
    assert len(theirs) == 32
    assert theirs != random_name(16)
