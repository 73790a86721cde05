"""What a sweep reads to know the first due jobs where priority counts across scopes: little, and the right ones."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.storage.turns import ByPriority, Candidate
from agent_runtime.values.capacity import ScopeCaps


def lines(priorities: dict[str, list[int]]) -> dict[str, list[Candidate]]:
    """Return the jobs of each scope, in order."""
    return {
        scope_id: sorted(
            (
                Candidate(f"{scope_id}-{number:06}", each, scope_id, "default")
                for number, each in enumerate(all_of)
            ),
            key=in_order,
        )
        for scope_id, all_of in priorities.items()
    }


def in_order(job: Any) -> tuple[int, str]:
    return -job.priority, job.job_id


def planned(
    waiting: dict[str, list[Candidate]], caps: ScopeCaps, running: dict[str, int], limit: int
) -> tuple[list[str], int]:
    """Return what is found, and how many jobs were read for that."""
    plan, read = ByPriority(sorted(waiting), running, caps=caps, limit=limit), 0
    while plan.wanted:
        found = [job for scope_id, number in plan.wanted.items() for job in waiting[scope_id][:number]]
        read += len(found)
        plan.read(found)
    return [job.job_id for job in plan.first()], read


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.lists(st.integers(-3, 3), min_size=1, max_size=40)),
    st.integers(1, 30),
    st.none() | st.integers(0, 5),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 3)),
)
def test_the_most_urgent_jobs_are_found_of_whichever_scope(
    priorities: dict[str, list[int]], limit: int, cap: int | None, running: dict[str, int]
) -> None:
    waiting = lines(priorities)
    free = {
        one: len(line) if cap is None else max(0, cap - running.get(one, 0)) for one, line in waiting.items()
    }
    every = sorted((job for one, line in waiting.items() for job in line[: free[one]]), key=in_order)
    found, _ = planned(waiting, ScopeCaps(default=cap), running, limit)
    assert found == [job.job_id for job in every[:limit]]


def test_what_is_read_does_not_grow_with_the_jobs_that_wait() -> None:
    """All that waited were sorted, at every sweep."""
    waiting = lines({"loud": [number % 5 for number in range(50_000)], "quiet": [4] * 2_000, "small": [0, 9]})
    found, read = planned(waiting, ScopeCaps(), {}, 1_000)
    assert (len(found), found[0]) == (1_000, "small-000001")
    assert read < 6_000
    _, read = planned(waiting, ScopeCaps(default=3), {}, 1_000)
    assert read < 50
