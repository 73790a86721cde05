"""What every `SignalChannel` must do. Subclass `SignalChannelContract` and supply the fixture `ends`.

The same suite judges memory and Redis.
"""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from agent_runtime.actions.manager import ActionManager
from agent_runtime.errors import ContentTooLarge, StorageClosed
from agent_runtime.ports.ids import new_id
from agent_runtime.ports.signals import SignalChannel, SignalMessage
from agent_runtime.storage.memory.stores import InMemoryActionStore
from agent_runtime.testing.examples import NOW
from agent_runtime.values.action import ActionSpec
from llm_client.json_text import JsonObject

BOUND: Final = 20.0
"""Seconds after which a test that waits has failed."""
Ends = tuple[SignalChannel, SignalChannel]


def message(
    action_id: str,
    *,
    status: str = "resolved",
    resolution: JsonObject | None = None,
    error: str | None = None,
) -> SignalMessage:
    """Return a signal that an action was resolved, or has ended in another way."""
    return SignalMessage(
        action_id=action_id, status=status, resolution=resolution, timestamp=NOW, error=error
    )


class SignalChannelContract:
    """The suite. `ends` is the channel as two processes have it, not started; of one process, twice the same."""

    async def test_a_signal_reaches_who_waits_as_it_was_sent(self, ends: Ends) -> None:
        here, there = ends
        await here.start()
        await there.start()
        action_id = new_id("act")
        sent = message(action_id, resolution={"value": "ü \x00", "list": [1, None, True]}, error="none")
        waiting = asyncio.ensure_future(here.wait(action_id, timeout=BOUND))
        await asyncio.sleep(0)
        await there.signal(action_id, sent, "job-1")
        assert await waiting == sent

    async def test_waiting_starts_the_channel(self, ends: Ends) -> None:
        here, there = ends
        action_id = new_id("act")
        waiting = asyncio.ensure_future(here.wait(action_id, timeout=BOUND))
        await asyncio.sleep(0)
        await there.signal(action_id, message(action_id))
        assert (await waiting).action_id == action_id

    async def test_who_comes_late_gets_the_last_signal(self, ends: Ends) -> None:
        here, there = ends
        action_id = new_id("act")
        await there.signal(action_id, message(action_id, status="cancelled"))
        await there.signal(action_id, message(action_id, status="expired"))
        assert (await here.wait(action_id, timeout=BOUND)).status == "expired"
        assert (await here.wait(action_id, timeout=BOUND)).status == "expired"

    async def test_no_signal_falls_between_looking_and_listening(self, ends: Ends) -> None:
        here, there = ends
        for _ in range(200):
            action_id = new_id("act")
            waited, _ = await asyncio.gather(
                here.wait(action_id, timeout=BOUND), there.signal(action_id, message(action_id))
            )
            assert waited.action_id == action_id

    async def test_one_that_gives_up_does_not_deafen_the_others(self, ends: Ends) -> None:
        here, there = ends
        await here.start()
        action_id = new_id("act")
        waiting = [asyncio.ensure_future(here.wait(action_id, timeout=BOUND)) for _ in range(10)]
        await asyncio.sleep(0)
        for one in waiting[:5]:
            one.cancel()
        await asyncio.gather(*waiting[:5], return_exceptions=True)
        with pytest.raises(TimeoutError):
            await here.wait(action_id, timeout=0.01)
        await there.signal(action_id, message(action_id))
        assert {one.action_id for one in await asyncio.gather(*waiting[5:])} == {action_id}

    async def test_signals_of_other_actions_are_not_heard(self, ends: Ends) -> None:
        here, there = ends
        mine, other = new_id("act"), new_id("act")
        waiting = asyncio.ensure_future(here.wait(mine, timeout=BOUND))
        await asyncio.sleep(0)
        await there.signal(other, message(other), "job-1")
        assert (await here.wait(other, timeout=BOUND)).action_id == other
        assert not waiting.done()
        await there.signal(mine, message(mine), "job-1")
        assert (await waiting).action_id == mine

    async def test_the_first_of_several_ends_a_wait_for_any(self, ends: Ends) -> None:
        here, there = ends
        ids = [new_id("act") for _ in range(3)]
        waiting = asyncio.ensure_future(here.wait_any(ids, timeout=BOUND))
        await asyncio.sleep(0)
        await there.signal(ids[2], message(ids[2]))
        assert (await waiting).action_id == ids[2]
        await there.signal(ids[0], message(ids[0]))
        assert (await here.wait_any(ids[:2], timeout=BOUND)).action_id == ids[0]

    async def test_a_wait_ends_with_its_time(self, ends: Ends) -> None:
        with pytest.raises(TimeoutError):
            await ends[0].wait(new_id("act"), timeout=0.05)

    async def test_a_wait_ends_with_its_time_whatever_it_was_doing(self, ends: Ends) -> None:
        await ends[0].start()
        action_id = new_id("act")
        for hundredths_of_milliseconds in range(300):
            async with asyncio.timeout(BOUND):
                with pytest.raises(TimeoutError):
                    await ends[0].wait(action_id, timeout=hundredths_of_milliseconds / 100_000)

    async def test_a_stop_ends_every_wait_and_a_start_begins_anew(self, ends: Ends) -> None:
        here, there = ends
        await here.start()
        await here.start()
        action_id = new_id("act")
        waiting = asyncio.ensure_future(here.wait(action_id, timeout=BOUND))
        await asyncio.sleep(0.05)
        await here.stop()
        await here.stop()
        with pytest.raises(StorageClosed):
            await waiting
        await here.start()
        await there.signal(action_id, message(action_id))
        assert (await here.wait(action_id, timeout=BOUND)).action_id == action_id

    async def test_a_signal_that_is_too_long_is_refused(self, ends: Ends) -> None:
        with pytest.raises(ContentTooLarge):
            await ends[0].signal("act-1", message("act-1", resolution={"value": "x" * 100_000}))

    async def test_managers_in_two_processes_wait_and_answer_through_it(self, ends: Ends) -> None:
        store = InMemoryActionStore()
        asking, answering = (ActionManager(store, signal_channel=end) for end in ends)
        actions = [await asking.require_action(ActionSpec(type="input")) for _ in range(50)]
        waiting = [
            asyncio.ensure_future(asking.wait_for_resolution(one.action_id, timeout=BOUND)) for one in actions
        ]
        for number, one in enumerate(actions):
            await answering.resolve(one.resume_token or "", {"value": number}, "ann")
        answers = await asyncio.gather(*waiting)
        assert [(one.resolution or {})["value"] for one in answers] == list(range(50))
