"""The conversation's values: messages, their parts, tool calls, results and stream events."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeGuard

from llm_client.extra_fields import BESIDE_CALLS, BESIDE_TEXTS, OF_THOUGHTS, foreign_fields
from llm_client.usage import Usage

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal[
    "stop", "length", "tool_calls", "content_filter", "pause", "malformed_call", "error", "other"
]
"""`pause`: the vendor wants the turn to go on; `malformed_call`: it could not read the tool call that the model wrote."""
StreamEventType = Literal[
    "token", "reasoning", "tool_call_start", "tool_call_delta", "tool_call_end", "server_tool_start", "server_tool_end", "usage",
    "meta", "done",
]  # fmt: skip


MAX_PIXELS: Final = 100_000
"""Of one side of an image; what is declared to be longer has no size that costs could be reckoned from."""


def _is_length(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_PIXELS


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to call a tool.

    `arguments` is the decoded JSON object. When the model wrote something that is not a JSON object, it is
    empty and `malformed` holds the text as it came, so that the model can be told.
    """

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    malformed: str | None = None
    signature: str | None = None
    """Opaque vendor data that must travel back with the call (Google's thought signature)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """Text inside a message of several parts."""

    text: str
    cache: bool = False
    """Ask the vendor to cache the prompt up to and including this part, where it has such a control."""
    provider: str = ""
    """The vendor whose `data` this is."""
    data: dict[str, Any] = field(default_factory=dict)
    """What the vendor wants back with the text (ids, signatures), opaque to everybody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPart:
    """An image, a sound or a file: by URL, as base64 data with its media type, or by the id it has at a vendor."""

    media_type: str
    """MIME type such as `image/png`, `audio/wav` or `application/pdf`."""
    url: str | None = None
    data: str | None = None
    """Base64, without a `data:` prefix."""
    file_id: str | None = None
    """The vendor's id of a file that was uploaded to it; `provider` says whose, where a conversation may go to several."""
    name: str | None = None
    width: int | None = None
    """Pixels; declared sizes bound what an image can cost, unless it is named by an id."""
    height: int | None = None
    cache: bool = False
    cite: bool = False
    """Ask the vendor to cite it, where it has such a control."""
    provider: str = ""
    """The vendor that made it, whose `vendor_data` this is, and whose `file_id`."""
    vendor_data: dict[str, Any] = field(default_factory=dict)
    """What the vendor wants back with the medium (signatures), opaque to everybody else."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height, where both are declared and can be those of an image: whoever sends messages writes them."""
        if _is_length(self.width) and _is_length(self.height):
            return self.width, self.height
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningPart:
    """A vendor's own block – reasoning, the work of its tools – carried back to it unchanged in later turns."""

    provider: str
    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    """The vendor's own block (signature, encrypted content, id), opaque to everybody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalPart:
    """The model's words where it refused, in a place of the answer that a vendor marks as such."""

    text: str
    provider: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    """What the vendor wants back with it, opaque to everybody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPart:
    """The place of a tool call among the other parts of an answer; the call itself is in `tool_calls`."""

    call_id: str
    provider: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    """What the vendor wants back with the call (its own id, a namespace), opaque to everybody else."""


Part = TextPart | MediaPart | ReasoningPart | RefusalPart | CallPart


def foreign_data(part: Part) -> Mapping[str, object]:
    """Return what a part is said to carry for its vendor, and that no vendor is known to put there."""
    if isinstance(part, MediaPart):
        return part.vendor_data
    if not part.data:
        return {}
    if isinstance(part, ReasoningPart):
        return foreign_fields(part.data, OF_THOUGHTS)
    return foreign_fields(part.data, BESIDE_CALLS if isinstance(part, CallPart) else BESIDE_TEXTS)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. `content` is text or a list of parts."""

    role: Role
    content: str | tuple[Part, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @classmethod
    def system(cls, content: str | Sequence[Part]) -> Message:
        """Build an instruction to the model."""
        return cls("system", _parts(content))

    @classmethod
    def user(cls, content: str | Sequence[Part]) -> Message:
        """Build what the person says."""
        return cls("user", _parts(content))

    @classmethod
    def assistant(cls, content: str | Sequence[Part] = "", tool_calls: Sequence[ToolCall] = ()) -> Message:
        """Build what the model said."""
        return cls("assistant", _parts(content), tuple(tool_calls))

    @classmethod
    def tool(cls, content: str | Sequence[Part], tool_call_id: str, name: str | None = None) -> Message:
        """Build the answer to a tool call."""
        return cls("tool", _parts(content), tool_call_id=tool_call_id, name=name)

    @property
    def text(self) -> str:
        """The text of the message, without media and reasoning."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))


def _parts(content: str | Sequence[Part]) -> str | tuple[Part, ...]:
    return content if isinstance(content, str) else tuple(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """What a passage of an answer rests on: a page, a file, or a document of the request."""

    start: int | None = None
    """The passage is `content[start:end]` of the answer; `None` where the vendor names a source and no passage."""
    end: int | None = None
    url: str | None = None
    title: str | None = None
    """The page's or the document's."""
    quote: str | None = None
    """The source's own words."""
    file_id: str | None = None
    """The vendor's id of the file."""
    document: int | None = None
    """Which of the request's documents, or of a tool's results, counted as the vendor does: from 0."""
    pages: tuple[int, int] | None = None
    """The first and the last of the pages, counted from 1."""


class TokenLogprob(NamedTuple):
    """How likely a token of an answer was. An answer has thousands of them: a tuple is made several times as fast as another value."""

    token: str
    logprob: float
    """Natural logarithm of its probability."""
    alternatives: tuple[tuple[str, float], ...] = ()
    """The likeliest tokens at its place, with theirs; it may be among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionResult:
    """A model's whole answer."""

    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    reasoning: tuple[ReasoningPart, ...] = ()
    finish_reason: FinishReason = "stop"
    model: str = ""
    """The model that answered, as the vendor names it."""
    provider: str = ""
    request_id: str | None = None
    finish_message: str | None = None
    """The vendor's own words for why the answer ended (Google's `finishMessage`)."""
    refusal: str | None = None
    """The model's own words when it refused, where the vendor marks a refusal."""
    cached: bool = False
    """Whether the answer came from this client's cache and cost nothing."""
    saved: Usage | None = None
    """What the answer had cost when it was first given, if it came from the cache."""

    vectors: Sequence[Sequence[float]] = ()
    """One per text, when embeddings were asked for."""

    citations: tuple[Citation, ...] = ()
    """What the answer rests on, as far as the vendor says so."""

    logprobs: tuple[TokenLogprob, ...] = ()
    """How likely each token of the answer was, when that was asked for."""

    parts: tuple[Part, ...] = ()
    """The answer in the vendor's order and with its boundaries, where `reasoning`, `content` and `tool_calls`, one after
    the other, are not all there is to say. It counts as long as they still say the same."""

    @property
    def is_empty(self) -> bool:
        """Whether the model has said nothing: no text, no medium, no tool call and no refusal; it may have thought."""
        return not (self.content.strip() or self.tool_calls or self.refusal or self.vectors or self.media)

    @property
    def media(self) -> tuple[MediaPart, ...]:
        """The pictures, sounds and files that the model has made."""
        return tuple(part for part in self.parts if isinstance(part, MediaPart))

    def message(self) -> Message:
        """Return the assistant message that continues the conversation."""
        if self.parts and self._is_unchanged():
            return Message("assistant", self.parts, self.tool_calls)
        refusal = (RefusalPart(text=self.refusal),) if self.refusal and not self.content else ()
        if not self.reasoning and not refusal:
            return Message("assistant", self.content, self.tool_calls)
        text: tuple[Part, ...] = (TextPart(text=self.content),) if self.content else ()
        return Message("assistant", (*self.reasoning, *text, *refusal), self.tool_calls)

    def _is_unchanged(self) -> bool:
        """Whether nobody has changed what the answer says since it came."""
        return (
            "".join(part.text for part in self.parts if isinstance(part, TextPart)) == self.content
            and [part.call_id for part in self.parts if isinstance(part, CallPart)]
            == [call.id for call in self.tool_calls]
            and tuple(part for part in self.parts if isinstance(part, ReasoningPart)) == self.reasoning
        )


class Embeddings(list[list[float]]):
    """One vector per text, in their order, and what they have cost.

    Numbers are single precision, as vendors compute them.
    """

    def __init__(
        self, vectors: Iterable[Sequence[float]] = (), *, model: str = "", usage: Usage | None = None
    ) -> None:
        rounded = vectors if isinstance(vectors, Embeddings) else (list(array("f", one)) for one in vectors)
        super().__init__(rounded)
        self.model = model
        """The model that answered, as the vendor names it."""
        self.usage = usage or Usage()
        """Tokens read; estimated where the vendor does not tell."""

    @classmethod
    def of(cls, vectors: list[list[float]]) -> Embeddings:
        """Return vectors as embeddings; plain lists cost nobody knows what."""
        return vectors if isinstance(vectors, Embeddings) else cls(vectors)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEvent:
    """One event of a streamed answer; the last one is `done` and carries the whole result.

    `server_tool_start` and `server_tool_end` tell of tools that run at the vendor; their `tool_call` has the arguments as far as the
    vendor has said them by then. `meta` events come from agents: `text` is `turn_start` or `tool_result`, `tool_call` the call it belongs to.
    """

    type: StreamEventType
    text: str = ""
    tool_call: ToolCall | None = None
    usage: Usage | None = None
    result: Any = None
    """On `done`: the `CompletionResult` of an engine's stream, the `AgentResult` of an agent's."""
