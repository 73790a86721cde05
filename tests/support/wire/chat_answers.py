"""Shapes of answers of Chat Completions and its dialects: what came, and what may go back (the same, where nothing is said)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]


def said(words: str | list[Message] | None, **fields: Any) -> Message:
    return {"role": "assistant", "content": words, **fields}


def call(call_id: str, name: str = "look", arguments: str = "{}", **fields: Any) -> Message:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}, **fields}


def called(*calls: Message, **fields: Any) -> Message:
    return said(None, tool_calls=list(calls), **fields)


SIGNED = {"google": {"thought_signature": "c2ln"}}
DETAILS = [{"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "index": 0}]
TWO_DETAILS = [
    {"type": "reasoning.text", "text": "hm", "index": 0},
    *({**each, "index": 1} for each in DETAILS),
]

SOUND = {"id": "audio_1", "data": "UklGRiQAAABXQVZF", "expires_at": 1764500000, "transcript": "Yes, indeed."}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/webp;base64,UklGRg=="}}
PAGE = {
    "type": "url_citation",
    "url_citation": {"url": "https://k.example", "title": "K", "start_index": 0, "end_index": 4},
}
READ_FILE = {
    "type": "file",
    "file": {"hash": "h", "name": "a.pdf", "content": [{"type": "text", "text": "K"}]},
}


def thinking(words: str, **fields: Any) -> Message:
    return {"type": "thinking", "thinking": [{"type": "text", "text": words}], **fields}


def text(words: str) -> Message:
    return {"type": "text", "text": words}


REFERRED = {"type": "tool_reference", "tool": "web_search", "title": "K", "url": "https://k.example"}

SHAPES: dict[str, Message | tuple[Message, Message | None]] = {
    "a text": said("Yes."),
    "an empty text": (said(""), None),
    "nothing": (said(None), None),
    "a blank text": said(" "),
    "letters of all kinds": said("Grüße 🎉 你好"),
    "a text list": (said([text("Yes.")]), said("Yes.")),
    "thinking": said([thinking("hm", closed=True), text("Yes.")]),
    "thinking that is signed": said([thinking("hm", closed=True, signature="gAAA"), text("Yes.")]),
    "thinking without a word on its end": said([thinking("hm"), text("Yes.")]),
    "thinking that refers to what a tool gave": said(
        [
            thinking("hm", closed=True, thinking=[text("h"), REFERRED, text("m")]),
            text("Yes."),
        ]
    ),
    "thinking and a call": said([thinking("hm", closed=True)], tool_calls=[call("a")]),
    "thinking, text and a call": said([thinking("hm", closed=True), text("I look.")], tool_calls=[call("a")]),
    "thinking between texts": said(
        [text("One."), thinking("hm", closed=True), text("Two."), thinking("so", closed=True), text("Three.")]
    ),
    "thinking at the end": (said([text("Yes."), thinking("hm", closed=False)]), said("Yes.")),
    "thinking alone": (said([thinking("hm", closed=False)]), None),
    "empty thinking": said([thinking("", closed=True, thinking=[]), text("Yes.")]),
    "reasoning": said("Yes.", reasoning="hm"),
    "reasoning content": said("Yes.", reasoning_content="hm"),
    "reasoning under both names": said("Yes.", reasoning="hm", reasoning_content="hm"),
    "reasoning details": said("Yes.", reasoning_details=DETAILS),
    "two reasoning details": said("Yes.", reasoning_details=TWO_DETAILS),
    "reasoning and its details": said("Yes.", reasoning="hm", reasoning_details=DETAILS),
    "reasoning alone": said("", reasoning="hm"),
    "reasoning and a call": called(call("a"), reasoning="hm"),
    "reasoning content and a call": called(call("a"), reasoning_content="hm"),
    "reasoning details and a call": called(call("a"), reasoning_details=DETAILS),
    "a field that is the server's own": said("Yes.", chain_of_thought="hm"),
    "empty reasoning": (said("Yes.", reasoning=""), said("Yes.")),
    "null reasoning": (said("Yes.", reasoning_content=None), said("Yes.")),
    "a signature of the text": said("Yes.", extra_content=SIGNED),
    "a signature of a call": called(call("a", extra_content=SIGNED)),
    "a signature of one of two calls": called(call("a", extra_content=SIGNED), call("b")),
    "signatures of both": said("Yes.", tool_calls=[call("a", extra_content=SIGNED)], extra_content=SIGNED),
    "a refusal": said(None, refusal="I can't."),
    "text and a refusal": said("Well.", refusal="I can't."),
    "reasoning and a refusal": said(None, refusal="I can't.", reasoning="hm"),
    "a call": called(call("a", arguments='{"city":"Köln"}')),
    "a call without arguments": called(call("a")),
    "a call with empty arguments": (called(call("a", arguments="")), called(call("a"))),
    "a call with null": (called(call("a", arguments="null")), called(call("a"))),
    "a call with an object": (
        called({"id": "a", "type": "function", "function": {"name": "look", "arguments": {"x": 1}}}),
        called(call("a", arguments='{"x":1}')),
    ),
    "a call with two objects": (
        called(call("a", arguments='{}{"x":1}')),
        called(call("a", arguments='{"x":1}')),
    ),
    "a call with JSON in a text": (
        called(call("a", arguments='"{\\"x\\":1}"')),
        called(call("a", arguments='{"x":1}')),
    ),
    "half a surrogate pair": (
        called(call("a", arguments='{"x":"\\ud83d"}')),
        called(call("a", arguments='{"x":"\ufffd"}')),
    ),
    "text and a call": said("I look.", tool_calls=[call("a")]),
    "two calls": called(call("a", arguments='{"x":1}'), call("b", "list", '{"y":[1,null]}')),
    "three calls": called(call("a"), call("b"), call("c")),
    "one id twice": (called(call("a"), call("a", "list")), called(call("a"), call("a-2", "list"))),
    "functions in front of a name": (
        called(call("a", "functions.exec")),
        called(call("a", "functions_exec")),
    ),
    "a channel behind a name": (called(call("a", "x<|channel|>y")), called(call("a", "x_channel_y"))),
    "a name with blanks": (called(call("a", "look at")), called(call("a", "look_at"))),
    "a sound": (said(None, audio=SOUND), said(None, audio={"id": "audio_1"})),
    "a sound without a transcript": (
        said(None, audio={"id": "audio_1", "data": "UklGRg=="}),
        said(None, audio={"id": "audio_1"}),
    ),
    "a sound and a call": (
        called(call("a"), audio=SOUND),
        called(call("a"), audio={"id": "audio_1"}),
    ),
    "a sound that the server does not know by an id": (
        said(None, audio={"data": "UklGRg==", "transcript": "Yes."}),
        said("Yes."),
    ),
    "a picture": (said("There.", images=[PICTURE]), said("There.")),
    "a picture alone": (said(None, images=[PICTURE]), said("[image]")),
    "a picture and a call": (called(call("a"), images=[PICTURE]), called(call("a"))),
    "pages": (said("Yes.", annotations=[PAGE]), said("Yes.")),
    "what was read in a file": said("Yes.", annotations=[READ_FILE]),
    "pages and a file": (said("Yes.", annotations=[PAGE, READ_FILE]), said("Yes.", annotations=[READ_FILE])),
    "the oldest form of a call": (
        said("I look.", function_call={"name": "look", "arguments": "{}"}),
        said("I look.", tool_calls=[call("?")]),
    ),
}


def streamed(message: Message, reason: str = "stop") -> list[dict[str, Any]]:
    """Return the chunks of an answer; every text comes letter by letter."""
    deltas: list[Message] = [{"role": "assistant", "content": ""}]
    for name, value in message.items():
        if name == "tool_calls":
            deltas += [
                {"tool_calls": [piece]}
                for number, each in enumerate(value)
                for piece in _pieces(number, each)
            ]
        elif name == "content" and isinstance(value, list):
            deltas += [{name: pieces} for pieces in _chunked(value)]
        elif isinstance(value, str) and name != "role":
            deltas += [{name: letter} for letter in value]
        elif name != "role":
            deltas.append({name: value})
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    return [*chunks, {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}]


def _pieces(number: int, whole: Message) -> list[Message]:
    arguments = whole["function"]["arguments"]
    if not isinstance(arguments, str):
        return [{"index": number, **whole}]
    head = {"index": number, **whole, "function": {"name": whole["function"]["name"], "arguments": ""}}
    return [head, *({"index": number, "function": {"arguments": letter}} for letter in arguments)]


def _chunked(content: list[Message]) -> Iterator[list[Message]]:
    """Yield a list of chunks in pieces, as Mistral streams it: what a thought ends with comes together with the text behind it."""
    ended: list[Message] = []
    for chunk in content:
        if chunk["type"] != "thinking":
            yield [*ended, chunk]
            ended = []
            continue
        for piece in chunk["thinking"]:
            letters = [text(letter) for letter in piece["text"]] if piece["type"] == "text" else [piece]
            yield from ([{"type": "thinking", "thinking": [letter]}] for letter in letters)
        ended = [{**chunk, "thinking": []}]
    if ended:
        yield ended
