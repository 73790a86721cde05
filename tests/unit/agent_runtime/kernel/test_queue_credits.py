"""What a process was granted of a queue's room: how long it counts, and for how many scopes it is remembered."""

from contextlib import AsyncExitStack

from agent_runtime.kernel.queue_credits import EXACT_ROOM, GRANT_SECONDS, MOST_SCOPES, QueueCredits
from agent_runtime.ports.clock import SystemClock
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.clock import FakeClock
from agent_runtime.testing.examples import job
from agent_runtime.values.capacity import QueueBounds

LARGE = QueueBounds(per_scope=100_000)


class Counted(MemoryStorage):
    """Remembers whose queue was counted."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[str] = []

    async def count_waiting(self, scope_id: str, *, most: int) -> int:
        self.counted.append(scope_id)
        return await super().count_waiting(scope_id, most=most)


async def submit(room: QueueCredits, scope_id: str) -> None:
    async with room.admitted(job(scope_id=scope_id), LARGE) as left:
        assert left == QueueBounds()


async def test_places_that_were_not_taken_in_time_are_counted_again() -> None:
    """Others may have filled the queue meanwhile."""
    storage, clock = Counted(), FakeClock()
    room = QueueCredits(storage, clock)
    for seconds in (0.0, GRANT_SECONDS - 1, 2.0):
        clock.move(seconds=seconds)
        await submit(room, "a")
    assert storage.counted == ["a", "a"]


async def test_a_flood_of_scopes_is_not_remembered_and_the_newest_are() -> None:
    storage = Counted()
    room = QueueCredits(storage, SystemClock())
    scopes = [f"scope {number}" for number in range(MOST_SCOPES + 10)]
    for scope in scopes:
        await submit(room, scope)
    storage.counted.clear()
    for scope in (scopes[-1], scopes[0], scopes[20]):
        await submit(room, scope)
    assert storage.counted == [scopes[0]]
    assert len(room._grants) == MOST_SCOPES


async def test_a_bound_over_all_scopes_is_left_to_the_commit() -> None:
    room = QueueCredits(Counted(), SystemClock())
    async with room.admitted(job(), QueueBounds(total=5, per_scope=100_000)) as left:
        assert left == QueueBounds(total=5)


async def test_submissions_on_their_way_take_room_though_nobody_can_count_them_yet() -> None:
    room, bounds = QueueCredits(Counted(), SystemClock()), QueueBounds(per_scope=EXACT_ROOM + 500)
    async with AsyncExitStack() as on_their_way:
        left = [await on_their_way.enter_async_context(room.admitted(job(), bounds)) for _ in range(3_000)]
    assert sum(one == QueueBounds() for one in left) < 500 + EXACT_ROOM
    assert left[-1] == bounds  # the commit counts
