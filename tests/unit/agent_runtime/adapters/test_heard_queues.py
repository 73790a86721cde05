"""A worker that serves all queues listens to a bounded number of them at once, and comes to all."""

from agent_runtime.adapters.heard_queues import DEFAULT_QUEUE, MAX_QUEUES, TAKEN_UP, HeardQueues


def test_queues_that_are_named_are_those_that_are_served() -> None:
    heard = HeardQueues(["b", "a"])
    assert (list(heard), heard.serves_all) == (["b", "a"], False)
    assert len(list(HeardQueues([f"q{number}" for number in range(3 * MAX_QUEUES)]))) == 3 * MAX_QUEUES


def test_of_those_that_are_found_only_the_last_are_kept_and_the_default_one_always() -> None:
    """Each name that somebody gives to a queue was kept for ever, with a channel of the server's for each operator."""
    heard = HeardQueues([])
    for number in range(3 * MAX_QUEUES):
        heard.take_up([f"q{number}"])
    assert list(heard) == [
        DEFAULT_QUEUE,
        *(f"q{number}" for number in range(2 * MAX_QUEUES + 1, 3 * MAX_QUEUES)),
    ]


def test_where_too_many_have_jobs_each_has_its_turn() -> None:
    heard, waiting = HeardQueues([]), {f"q{number:04}" for number in range(5 * MAX_QUEUES)}
    come_to: set[str] = set()
    for _ in range(6):
        known = set(heard)
        others = sorted(waiting - known)
        behind = [name for name in others if name > heard.after]
        heard.take_up([*behind, *(name for name in others if name <= heard.after)][:TAKEN_UP])
        assert len(list(heard)) <= MAX_QUEUES
        come_to |= set(heard)
    assert come_to - {DEFAULT_QUEUE} == waiting
    heard.take_up(["later"])
    assert heard.after == ""
