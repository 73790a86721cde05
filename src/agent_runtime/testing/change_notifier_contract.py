"""What every `ChangeNotifier` must do. Subclass `ChangeNotifierContract` and supply the fixture `pair`.

The same suite judges LISTEN and NOTIFY of Postgres, and Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import pytest

from agent_runtime.ports.change_notifier import ChangeNotifier
from agent_runtime.ports.journal import RemoteChange
from agent_runtime.ports.live_channel import MAX_LIVE_BYTES

BOUND: Final = 20.0
"""Seconds after which a test that waits has failed."""
Pair = tuple[ChangeNotifier, ChangeNotifier]


class Ear:
    """Remembers what was heard, and lets a test wait for it."""

    def __init__(self) -> None:
        self.heard: list[RemoteChange] = []
        self.anything = 0
        self._arrived = asyncio.Event()

    def __call__(self, changes: Sequence[RemoteChange] | None) -> None:
        self.anything += changes is None
        self.heard += changes or ()
        self._arrived.set()

    async def hears(self, *changes: RemoteChange) -> None:
        """Wait until all of these were heard."""
        async with asyncio.timeout(BOUND):
            while not set(changes) <= set(self.heard):
                self._arrived.clear()
                await self._arrived.wait()

    async def hears_anything(self, times: int) -> None:
        """Wait until it was said so many times that anything may have happened."""
        async with asyncio.timeout(BOUND):
            while self.anything < times:
                self._arrived.clear()
                await self._arrived.wait()


class ChangeNotifierContract:
    """The suite. `pair` is what two processes of one database have, not started; the fixture stops them."""

    @pytest.fixture
    async def ears(self, pair: Pair) -> tuple[Ear, Ear]:
        """Start both, and wait until they listen."""
        ears = Ear(), Ear()
        for one, ear in zip(pair, ears, strict=True):
            one.start(ear)
        async with asyncio.timeout(BOUND):
            for one in pair:
                await one.listening.wait()
        return ears

    async def test_what_one_tells_the_other_hears_and_it_does_not_itself(
        self, pair: Pair, ears: tuple[Ear, Ear]
    ) -> None:
        kinds: list[RemoteChange] = [
            RemoteChange("created", "job-1"),
            RemoteChange("signalled", "job-1"),
            RemoteChange("appended", "job-1"),
            RemoteChange("timer", ""),
            RemoteChange("ended", "job-ü"),
        ]
        for change in kinds:
            pair[0].publish(change)
        await ears[1].hears(*kinds)
        pair[1].publish(RemoteChange("signalled", "job-2"))
        await ears[0].hears(RemoteChange("signalled", "job-2"))
        assert ears[0].heard == [RemoteChange("signalled", "job-2")]

    async def test_who_begins_to_listen_is_told_that_anything_may_have_happened(
        self, pair: Pair, ears: tuple[Ear, Ear]
    ) -> None:
        assert all(one.listening.is_set() for one in pair)
        for ear in ears:
            await ear.hears_anything(1)

    async def test_what_is_told_before_the_start_goes_out_after_it(self, pair: Pair) -> None:
        first, second = Ear(), Ear()
        pair[1].start(second)
        async with asyncio.timeout(BOUND):
            await pair[1].listening.wait()
        pair[0].publish(RemoteChange("ended", "early"))
        pair[0].start(first)
        await second.hears(RemoteChange("ended", "early"))

    async def test_more_than_fits_a_message_is_told_as_anything(
        self, pair: Pair, ears: tuple[Ear, Ear]
    ) -> None:
        before = ears[1].anything
        for number in range(20_000):
            pair[0].publish(RemoteChange("appended", f"job-{number:032}"))
        await ears[1].hears_anything(before + 1)

    async def test_a_job_with_a_name_that_no_message_can_carry_is_told_as_anything(
        self, pair: Pair, ears: tuple[Ear, Ear]
    ) -> None:
        before = ears[1].anything
        pair[0].publish(RemoteChange("signalled", "a job with spaces"))
        await ears[1].hears_anything(before + 1)

    async def test_growth_is_gathered(self, pair: Pair, ears: tuple[Ear, Ear]) -> None:
        for _ in range(100):
            pair[0].publish(RemoteChange("appended", "job-1"))
        pair[0].publish(RemoteChange("appended", "last"))
        await ears[1].hears(RemoteChange("appended", "last"))
        assert ears[1].heard.count(RemoteChange("appended", "job-1")) == 1

    async def test_what_passes_is_heard_by_others_alone_whole_and_is_no_change(
        self, pair: Pair, ears: tuple[Ear, Ear]
    ) -> None:
        said: tuple[asyncio.Queue[str], asyncio.Queue[str]] = asyncio.Queue(), asyncio.Queue()
        for one, words in zip(pair, said, strict=True):
            one.hear(words.put_nowait)
        texts = ["a text", "ein Wort – 日本\n", "x" * MAX_LIVE_BYTES]
        before = ears[1].anything
        for text in texts:
            await pair[0].say(text)
        pair[0].publish(RemoteChange("appended", "after"))
        await ears[1].hears(RemoteChange("appended", "after"))
        async with asyncio.timeout(BOUND):
            assert [await said[1].get() for _ in texts] == texts
        assert said[0].empty()
        assert (ears[1].anything, ears[1].heard) == (before, [RemoteChange("appended", "after")])

    async def test_what_was_told_last_still_goes_out_on_stop(self, pair: Pair, ears: tuple[Ear, Ear]) -> None:
        pair[0].publish(RemoteChange("appended", "late"))
        await pair[0].stop()
        await ears[1].hears(RemoteChange("appended", "late"))
        await pair[0].stop()

    async def test_one_that_has_stopped_hears_nothing_more(self, pair: Pair, ears: tuple[Ear, Ear]) -> None:
        await pair[1].stop()
        assert not pair[1].listening.is_set()
        heard = len(ears[1].heard)
        pair[0].publish(RemoteChange("signalled", "job-9"))
        await pair[0].stop()
        assert len(ears[1].heard) == heard
