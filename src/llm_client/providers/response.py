"""A model's answer while it is being put together from a vendor's pieces."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final, Literal

from llm_client.json_text import HalfWaits, whole_value
from llm_client.messages import (
    CallPart,
    Citation,
    CompletionResult,
    FinishReason,
    MediaPart,
    Part,
    ReasoningPart,
    RefusalPart,
    StreamEvent,
    TextPart,
    TokenLogprob,
    ToolCall,
)
from llm_client.providers.kept import Kept
from llm_client.providers.tool_calls import CallAssembler, OpenCall, written
from llm_client.spec import MAX_MODEL_NAME
from llm_client.usage import Usage

_MOST: Final = 2**50
"""More tokens than anybody has; a few of such numbers together are still exact everywhere."""
MAX_BLOCKS: Final = 10_000
"""Texts, thoughts, calls and media of one answer, and pieces of one event: going through more holds everybody up. An answer has some dozens."""
MAX_CALLS: Final = 5_000
"""Calls that are put together; they are compared with each other."""
_MAX_ID: Final = 512
"""Characters of a request's id; vendors' have some dozens."""
_MAX_NAME: Final = 256
"""Characters of a name by which a model calls a tool: four times as many as any tool's name has. What is longer is no tool's, cut or not."""

_BROKEN: Final = frozenset({"length", "content_filter", "error", "malformed_call"})
"""Reasons of answers that are not whole."""

MAX_LOGPROBS: Final = 100_000
"""Tokens of one answer of which is kept how likely they were."""
MAX_CITATIONS: Final = 5_000
"""Of one answer; further ones are still in what goes back to the vendor."""


@dataclass(slots=True)
class _Writing:
    """A text, a refusal or a thought that grows."""

    kind: Literal["text", "refusal", "reasoning"]
    pieces: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    half: HalfWaits = field(default_factory=HalfWaits)

    def part(self, provider: str) -> Part | None:
        text, data = "".join(self.pieces), whole_value(self.data)
        if not text and not data:
            return None
        if self.kind == "text":
            return TextPart(text=text, provider=provider if data else "", data=data)
        if self.kind == "refusal":
            return RefusalPart(text=text, provider=provider if data else "", data=data)
        return ReasoningPart(provider=provider, text=text, data=data)


@dataclass(slots=True)
class _Call:
    open: OpenCall


_Slot = _Writing | _Call | MediaPart | ReasoningPart


@dataclass(slots=True, kw_only=True)
class ResponseDraft:
    """Collects an answer block by block, in the vendor's order, and says each step of it as `StreamEvent`s."""

    provider: str
    model: str
    request_id: str | None = None
    refusal: list[str] = field(default_factory=list)
    """Words of a refusal that stand beside the answer's blocks."""
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    finish_message: str | None = None
    calls: CallAssembler = field(default_factory=CallAssembler)
    kept: Kept = field(default_factory=Kept)
    """Counts what readers keep beside texts and arguments."""
    _logprobs: list[TokenLogprob] = field(default_factory=list)
    pieces: int = 0
    """Pieces that have come at once: with an event of a stream, or in a whole answer."""
    length: int = 0
    """Characters of the text that has come."""
    _cited: list[tuple[_Writing | None, Citation]] = field(default_factory=list)
    _slots: list[_Slot] = field(default_factory=list)
    _writing: dict[Hashable, _Writing] = field(default_factory=dict)
    _keyed: dict[Hashable, OpenCall] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text that has come."""
        return "".join(
            "".join(slot.pieces) for slot in self._slots if isinstance(slot, _Writing) and slot.kind == "text"
        )

    def begin(self, kind: Literal["text", "refusal", "reasoning"], key: Hashable, **data: object) -> None:
        """Begin a block of text that is known by a key."""
        self._add(slot := _Writing(kind, data=data))
        self._writing[key] = slot

    def add_text(self, text: str, key: Hashable = None) -> list[StreamEvent]:
        """Take a piece of text: of the block with this key, without one of the block that is open."""
        return self._write("text", text, key)

    def add_refusal(self, text: str, key: Hashable = None) -> list[StreamEvent]:
        """Take a piece of a refusal, which is no token of the answer."""
        self._write("refusal", text, key)
        return []

    def add_thought(self, text: str, key: Hashable = None) -> list[StreamEvent]:
        """Take a piece of reasoning."""
        return self._write("reasoning", text, key)

    def note(
        self, data: Mapping[str, object], key: Hashable = None, kind: Literal["text", "reasoning"] = "text"
    ) -> None:
        """Keep what the vendor wants back with a block of text."""
        slot = self._slot(kind, key)
        slot.data.update(data)

    def cite(self, citations: Iterable[Citation | None], key: Hashable = None, *, block: bool = True) -> None:
        """Keep what passages rest on, as many as an answer may have; further ones are not even read.

        Args:
            citations: Their positions are those in their block; of one without any, the block is the passage.
            key: The block of text.
            block: Whether they are about a block of text; else their positions are those in the whole answer.
        """
        room = MAX_CITATIONS - len(self._cited)
        if room > 0:
            read = filter(None, islice(citations, 2 * MAX_CITATIONS))  # some may be none
            slot = self._slot("text", key) if block else None
            self._cited += [(slot, citation) for citation in islice(read, room)]

    def say_how_likely(self, told: Iterable[TokenLogprob | None]) -> None:
        """Keep how likely tokens were, as many as an answer may have; further ones are not even read."""
        room = MAX_LOGPROBS - len(self._logprobs)
        self._logprobs += filter(None, islice(told, room))

    def end_block(self) -> None:
        """Let the next piece begin a block of its own."""
        self._writing.pop(None, None)

    def is_last(self, key: Hashable) -> bool:
        """Whether a block of text that is known by a key is the last of what has come."""
        return key in self._writing and self._slots[-1] is self._writing[key]

    def add_part(self, part: MediaPart | ReasoningPart) -> list[StreamEvent]:
        """Take a whole block."""
        self.end_block()
        self._add(part)
        return []

    def open_call(self, key: Hashable, call_id: str, name: str, signature: str | None = None) -> StreamEvent:
        """Begin a tool call; `key` tells it from the others of this answer."""
        check_text(name)
        check_text(call_id or "")
        call = self.calls.open(call_id, name, signature=signature)
        self._keyed[key] = call
        self._place(call)
        return self.calls.announce(call)

    def call_piece(
        self, *, index: object, call_id: str, name: str, arguments: object
    ) -> tuple[OpenCall, list[StreamEvent]]:
        """Take a piece of a tool call in whatever dialect, and return the call that it belongs to."""
        check_text(name)
        check_text(call_id)
        before = len(self.calls.calls)
        call, events = self.calls.take(index=index, call_id=call_id, name=name, arguments=arguments)
        if len(self.calls.calls) > before:
            self._place(call)
        return call, events

    def add_arguments(self, key: Hashable, fragment: object) -> list[StreamEvent]:
        """Take a piece of a tool call's JSON arguments, or all of them as an object."""
        return self.calls.add(self._keyed[key], written(fragment))

    def set_arguments(self, key: Hashable, arguments: object) -> None:
        """Replace the pieces of a tool call's arguments by the whole of them, where the vendor repeats it."""
        if arguments is not None:
            self._keyed[key].fragments[:] = [written(arguments)]

    def keep_with_call(self, key: Hashable, data: Mapping[str, object]) -> None:
        """Keep what the vendor wants back with a tool call."""
        self._keyed[key].data.update(data)

    def close_call(self, key: Hashable) -> list[StreamEvent]:
        """End a tool call, whose arguments are now complete."""
        return self.calls.close(self._keyed[key])

    def call_id(self, key: Hashable) -> str:
        """The id of a tool call that has begun."""
        return self._keyed[key].stub.id

    @property
    def begun_calls(self) -> int:
        """How many tool calls have begun, those without a name as well."""
        return len(self.calls.calls)

    def has_call(self, key: Hashable) -> bool:
        """Whether a tool call with this key has begun."""
        return key in self._keyed

    @property
    def has_reopened_calls(self) -> bool:
        """Whether a call went on behind what was taken for its end."""
        return self.calls.has_reopened

    def close_open_calls(self) -> list[StreamEvent]:
        """End every tool call that has not ended yet, and every text that waits for the other half of a character."""
        return [*self._rests(), *self.calls.close_all()]

    def end(self, reason: FinishReason | None) -> None:
        """Take why the answer ended; that it was cut, refused or failed is not taken back by a word that says it was whole."""
        if reason is not None and (self.finish_reason not in _BROKEN or reason in _BROKEN):
            self.finish_reason = reason

    def result(self, *, partial: bool = False) -> CompletionResult:
        """Return what has been collected. A partial answer leaves out tool calls that are still being written."""
        self._rests()
        parts: list[Part] = []
        calls: list[ToolCall] = []
        for slot in self._slots:
            if isinstance(slot, _Writing):
                part = slot.part(self.provider)
                if part is not None:
                    parts.append(part)
            elif not isinstance(slot, _Call):
                parts.append(slot)
            elif not partial or slot.open.closed is not None:
                calls.append(self.calls.finish(slot.open))
                data = whole_value(slot.open.data)
                parts.append(
                    CallPart(call_id=calls[-1].id, provider=self.provider if data else "", data=data)
                )
        refusal = "".join(self.refusal) or "".join(
            part.text for part in parts if isinstance(part, RefusalPart)
        )
        return CompletionResult(
            content="".join(part.text for part in parts if isinstance(part, TextPart)),
            tool_calls=tuple(calls),
            usage=self.usage or Usage(requests=1),
            reasoning=tuple(part for part in parts if isinstance(part, ReasoningPart)),
            finish_reason=self._finish(tuple(calls), partial=partial),
            finish_message=self.finish_message,
            model=self.model,
            provider=self.provider,
            request_id=self.request_id,
            refusal=refusal or None,
            citations=self._citations(),
            logprobs=tuple(self._logprobs),
            parts=() if _is_plain(parts) else tuple(parts),
        )

    def _finish(self, calls: tuple[ToolCall, ...], *, partial: bool) -> FinishReason:
        """Return why the answer ended. Where nobody says it, one whose call lacks arguments was cut: the tool would run with its defaults.

        A call whose arguments are a whole object lacks nothing, and some servers never give a reason.
        """
        if (
            self.finish_reason is None
            and not partial
            and not all(call.is_whole() for call in self.calls.calls)
        ):
            return "length"
        return finish_reason(self.finish_reason, calls, partial=partial)

    def _citations(self) -> tuple[Citation, ...]:
        """Return what was cited, with positions in the whole answer."""
        if not self._cited:
            return ()
        bounds: dict[int, tuple[int, int]] = {}
        position = 0
        for slot in self._slots:
            if isinstance(slot, _Writing) and slot.kind == "text":
                begin, position = position, position + sum(map(len, slot.pieces))
                bounds[id(slot)] = begin, position
        return tuple(
            citation if slot is None else _moved(citation, *bounds[id(slot)])
            for slot, citation in self._cited
        )

    def _write(
        self, kind: Literal["text", "refusal", "reasoning"], text: str, key: Hashable
    ) -> list[StreamEvent]:
        check_text(text)
        self.pieces += 1
        if self.pieces > MAX_BLOCKS:
            raise ValueError(f"more than {MAX_BLOCKS} pieces at once")
        slot = self._slot(kind, key)
        shown = slot.half.take(text)
        if not shown:
            return []
        slot.pieces.append(shown)
        self.length += len(shown) if kind == "text" else 0
        return [StreamEvent(type="token" if kind == "text" else "reasoning", text=shown)]

    def _slot(self, kind: Literal["text", "refusal", "reasoning"], key: Hashable) -> _Writing:
        slot = self._writing.get(key)
        if slot is None or slot.kind != kind:
            self.begin(kind, key)
            slot = self._writing[key]
        return slot

    def _place(self, call: OpenCall) -> None:
        self.end_block()
        self._add(_Call(call))
        if len(self.calls.calls) > MAX_CALLS:
            raise ValueError(f"more than {MAX_CALLS} tool calls")

    def _add(self, slot: _Slot) -> None:
        self._slots.append(slot)
        if len(self._slots) > MAX_BLOCKS:
            raise ValueError(f"more than {MAX_BLOCKS} blocks")

    def _rests(self) -> list[StreamEvent]:
        events = []
        for slot in self._slots:
            if isinstance(slot, _Writing) and (rest := slot.half.rest()):
                slot.pieces.append(rest)
                if slot.kind != "refusal":
                    events.append(
                        StreamEvent(type="token" if slot.kind == "text" else "reasoning", text=rest)
                    )
        return events


def _moved(citation: Citation, begin: int, end: int) -> Citation:
    """Return a citation of a block of text as one of the whole answer."""
    if citation.start is None or citation.end is None:
        return replace(citation, start=begin, end=end)
    return replace(citation, start=min(begin + citation.start, end), end=min(begin + citation.end, end))


def _is_plain(parts: Sequence[Part]) -> bool:
    """Whether reasoning, one text and tool calls stand one after the other, with nothing to go back with them."""
    ranks = {ReasoningPart: 0, TextPart: 1, CallPart: 2}
    order = [ranks.get(type(part), -1) for part in parts]
    return (
        order == sorted(order)
        and -1 not in order
        and order.count(1) <= 1
        and not any(part.data for part in parts if isinstance(part, TextPart | CallPart))
    )


def finish_reason(
    stated: FinishReason | None, calls: tuple[ToolCall, ...], *, partial: bool = False
) -> FinishReason:
    """Return why an answer ended; several servers say `stop` when they mean tool calls."""
    if partial:
        return stated or "error"
    if calls and stated in (None, "stop"):
        return "tool_calls"
    return stated or "stop"


def events_of(result: CompletionResult) -> list[StreamEvent]:
    """Return a whole answer as the events of a stream, for vendors that answered a stream request at once."""
    events = [StreamEvent(type="reasoning", text=part.text) for part in result.reasoning if part.text]
    if result.content:
        events.append(StreamEvent(type="token", text=result.content))
    for call in result.tool_calls:
        events.append(StreamEvent(type="tool_call_start", tool_call=ToolCall(call.id, call.name)))
        events.append(StreamEvent(type="tool_call_end", tool_call=call))
    events.append(StreamEvent(type="usage", usage=result.usage))
    return events


def merge_extra(body: dict[str, Any], extra: Any) -> dict[str, Any]:
    """Put a request's `extra` fields into a vendor's body; objects are merged, everything else is replaced."""
    for key, value in extra.items():
        present = body.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            merge_extra(present, value)
        else:
            body[key] = value
    return body


def whole_number(value: object) -> int:
    """Return a token count, 0 where a vendor left it out; one that cannot be meant is cut to what every storage holds."""
    return min(int(value), _MOST) if isinstance(value, int | float) and value > 0 else 0


def object_in(value: object) -> Mapping[str, Any]:
    """Return a JSON object of a vendor's; nobody has looked at what is in it. Raises `TypeError` for anything else."""
    if type(value) is dict or isinstance(value, Mapping):  # which of both is told in no time
        return value
    raise TypeError(f"an object was expected, not {type(value).__name__}")


def part_of(usage: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return the details of this name in a usage; nothing where there are none, or no object."""
    part = usage.get(name)
    return part if isinstance(part, Mapping) else {}


def check_text(value: object) -> None:
    """Refuse what is no text where a vendor's format has one. Raises `TypeError`."""
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not {type(value).__name__}")


def well_formed(result: CompletionResult, asked: str) -> CompletionResult:
    """Return an answer whose fields are what they say they are: a vendor may have written anything anywhere.

    An id or a model's name that is no text, or a very long one, says nothing, and is left out; a tool's name that is too long for one is cut; of what the answer itself is made, all must be right.

    Args:
        result: What was read.
        asked: The model that was asked.

    Raises:
        TypeError: Something is no text that has to be one.
    """
    texts = [result.content, *(part.text for part in result.reasoning)]
    texts += [text for call in result.tool_calls for text in (call.id, call.name)]
    perhaps = [result.refusal, *(call.signature for call in result.tool_calls)]
    for text in (*texts, *(text for text in perhaps if text is not None)):
        check_text(text)
    if any(len(call.name) > _MAX_NAME for call in result.tool_calls):
        named = (replace(call, name=call.name[:_MAX_NAME]) for call in result.tool_calls)
        result = replace(result, tool_calls=tuple(named))
    model: object = result.model
    request_id: object = result.request_id
    if not isinstance(model, str) or len(model) > MAX_MODEL_NAME:
        result = replace(result, model=asked)
    if not isinstance(request_id, str | None) or len(request_id or "") > _MAX_ID:
        result = replace(result, request_id=None)
    return result
