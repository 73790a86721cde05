"""Every vendor's provider keeps the promises of the port, over real connections, on either transport."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from llm_client.messages import ToolCall
from llm_client.providers.anthropic.provider import AnthropicProvider
from llm_client.providers.base import Provider
from llm_client.providers.google.provider import GoogleProvider
from llm_client.providers.openai.provider import OpenAIProvider
from llm_client.providers.transport.aiohttp import AiohttpTransport
from llm_client.testing.provider_contract import ProviderContract
from support.loopback import LoopbackServer, Received, Reply, json_reply, sse_reply
from support.wire import anthropic as anthropic_wire
from support.wire import data_events, named_events
from support.wire import google as google_wire
from support.wire import openai_chat as chat_wire
from support.wire import openai_responses as responses_wire

Calls = tuple[ToolCall, ...]


def halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


class VendorContract(ProviderContract):
    """The contract over a loopback server that speaks one vendor's format."""

    @abstractmethod
    def make(self, server: LoopbackServer) -> Provider: ...

    @abstractmethod
    def whole(self, text: str, calls: Calls) -> Any: ...

    @abstractmethod
    def streamed(self, text: str, calls: Calls) -> list[str]: ...

    def is_stream(self, request: Received) -> bool:
        return bool(request.json.get("stream"))

    @asynccontextmanager
    async def serving(self, answer: Reply | Callable[[Received], Reply]) -> AsyncIterator[Provider]:
        async with LoopbackServer(answer) as server:
            provider = self.make(server)
            try:
                yield provider
            finally:
                await provider.aclose()

    def answering(self, *, text: str = "", calls: Calls = ()) -> Any:
        def answer(request: Received) -> Reply:
            if self.is_stream(request):
                return sse_reply(*self.streamed(text, calls))
            return json_reply(self.whole(text, calls))

        return self.serving(answer)

    def failing(self) -> Any:
        return self.serving(json_reply({"error": {"message": "Slow down."}}, 429))

    def hanging(self) -> Any:
        return self.serving(Reply(pieces=("hang",), head=False))


class TestChatCompletions(VendorContract):
    def make(self, server: LoopbackServer) -> Provider:
        return OpenAIProvider("m", api_key="k", base_url=server.url, api="chat")

    def whole(self, text: str, calls: Calls) -> Any:
        return chat_wire.completion(
            {"content": text or None, "tool_calls": [self.call(i, call) for i, call in enumerate(calls)]},
            "tool_calls" if calls else "stop",
        )

    def streamed(self, text: str, calls: Calls) -> list[str]:
        chunks = [chat_wire.chunk({"content": piece}) for piece in halves(text) if piece]
        for index, call in enumerate(calls):
            whole = self.call(index, call)
            first, second = halves(whole["function"]["arguments"])
            start = {**whole, "function": {**whole["function"], "arguments": first}}
            chunks.append(chat_wire.chunk({"tool_calls": [start]}))
            chunks.append(
                chat_wire.chunk({"tool_calls": [{"index": index, "function": {"arguments": second}}]})
            )
        chunks += [
            chat_wire.chunk({}, "tool_calls" if calls else "stop"),
            chat_wire.chunk(None, usage=chat_wire.USAGE),
        ]
        return data_events(chunks, done=True)

    def call(self, index: int, call: ToolCall) -> dict[str, Any]:
        function = {"name": call.name, "arguments": json.dumps(call.arguments)}
        return {"index": index, "id": call.id, "type": "function", "function": function}


class TestChatCompletionsOnAiohttp(TestChatCompletions):
    @asynccontextmanager
    async def serving(self, answer: Reply | Callable[[Received], Reply]) -> AsyncIterator[Provider]:
        transport = AiohttpTransport()
        async with LoopbackServer(answer) as server:
            try:
                yield OpenAIProvider("m", api_key="k", base_url=server.url, api="chat", transport=transport)
            finally:
                await transport.aclose()


class TestResponses(VendorContract):
    def make(self, server: LoopbackServer) -> Provider:
        return OpenAIProvider("m", api_key="k", base_url=server.url, api="responses")

    def output(self, text: str, calls: Calls) -> list[dict[str, Any]]:
        content = [{"type": "output_text", "text": text, "annotations": []}]
        message = {**responses_wire.MESSAGE, "content": content}
        items = [
            {
                **responses_wire.CALLS[0],
                "call_id": call.id,
                "name": call.name,
                "arguments": json.dumps(call.arguments),
            }
            for call in calls
        ]
        return [*([message] if text else []), *items]

    def whole(self, text: str, calls: Calls) -> Any:
        return responses_wire.response(self.output(text, calls))

    def streamed(self, text: str, calls: Calls) -> list[str]:
        events: list[dict[str, Any]] = []
        for index, item in enumerate(self.output(text, calls)):
            place = {"item_id": item["id"], "output_index": index}
            if item["type"] == "message":
                kind, pieces, start = "response.output_text.delta", halves(text), {**item, "content": []}
            else:
                kind, pieces = "response.function_call_arguments.delta", halves(item["arguments"])
                start = {**item, "arguments": ""}
            events.append({"type": "response.output_item.added", "output_index": index, "item": start})
            events += [{"type": kind, **place, "content_index": 0, "delta": piece} for piece in pieces]
            events.append({"type": "response.output_item.done", "output_index": index, "item": item})
        events.append({"type": "response.completed", "response": self.whole(text, calls)})
        return named_events(responses_wire.numbered(*events))


class TestMessages(VendorContract):
    def make(self, server: LoopbackServer) -> Provider:
        return AnthropicProvider("m", api_key="k", base_url=server.url)

    def whole(self, text: str, calls: Calls) -> Any:
        content = [{"type": "text", "text": text}] if text else []
        content += [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.arguments} for c in calls]
        return anthropic_wire.message(content, "tool_use" if calls else "end_turn")

    def streamed(self, text: str, calls: Calls) -> list[str]:
        events: list[dict[str, Any]] = [anthropic_wire.TEXT_STREAM[0]]
        for index, block in enumerate(self.whole(text, calls)["content"]):
            if block["type"] == "text":
                start = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": piece} for piece in halves(text)]
            else:
                start = {**block, "input": {}}
                pieces = halves(json.dumps(block["input"]))
                deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
            events.append({"type": "content_block_start", "index": index, "content_block": start})
            events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
            events.append({"type": "content_block_stop", "index": index})
        end = anthropic_wire.TOOL_STREAM if calls else anthropic_wire.TEXT_STREAM
        return named_events([*events, *end[-2:]])


class TestGenerateContent(VendorContract):
    def make(self, server: LoopbackServer) -> Provider:
        return GoogleProvider("m", api_key="k", base_url=server.url)

    def is_stream(self, request: Received) -> bool:
        return "streamGenerateContent" in request.target

    def whole(self, text: str, calls: Calls) -> Any:
        parts = [{"functionCall": {"name": call.name, "args": call.arguments}} for call in calls]
        return google_wire.answer([{"text": text}] if text else parts)

    def streamed(self, text: str, calls: Calls) -> list[str]:
        chunks = [google_wire.answer([{"text": piece}], None) for piece in halves(text) if piece]
        return data_events([*chunks, self.whole("", calls)])
