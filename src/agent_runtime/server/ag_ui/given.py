"""What a page sends to have an agent run: a conversation, and what goes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

from orjson import JSONDecodeError
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from agent_runtime.client.model_bounds import MAX_MESSAGES, at_most
from agent_runtime.errors import InvalidInput
from agent_runtime.kernel.request import ExecutionRequest
from agent_runtime.server.access import Caller
from llm_client.codec import check_message
from llm_client.json_text import dumps, loads
from llm_client.messages import MediaPart, Message, Part, TextPart, ToolCall

MAX_RESUMED: Final = 100
"""Answers in one request."""
_MEDIA: Final = frozenset({"image", "audio", "video", "document"})
_UNSAID: Final = frozenset({"reasoning", "activity"})
"""Messages that are shown, and told to no model."""


class _Given(BaseModel):
    """What a page sends. What is not known here is left out: the protocol grows."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class ResumeEntry(_Given):
    """What somebody says to a question that ended a run before."""

    interrupt_id: str = Field(max_length=600)
    status: Literal["resolved", "cancelled"]
    payload: Any = None


class RunAgentInput(_Given):
    """A run that a page asks for, as AG-UI 1.0 has it."""

    thread_id: str = Field(min_length=1, max_length=512, description="The conversation.")
    run_id: str = Field(
        min_length=1, max_length=512, description="A second request with it follows the same job."
    )
    parent_run_id: str | None = None
    state: Any = None
    messages: Annotated[list[Any], at_most(MAX_MESSAGES, "messages")] = Field(
        description="The conversation so far."
    )
    tools: list[Any] | None = None
    context: list[Any] | None = None
    forwarded_props: Any = None
    resume: Annotated[list[ResumeEntry], at_most(MAX_RESUMED, "answers")] | None = Field(
        default=None, description="Answers to the questions that ended a run before, whose job goes on."
    )


class Run:
    """One run: what was asked, and the ids of what it tells.

    Args:
        operator: Who runs.
        given: What was asked.
    """

    def __init__(self, operator: str, given: RunAgentInput) -> None:
        self.operator = operator
        self.given = given
        said = dumps([operator, given.thread_id, given.run_id])
        self.key = f"ag-ui:{sha256(said).hexdigest()}"
        self.mark = f"run-{self.key[6:26]}"
        """What all ids of messages of this run begin with."""
        own = self._is_own
        self.messages = [message for message in given.messages if not own(message)]
        """The conversation before the run: a page that comes back may send what the run has told it by then."""
        self.comes_back = len(self.messages) < len(given.messages)

    def _is_own(self, message: object) -> bool:
        return isinstance(message, Mapping) and str(message.get("id")).startswith(f"{self.mark}:")

    def request(self, caller: Caller, scope_id: str | None, traceparent: str | None) -> ExecutionRequest:
        """Return the job that is asked for. Raises `InvalidInput`."""
        given = self.given
        beside = given.model_dump(
            include={"thread_id", "run_id", "parent_run_id", "state", "tools", "context", "forwarded_props"}
        )
        return ExecutionRequest(
            operator=self.operator,
            input={name: value for name, value in beside.items() if value is not None},
            messages=messages_of(self.messages),
            scope_id=caller.acts_in(scope_id),
            principal_id=caller.acts_for(None),
            session_id=given.thread_id,
            idempotency_key=self.key,
            traceparent=traceparent,
        )


def messages_of(told: Sequence[object]) -> list[Message]:
    """Return a conversation as the runtime knows it. Raises `InvalidInput`, which names the message."""
    messages = []
    for number, each in enumerate(told):
        try:
            message = _message(each)
            if message is not None:
                check_message(message)
                messages.append(message)
        except (InvalidInput, TypeError, KeyError, AttributeError, JSONDecodeError):
            raise InvalidInput(f"messages.{number} is no message of AG-UI that is known here") from None
    return messages


def _message(told: Any) -> Message | None:
    role = told["role"]
    if role in _UNSAID:
        return None
    content = _content(told.get("content"))
    match role:
        case "user":
            return Message.user(content)
        case "assistant":
            return Message.assistant(content, [_call(each) for each in told.get("toolCalls") or ()])
        case "tool":
            return Message.tool(content, told["toolCallId"])
        case "system" | "developer":
            return Message.system(content)
    raise InvalidInput("the role is unknown")


def _content(said: Any) -> str | list[Part]:
    if said is None:
        return ""
    return said if isinstance(said, str) else [_part(each) for each in said]


def _part(told: Any) -> Part:
    if told["type"] == "text":
        return TextPart(text=told["text"])
    source = told["source"]
    kind, value, media_type = source["type"], source["value"], source.get("mimeType")
    if told["type"] not in _MEDIA or not isinstance(media_type, str):
        raise InvalidInput("a medium names its type")
    match kind:
        case "url":
            return MediaPart(media_type=media_type, url=value)
        case "data":
            return MediaPart(media_type=media_type, data=value)
        case "file":
            return MediaPart(media_type=media_type, file_id=value, provider=source.get("provider") or "")
    raise InvalidInput("the source is unknown")


def _call(told: Any) -> ToolCall:
    function = told["function"]
    arguments = loads(function["arguments"] or "{}")
    if not isinstance(arguments, dict):
        raise InvalidInput("arguments are an object")
    return ToolCall(told["id"], function["name"], arguments)
