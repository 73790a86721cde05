"""Tests that share an `xdist_group` run on one worker, whatever pytest and pytest-xdist think of each other's insides."""

import os

import pytest

from support.distribution import Places


@pytest.mark.xdist_group("one worker")
@pytest.mark.parametrize("number", range(8))
def test_those_of_a_group_run_on_one_worker(number: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "alone")
    workers = tmp_path_factory.getbasetemp().parent / f"workers-{run}"
    with workers.open("a") as seen:
        print(os.environ.get("PYTEST_XDIST_WORKER", "alone"), file=seen)

    assert len(set(workers.read_text().split())) == 1


def test_a_test_is_found_where_the_list_has_it() -> None:
    names = Places(["a", "b@group", "c[1]"])
    assert [names.index(name) for name in names] == [0, 1, 2]
    assert names == ["a", "b@group", "c[1]"]
