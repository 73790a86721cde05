"""A conversation: messages that grow, and can be saved, loaded and forked."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from llm_client.codec import dump_message, load_message
from llm_client.errors import ConfigurationError
from llm_client.json_text import dumps, exact
from llm_client.messages import Message
from llm_client.tokens import checked_ratio

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationSummary:
    """A text that stands for the oldest messages when they no longer fit."""

    message: Message
    covers: tuple[Message, ...]


class Conversation:
    """The messages a person and an agent exchanged, without the agent's system message.

    Pass one to `Agent.run` and the run continues it; runs on the same conversation take turns. A run that fails leaves
    it as it was.

    Args:
        messages: What was said so far.
    """

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._messages = list(messages)
        self.summary: ConversationSummary | None = None
        """What a context window has noted about the oldest messages."""
        self.letters_per_token: float | None = None
        """What answers have taught about the size of its messages."""
        self.lock = asyncio.Lock()
        """Held by the run that extends the conversation."""

    @property
    def messages(self) -> Sequence[Message]:
        """All messages, oldest first."""
        return tuple(self._messages)

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages)

    def extend(self, messages: Iterable[Message]) -> None:
        """Add messages."""
        self._messages.extend(messages)

    def note_summary(self, message: Message, covers: Iterable[Message]) -> ConversationSummary:
        """Remember a summary of some messages, replacing an older one."""
        self.summary = ConversationSummary(message=message, covers=tuple(covers))
        return self.summary

    def fork(self) -> Conversation:
        """Return a copy that goes its own way."""
        copy = Conversation(self._messages)
        copy.summary = self.summary
        copy.letters_per_token = self.letters_per_token
        return copy

    def dump(self) -> bytes:
        """Return the conversation as JSON text."""
        data = {
            "format": FORMAT,
            "messages": [dump_message(message) for message in self._messages],
            "summary": self._dump_summary(),
            "letters_per_token": self.letters_per_token,
        }
        return dumps(data, default=str)

    def _dump_summary(self) -> dict[str, object] | None:
        if self.summary is None:
            return None
        covered = {id(message) for message in self.summary.covers}
        positions = [place for place, message in enumerate(self._messages) if id(message) in covered]
        return {"message": dump_message(self.summary.message), "covers": positions}

    @classmethod
    def parse(cls, text: bytes | str) -> Conversation:
        """Read what `dump` wrote.

        Raises:
            ConfigurationError: It is not a saved conversation.
        """
        try:
            data = exact(orjson.loads(text), text)
            if data["format"] > FORMAT:
                raise ConfigurationError(
                    f"the conversation has format {data['format']}; this version reads {FORMAT}"
                )
            conversation = cls(load_message(entry) for entry in data["messages"])
            taught = data.get("letters_per_token")
            conversation.letters_per_token = None if taught is None else checked_ratio(taught)
            summary = data.get("summary")
            if summary is not None:
                covers = [conversation.messages[position] for position in summary["covers"]]
                conversation.note_summary(load_message(summary["message"]), covers)
        except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
            raise ConfigurationError("this is not a saved conversation") from error
        return conversation

    async def save(self, path: str | Path) -> None:
        """Write the conversation to a file, all of it or nothing."""
        await asyncio.to_thread(_write, Path(path), self.dump())

    @classmethod
    async def load(cls, path: str | Path) -> Conversation:
        """Read a conversation from a file.

        Raises:
            ConfigurationError: The file is not a saved conversation.
        """
        return cls.parse(await asyncio.to_thread(Path(path).read_bytes))


def _write(path: Path, text: bytes) -> None:
    # Of a name that nobody could know before, so that none is there already that leads elsewhere.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
