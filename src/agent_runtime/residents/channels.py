"""What an agent has said, by whom it is meant for: its thoughts, what it says while it works, and its answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from llm_client.messages import Message, ReasoningPart


class Channel(StrEnum):
    """Whom a text is meant for."""

    ANALYSIS = "analysis"
    """The agent itself: what it has thought."""
    COMMENTARY = "commentary"
    """Who watches it work."""
    FINAL = "final"
    """Who has asked."""


@dataclass(frozen=True, slots=True)
class ChannelText:
    """A text and its channel."""

    channel: Channel
    text: str

    def to_json(self) -> dict[str, str]:
        """Return it as JSON values."""
        return {"channel": self.channel.value, "text": self.text}


_MARK: Final = re.compile(
    r"\[(?P<open>ANALYSIS|COMMENTARY|FINAL)\]"
    r"|\[/(?P<close>ANALYSIS|COMMENTARY|FINAL)\]"
    r"|(?:<\|start\|>[a-z]{1,20})?<\|channel\|>\s{0,8}(?P<harmony>analysis|commentary|final)\b[^<]{0,100}"
    r"(?:<\|constrain\|>[^<]{0,40})?<\|message\|>"
    r"|(?P<end><\|(?:end|return|call)\|>)"
)
"""Marks that models write into their text; the last two are those of OpenAI's Harmony format. Each repetition is bounded, so a text is read in
time that grows with its length alone."""
_HARMONY: Final = "harmony"


def channels_of(messages: Sequence[Message]) -> list[ChannelText]:
    """Return what a run has said, in order: thoughts, texts beside tool calls, and the last answer.

    Args:
        messages: Those of the run alone. Of its answers the last one is the final one.
    """
    answers = [message for message in messages if message.role == "assistant"]
    found: list[ChannelText] = []
    for message in answers:
        is_last = message is answers[-1] and not message.tool_calls
        if not isinstance(message.content, str):
            thoughts = (part.text for part in message.content if isinstance(part, ReasoningPart))
            found += (ChannelText(Channel.ANALYSIS, text.strip()) for text in thoughts if text.strip())
        found += split(message.text, Channel.FINAL if is_last else Channel.COMMENTARY)
    return found


def final_text(said: Iterable[ChannelText]) -> str:
    """Return what is meant for who has asked; where a model has marked everything as something else, its last text."""
    texts = list(said)
    final = [one.text for one in texts if one.channel is Channel.FINAL]
    if final:
        return "\n\n".join(final)
    return next((one.text for one in reversed(texts) if one.channel is Channel.COMMENTARY), "")


def split(text: str, channel: Channel) -> list[ChannelText]:
    """Return the parts of a text by their marks; what stands outside of any belongs to `channel`.

    No text is lost: a mark that was never closed holds to the end, and one that closes nothing is left standing.
    """
    reading = _Reading(channel)
    place = 0
    for mark in _MARK.finditer(text):
        reading.text.append(text[place : mark.start()])
        place = mark.end()
        if not reading.takes(mark):
            reading.text.append(mark[0])
    reading.text.append(text[place:])
    reading.flush()
    return reading.found


class _Reading:
    """One pass over a text: which marks are open, and the text since the last one."""

    def __init__(self, channel: Channel) -> None:
        self._outside = channel
        self._open: list[tuple[str, Channel]] = []
        self._kinds: Counter[str] = Counter()
        self.text: list[str] = []
        self.found: list[ChannelText] = []

    def takes(self, mark: re.Match[str]) -> bool:
        """Open or close what a mark says; return whether it did."""
        if mark["open"]:
            self._begin(mark["open"], Channel(mark["open"].lower()))
        elif mark["harmony"]:
            self._end(_HARMONY)  # its messages follow each other, and never stand inside each other
            self._begin(_HARMONY, Channel(mark["harmony"]))
        else:
            return self._end(mark["close"] or _HARMONY)
        return True

    def _begin(self, kind: str, channel: Channel) -> None:
        self.flush()
        self._open.append((kind, channel))
        self._kinds[kind] += 1

    def _end(self, kind: str) -> bool:
        """Close the newest mark of a kind, and those inside it that nobody has closed."""
        if not self._kinds[kind]:
            return False
        self.flush()
        closed = ""
        while closed != kind:
            closed, _ = self._open.pop()
            self._kinds[closed] -= 1
        return True

    def flush(self) -> None:
        """Give the text since the last mark to its channel."""
        text = "".join(self.text).strip()
        self.text.clear()
        if not text:
            return
        channel = self._open[-1][1] if self._open else self._outside
        if self.found and self.found[-1].channel is channel:
            text = f"{self.found.pop().text}\n{text}"
        self.found.append(ChannelText(channel, text))
