"""Following a job to its end, whoever executes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from agent_runtime.cli.output.printable import say_text
from agent_runtime.errors import StorageError
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType

if TYPE_CHECKING:
    from agent_runtime.cli.backends.backend import Followed
    from agent_runtime.cli.output.narrator import Narrator
    from agent_runtime.cli.questions import Questions

_SETTLED = frozenset(
    {RuntimeEventType.ACTION_RESOLVED, RuntimeEventType.ACTION_EXPIRED, RuntimeEventType.ACTION_CANCELLED}
)

Begin = Callable[[], None]
See = Callable[[RuntimeEvent], Awaitable[None]]


async def follow(
    handle: Followed,
    narrator: Narrator,
    questions: Questions,
    *,
    after_seq: int = 0,
    begin: Begin | None = None,
    see: See | None = None,
) -> None:
    """Tell a job's events and put its questions until it has ended, or is blocked.

    Args:
        handle: The job.
        narrator: Tells the events.
        questions: Puts the questions.
        after_seq: Events up to here are known.
        begin: Lets the job be executed; called when somebody listens, so that not a word of the model is missed.
        see: Is shown each event before the questions are.

    Raises:
        JobBlocked: Somebody has to mend something first.
        StorageError: What the job does can no longer be stored. Its newest answer may be known to nobody but the narrator.
    """
    try:
        for action in await handle.get_pending_actions():
            questions.ask(action.action_id)
        async for event in handle.events(max(0, after_seq - 1)):  # one that is known: it says that we listen
            if begin is not None:
                begin()
                begin = None
            if event.seq is not None and event.seq <= after_seq:
                continue
            narrator.tell(event)
            if see is not None:
                await see(event)
            if event.type == RuntimeEventType.JOB_WARNING and event.seq is None:
                raise StorageError(event.data["message"])
            if event.type == RuntimeEventType.JOB_BLOCKED:
                await handle.check_blocked()
            if event.type == RuntimeEventType.ACTION_REQUIRED:
                questions.ask(event.data["action_id"])
            elif event.type in _SETTLED and "action_id" in event.data:
                questions.settled(event.data["action_id"])
    finally:
        await questions.close()


def print_unstored(narrator: Narrator) -> None:
    """Print what a model has said and no journal holds: it was paid for."""
    if not narrator.heard:
        return
    if narrator.spoken != narrator.heard:
        say_text(narrator.heard)
    narrator.line("this is what the model had said; it could not be stored")
