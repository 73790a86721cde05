"""What the fields of a Chat Completions answer mean, for whole answers and for streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from llm_client.errors import InvalidResponse
from llm_client.messages import Citation, StreamEvent
from llm_client.providers.failures import Origin, failure_of_event
from llm_client.providers.kept import Kept
from llm_client.providers.openai.chat_finish import read_finish
from llm_client.providers.openai.thinking import ThinkingChunks
from llm_client.providers.openai.usage import read_usage, stated_usage
from llm_client.providers.response import ResponseDraft, object_in
from llm_client.providers.stated import index_of

_CARRIED = ("reasoning", "reasoning_content", "reasoning_details", "extra_content")
"""Fields in which servers say what they may want back with the answer."""

_WORDS: Final = frozenset({"reasoning", "reasoning_content"})
"""Those of them that hold a model's thoughts in words."""


class CarriedFields:
    """What a message or a stream says of the model's reasoning, in any of the servers' fields.

    Args:
        draft: The answer, which gets the reasoning as a block.
        names: Further fields that this server wants back.
    """

    def __init__(self, draft: ResponseDraft, names: Iterable[str] = ()) -> None:
        self._draft = draft
        self._names = tuple(dict.fromkeys((*_CARRIED, *names)))
        self._wanted = _WORDS.intersection(names)
        self._empty: set[str] = set()
        """Fields of words that this server wants back and has left empty."""
        self._fields: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._details: dict[str, _Details] = {}
        self.chunks = ThinkingChunks(draft)
        """Thoughts among the texts."""

    def take(self, message: object) -> list[StreamEvent]:
        """Take a message, or a piece of one."""
        message = object_in(message)
        for name in self._names:
            value = message.get(name)
            if name == "annotations" and isinstance(value, list):
                value = [each for each in value if not _is_page(each)]
            if value:
                self._join(name, value)
            elif name in self._wanted and name in message:
                self._empty.add(name)
        thought = message.get("reasoning_content") or message.get("reasoning")
        return self._draft.add_thought(thought, self) if isinstance(thought, str) and thought else []

    def end(self) -> None:
        """Put what has come with the reasoning."""
        self.chunks.end()
        fields = {
            **dict.fromkeys(sorted(self._empty), ""),
            **self._fields,
            **{name: "".join(pieces) for name, pieces in self._texts.items()},
            **{name: details.whole() for name, details in self._details.items()},
        }
        if fields:
            self._draft.note(fields, self, "reasoning")

    def _join(self, name: str, value: Any) -> None:
        """Take a field, or a piece of it: texts and lists grow, anything else takes the place of what was there."""
        kinds: tuple[dict[str, Any], ...] = (self._texts, self._details, self._fields)
        kind = kinds[0 if isinstance(value, str) else 1 if isinstance(value, list) else 2]
        for other in kinds:
            if other is not kind:
                other.pop(name, None)
        if isinstance(value, str):
            self._texts.setdefault(name, []).append(value)
        elif isinstance(value, list):
            details = self._details.setdefault(name, _Details(self._draft.kept))
            for detail in value:
                details.add(detail)
        else:
            self._draft.kept.update(self._fields, {name: value})


def _is_page(annotation: Any) -> bool:
    """Whether an annotation cites a page, which no server wants back; others hold what a server has read in a file."""
    return isinstance(annotation, Mapping) and annotation.get("type") == "url_citation"


def read_content(draft: ResponseDraft, carried: CarriedFields, content: object) -> list[StreamEvent]:
    """Take an answer's text and thoughts. Mistral's models answer with a list of both, and of references to what a tool has given."""
    if isinstance(content, str):
        return draft.add_text(content) if content else []
    events: list[StreamEvent] = []
    pieces: Any = content or ()
    thoughts = 0
    for part in pieces:
        if part.get("type") == "thinking":
            events += carried.chunks.take(part, is_next=thoughts > 0)
            thoughts += 1
        elif part.get("type") == "refusal":
            draft.add_refusal(part.get("refusal") or "")
        elif part.get("type") in ("text", "output_text"):
            events += draft.add_text(part.get("text") or "")
        elif part.get("type") == "reference":
            draft.cite(_references(part.get("reference_ids"), draft.length), block=False)
    return events


def _references(numbers: Any, place: int) -> Iterator[Citation]:
    """Yield what stands behind a place in the text: the numbers that the tool's result has given its sources (Mistral's page on citations)."""
    for number in numbers if isinstance(numbers, list) else ():
        if (document := index_of(number)) is not None:
            yield Citation(start=place, end=place, document=document)


def tool_calls(message: object) -> list[Mapping[str, Any]]:
    """Return the calls of a message or a piece of one; the oldest servers have one, in a field of its own."""
    message = object_in(message)
    calls = list(message.get("tool_calls") or ())
    return calls or ([{"function": message["function_call"]}] if message.get("function_call") else [])


def beside(call: Mapping[str, object]) -> dict[str, object]:
    """Return what a server has put beside a call and wants back, such as a signature of its thoughts."""
    known = ("id", "type", "index", "function")
    return {name: value for name, value in call.items() if name not in known and value not in (None, "")}


def check_choice(payload: object, origin: Origin, request_id: str | None) -> Mapping[str, Any]:
    """Return the first choice of an answer. Raises what it says went wrong, with the usage stated beside it."""
    payload = object_in(payload)
    choices = payload.get("choices")
    usage = read_usage(payload) if stated_usage(payload) else None
    if not choices:  # Gemini's chat interface leaves them out where it blocks a prompt
        raise InvalidResponse(
            f"{origin.provider} answered without any choice",
            status=200,
            provider=origin.provider,
            model=origin.model,
            request_id=request_id or payload.get("id"),
            usage=usage,
        )
    choice: Mapping[str, Any] = choices[0]
    if choice.get("error"):
        error = failure_of_event(choice, origin, request_id=request_id or payload.get("id"))
        error.usage = usage
        raise error
    return choice


def message_of(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a choice says; nothing, where it only says why it ended. Raises `KeyError` where it says neither."""
    message = choice.get("message")
    if message is None and read_finish(choice.get("finish_reason")) is None:
        raise KeyError("message")
    return object_in({} if message is None else message)


class _Details:
    """OpenRouter's pieces of reasoning, put together."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._blocks: list[Any] = []
        self._growing: dict[str, list[str]] = {}
        """Texts of the last block, by field."""

    def add(self, piece: Any) -> None:
        """Take a piece."""
        last = self._blocks[-1] if self._blocks else None
        if last is None or not _is_of(last, piece):
            self._end_block()
            self._kept.take(piece)
            self._blocks.append(dict(piece) if isinstance(piece, dict) else piece)
            return
        for name, value in piece.items():
            if name in ("text", "summary") and isinstance(value, str):
                self._growing.setdefault(name, [last.get(name) or ""]).append(value)
            elif value is not None:
                self._growing.pop(name, None)
                self._kept.update(last, {name: value})

    def whole(self) -> list[Any]:
        """Return the blocks."""
        self._end_block()
        return self._blocks

    def _end_block(self) -> None:
        for name, pieces in self._growing.items():
            self._blocks[-1][name] = "".join(pieces)
        self._growing.clear()


def _is_of(block: Any, piece: Any) -> bool:
    """Whether a piece goes on with a block: with the same index, type and id. What is encrypted comes whole, and under an id of its own if any.

    Gemini's signatures come one for each tool call, told apart by their ids alone.
    """
    if not (isinstance(block, dict) and isinstance(piece, dict)) or piece.get("index") is None:
        return False
    if any(block.get(name) != piece.get(name) for name in ("index", "type")):
        return False
    one, other = block.get("id"), piece.get("id")
    if block.get("data") and piece.get("data"):
        return one is not None and one == other
    return one is None or other is None or one == other
