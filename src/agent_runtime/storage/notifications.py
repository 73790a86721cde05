"""What a process has to announce to others: gathered, written as short texts, and sent by whatever carries them.

Several changes go out as one text. Whenever something could not be said – the text would be too long, the carrier failed
– others are told that anything may have happened, and look for themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from agent_runtime.ports.change_notifier import OnChange
from agent_runtime.ports.ids import new_id
from agent_runtime.ports.journal import ChangeKind, RemoteChange
from agent_runtime.ports.live_channel import MAX_LIVE_BYTES, OnText
from llm_client.background import BackgroundLoop, Backoff
from llm_client.logs import logger_of

logger = logger_of(__name__)

GATHER_SECONDS: Final = 0.02
"""How long the growth of journals is gathered before it is announced. Wake-ups go out at once."""
RETRY_SECONDS: Final = 1.0
_KINDS: Final[Mapping[str, ChangeKind]] = {
    "c": "created", "w": "signalled", "g": "appended", "e": "ended", "t": "timer", "a": "agent",
}  # fmt: skip
_LETTERS: Final = {kind: letter for letter, kind in _KINDS.items()}
_EVERYTHING: Final = "*"
_LIVE: Final = "~"
"""Begins a text that is no change: what passes, and is not to be found anywhere later."""
_MAX_SENDER: Final = 64


class Notifications:
    """Gathers changes and sends them.

    Args:
        send: Carries one text to the other processes.
        failures: What `send` raises when it cannot.
        max_bytes: Length of the longest text it carries.
    """

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        *,
        failures: tuple[type[BaseException], ...],
        max_bytes: int,
    ) -> None:
        self._send_text = send
        self._failures = failures
        self._max_bytes = max_bytes
        self._sender = new_id("s")
        self._on_live: OnText | None = None
        self._words: dict[str, None] = {}
        self._length = 0
        self._urgent = False
        self._loop = BackgroundLoop(
            self._send,
            name="announcing changes",
            logger=logger,
            failures=failures,
            backoff=Backoff(RETRY_SECONDS, RETRY_SECONDS),
        )

    def publish(self, change: RemoteChange) -> None:
        """Announce a change, soon."""
        word = _LETTERS[change.kind] + change.job_id
        if " " in word:
            word = _EVERYTHING
        if _EVERYTHING not in self._words and word not in self._words:
            self._words[word] = None
            self._length += len(word.encode()) + 1
            if word == _EVERYTHING or len(self._sender) + self._length > self._max_bytes:
                self._words = {_EVERYTHING: None}
        self._urgent |= change.kind != "appended"
        self._loop.start()
        self._loop.wake()

    def hear(self, on_text: OnText) -> None:
        """Pass on what others say that is no change."""
        self._on_live = on_text

    async def say(self, text: str) -> None:
        """Say something that is no change, at once. Raises what `send` raises."""
        await self._send_text(f"{_LIVE}{self._sender} {text}")

    async def stop(self) -> None:
        """Send what is left, once. Who tells something later begins anew."""
        await self._loop.stop()
        try:
            await self.flush()
        except self._failures as error:
            logger.debug("the last changes could not be announced: %s", type(error).__name__)

    async def _send(self) -> None:
        """Send until there is nothing to send. What cannot be sent others find by looking."""
        while self._words:
            if not self._urgent:
                await asyncio.sleep(GATHER_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Send what there is. When that fails, what comes next is said to be anything."""
        words, self._words, self._length = self._words, {}, 0
        self._urgent = False
        if not words:
            return
        try:
            await self._send_text(" ".join((self._sender, *words)))
        except BaseException:  # also when cancelled: nobody knows whether it has gone out
            self._words = {_EVERYTHING: None}
            self._urgent = True
            raise

    def read(self, text: str, on_change: OnChange) -> None:
        """Pass on what a text says, unless it is our own. One that is longer than any that is sent is not looked at."""
        if text.startswith(_LIVE) and len(text) <= MAX_LIVE_BYTES + _MAX_SENDER:
            sender, _, said = text[1:].partition(" ")
            if sender != self._sender and self._on_live is not None:
                self._on_live(said)
            return
        if len(text) > self._max_bytes:
            on_change(None)
            return
        sender, *words = text.split(" ")
        if sender == self._sender:
            return
        if _EVERYTHING in words:
            on_change(None)
            return
        changes: Sequence[RemoteChange] = [
            RemoteChange(_KINDS[word[0]], word[1:]) for word in words if word[:1] in _KINDS
        ]
        if changes:
            on_change(changes)
