"""A model server that costs next to nothing: fixed answers in OpenAI's and Anthropic's formats, on a free port.

Prints its port and serves until its standard input is closed.
"""

import asyncio
import json
import sys

CHUNKS = 1000
WORDS = [f" word{number}" for number in range(CHUNKS)]
"""All different: LiteLLM takes a repeated chunk for a model that has got stuck."""

OPENAI_USAGE = {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}
MESSAGE = {"role": "assistant", "content": "It is a fine day.", "refusal": None}
CHOICE = {"index": 0, "message": MESSAGE, "finish_reason": "stop"}
OPENAI = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1763700000,
    "model": "gpt-5.2",
    "choices": [CHOICE],
    "usage": OPENAI_USAGE,
}
ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-6",
    "content": [{"type": "text", "text": "It is a fine day."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 20, "output_tokens": 9},
}


def openai_events() -> list[bytes]:
    """Return a stream of a thousand one-word deltas."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1763700000, "model": "gpt-5.2"}

    def chunk(delta: dict[str, str], reason: str | None = None) -> dict[str, object]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None}

    payloads: list[object] = [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": word}) for word in WORDS),
    ]
    payloads += [chunk({}, "stop"), {**head, "choices": [], "usage": OPENAI_USAGE}]
    return [b"data: %b\n\n" % json.dumps(payload).encode() for payload in payloads] + [b"data: [DONE]\n\n"]


def anthropic_events() -> list[bytes]:
    """Return the same stream in Anthropic's format."""
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        for word in WORDS
    ]
    payloads: list[dict[str, object]] = [
        {"type": "message_start", "message": {**ANTHROPIC, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": CHUNKS},
        },
        {"type": "message_stop"},
    ]
    return [f"event: {p['type']}\ndata: {json.dumps(p)}\n\n".encode() for p in payloads]


def whole(payload: object) -> bytes:
    """Return a whole answer as it goes over the wire."""
    body = json.dumps(payload).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
WHOLE = {b"/v1/chat/completions": whole(OPENAI), b"/v1/messages": whole(ANTHROPIC)}
WHOLE[b"/json/v1/chat/completions"] = whole(
    {**OPENAI, "choices": [{**CHOICE, "message": {**MESSAGE, "content": '{"answer": "It is a fine day."}'}}]}
)
TAKEN = whole({})
"""For whoever reports something: on all other paths."""
STREAMS = {
    path: [STREAM_HEAD, *(b"%x\r\n%b\r\n" % (len(event), event) for event in events), b"0\r\n\r\n"]
    for path, events in ((b"/v1/chat/completions", openai_events()), (b"/v1/messages", anthropic_events()))
}


class Connection(asyncio.Protocol):
    """One client's connection: answers each request as soon as its body is complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            path = head.split(b" ", 2)[1].partition(b"?")[0]
            if path in STREAMS and (b'"stream":true' in body or b'"stream": true' in body):
                for piece in STREAMS[path]:
                    self._transport.write(piece)
            else:
                self._transport.write(WHOLE.get(path, TAKEN))


async def main() -> None:
    """Serve until nobody holds our standard input any more."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
