"""The collector of a worker's process: it looks seldom, and afterwards all is as it was."""

import gc
from collections.abc import Iterator

import pytest

from agent_runtime.worker.garbage import YOUNG, few_collections


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_young_objects_are_looked_at_seldom_and_old_ones_not_at_all() -> None:
    gc.set_threshold(700, 10, 10)
    with few_collections():
        assert gc.get_threshold() == (YOUNG, 10, 10)
        assert gc.get_freeze_count() > 1_000
    assert gc.get_threshold() == (700, 10, 10)
    assert gc.get_freeze_count() == 0


def test_what_somebody_has_set_higher_or_turned_off_stays_so() -> None:
    for young in (50_000, 0):
        gc.set_threshold(young, 20, 30)
        with few_collections():
            assert gc.get_threshold() == (young, 20, 30)
