"""A page that speaks AG-UI: every event is read with the protocol's own models, and a run is looked at by a validator that is not ours."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
from ag_ui.core import Event, RunAgentInput
from ag_ui_validate import ValidatorOptions
from ag_ui_validate.transport import TransportOptions, validate_body
from pydantic import TypeAdapter

from support.service import frames

EVENT: TypeAdapter[Any] = TypeAdapter(Event)


class Page:
    """A conversation as a page has it: what it sends, and what has come of it."""

    def __init__(self, client: httpx2.AsyncClient, operator: str = "agent", thread: str = "thread-1") -> None:
        self.client = client
        self.operator = operator
        self.thread = thread
        self.messages: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        """Of the last run."""

    def say(self, text: str) -> None:
        self.messages.append({"id": f"user-{len(self.messages)}", "role": "user", "content": text})

    def body(self, run: str, **more: Any) -> dict[str, Any]:
        asked = {"threadId": self.thread, "runId": run, "messages": self.messages, **more}
        RunAgentInput.model_validate(asked)
        return asked

    async def run(self, run: str, *, leave_after: float | None = None, **more: Any) -> list[dict[str, Any]]:
        """Ask for a run, and follow it to its end or for so many seconds. Return its events."""
        self.events = []
        try:
            async with (
                asyncio.timeout(leave_after),
                self.client.stream(
                    "POST", f"/v1/ag-ui/{self.operator}", json=self.body(run, **more)
                ) as response,
            ):
                assert response.status_code == 200, await response.aread()
                assert response.headers["content-type"].startswith("text/event-stream")
                async for frame in frames(response):
                    if frame.data is not None:
                        self._take(frame.data)
        except TimeoutError:
            return self.events
        await valid(self.events, goes_on="resume" in more)
        return self.events

    def _take(self, event: dict[str, Any]) -> None:
        read = EVENT.validate_python(event)
        assert not read.model_extra, f"{event} has fields that the protocol does not know"
        self.events.append(event)
        match event["type"]:
            case "TEXT_MESSAGE_START":
                if self.message(event["messageId"]) is None:
                    self.messages.append({"id": event["messageId"], "role": "assistant", "content": ""})
            case "TEXT_MESSAGE_CONTENT":
                message = self.message(event["messageId"])
                assert message is not None
                message["content"] += event["delta"]
            case "TOOL_CALL_START":
                message = self.message(event["parentMessageId"])
                if message is None:
                    message = {"id": event["parentMessageId"], "role": "assistant"}
                    self.messages.append(message)
                function = {"name": event["toolCallName"], "arguments": ""}
                calls = message.setdefault("toolCalls", [])
                calls.append({"id": event["toolCallId"], "type": "function", "function": function})
            case "TOOL_CALL_ARGS":
                self._call(event["toolCallId"])["arguments"] += event["delta"]
            case "TOOL_CALL_RESULT":
                said = {"toolCallId": event["toolCallId"], "content": event["content"]}
                self.messages.append({"id": event["messageId"], "role": "tool", **said})
            case "MESSAGES_SNAPSHOT":
                told = {message["id"]: dict(message) for message in event["messages"]}
                kept = [told[message["id"]] for message in self.messages if message["id"] in told]
                known = {message["id"] for message in kept}
                self.messages = kept + [message for name, message in told.items() if name not in known]

    def message(self, message_id: str) -> dict[str, Any] | None:
        return next((message for message in self.messages if message["id"] == message_id), None)

    def _call(self, call_id: str) -> dict[str, Any]:
        calls = [call for message in self.messages for call in message.get("toolCalls", ())]
        found: dict[str, Any] = next(call["function"] for call in calls if call["id"] == call_id)
        return found

    @property
    def texts(self) -> list[str]:
        """What the agent has said."""
        return [
            str(each["content"])
            for each in self.messages
            if each["role"] == "assistant" and each.get("content")
        ]

    @property
    def types(self) -> list[str]:
        return [str(event["type"]) for event in self.events]

    @property
    def outcome(self) -> dict[str, Any]:
        assert self.events[-1]["type"] == "RUN_FINISHED", self.events[-1]
        told: dict[str, Any] = self.events[-1]["outcome"]
        return told


async def valid(events: list[dict[str, Any]], *, goes_on: bool = False) -> None:
    """Have a validator of the protocol look at a run that has ended.

    It looks at one run alone. In one that goes on with an answer, the result is that of a call which the run before has told of; so the
    protocol has it, in "Tool-bound interrupts".
    """

    async def body() -> Any:
        for event in events:
            yield f"data: {json.dumps(event)}\n\n".encode()

    options = TransportOptions(
        validator=ValidatorOptions(severity_overrides={"AGUI207": "off"} if goes_on else {})
    )
    result = await validate_body(body(), "text/event-stream", options)
    found = [each for each in result.report.diagnostics if each.severity != "info"]
    assert not found, found
